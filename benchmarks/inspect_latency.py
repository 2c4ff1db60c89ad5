"""How long an inspection takes, and what less work costs in quality.

    python benchmarks/inspect_latency.py RUN DATASET [--strip PICTURE] [--only PART ...]
        [--result FILE] [--json]

RUN is a trained run of the preset `autoencoder` (256x256 pictures, stride 32), DATASET its dataset
with test pictures. All engines run in turn, medians of seven rounds, on cores that share a cache
where they do so now and then (in_turn.py). Writes and prints one object: latency and throughput
of a picture and of a strip for torch eager (also with the network of plain.py), ONNX Runtime and
OpenVINO, in bf16 too where it computes that; how far their maps differ; what of the time is not
the network's; a table of strides and of blend=features; of precisions; a folder of 1,000 pictures
against the engine alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from in_turn import in_turn
from machine import load_result, save_result, sgemm_gflops
from plain import plain_network
from ssim_ae import evaluate
from ssim_ae.data.layouts import test_pictures, training_pictures
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.model.build import inspector_of
from ssim_ae.model.network import Autoencoder
from ssim_ae.model.weights import load_weights
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.engines import why_not
from ssim_ae.runtime.openvino_engine import BF16
from ssim_ae.runtime.record import Record, read_record, write_detector

RESULT = Path(__file__).parent / "results" / "inspect_latency.json"
ENGINES = ("onnxruntime", "openvino")
BATCH = 4  # pictures, for throughput
QUALITY = ("pixel_auroc", "aupro_30", "image_auroc")
CHOICES = [
    *(("pixels", stride) for stride in (32, 64, 96, 128)),
    *(("features", stride) for stride in (16, 32, 64)),
]
FOLDER, ROUNDS_OF_FOLDER = 1000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--strip", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = load_result(arguments.result)
    if Detector.load(arguments.run).record.settings.network == "joint":
        raise SystemExit(f"error: {arguments.run}: is not of the tiled autoencoder: train one with "
                         "--preset autoencoder")  # fmt: skip
    dataset = result.setdefault("dataset", arguments.dataset.resolve().name)
    if dataset != arguments.dataset.resolve().name:
        raise SystemExit(f"error: {arguments.result}: is about {dataset}: name another --result")
    for name in arguments.only:
        if name == "strip" and arguments.strip is None:
            continue
        result[name] = PARTS[name](arguments)
        save_result(result, arguments.result)
        print(name, result[name], file=sys.stderr, flush=True)
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))


def first_picture(run: Path, dataset: Path) -> np.ndarray:
    return Detector.load(run).record.preparation.read(test_pictures(dataset)[0].file)[0]


def picture(arguments: argparse.Namespace) -> dict[str, Any]:
    """One 256x256 picture, and four at once."""
    return latency(arguments.run, first_picture(arguments.run, arguments.dataset), BATCH, True)


def strip(arguments: argparse.Namespace) -> dict[str, Any]:
    """One strip: 625 tiles for 4096x256, so no further batch."""
    preparation = Detector.load(arguments.run).record.preparation
    return latency(arguments.run, preparation.read(arguments.strip)[0], 1)


def bf16() -> list[str]:
    """OpenVINO's engine in bf16, where it runs."""
    return [] if why_not(BF16) else [BF16]


def network_of(run: Path, record: Record) -> Autoencoder:
    s = record.settings
    network = Autoencoder(s.tile, s.channels, s.latent, s.first_layer_channels).eval()
    load_weights(network, run / "model.safetensors")
    return network


def plain_network_of(run: Path, record: Record) -> torch.nn.Module:
    """The same weights in the network as one would write it without thinking of speed."""
    s = record.settings
    plain = plain_network(s.tile, s.channels, s.latent, s.first_layer_channels).eval()
    plain.load_state_dict(network_of(run, record).state_dict())
    return plain


def latency(run: Path, picture: np.ndarray, batch: int, two_caches: bool = False) -> dict[str, Any]:
    """One picture at a time, and ``batch`` at once; ``two_caches``: also on cores further apart."""
    record = Detector.load(run).record
    network = network_of(run, record)
    eager = inspector_of(network, record.settings)
    last = inspector_of(
        network_of(run, record).to(memory_format=torch.channels_last), record.settings
    )
    plain = inspector_of(network_of(run, record), record.settings)
    plain.network.network = plain_network_of(run, record)
    one, several = picture[None], np.repeat(picture[None], batch, axis=0)

    def torch_call(inspector: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
        def call(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return inspector(torch.from_numpy(batch))[0].numpy()

        return call

    calls = {
        "torch_plain": torch_call(plain),
        "torch_eager": torch_call(eager),
        "torch_channels_last": torch_call(last),
    }
    for name in (*ENGINES, *bf16()):
        engine = Detector.load(run, name).engine
        calls[name] = lambda batch, engine=engine: engine.run(batch)[0]
    single = {name: (lambda c=call: c(one)) for name, call in calls.items()}
    ms, cores = in_turn(single)
    batch_ms, batch_cores = ms, cores
    if batch > 1:
        batch_ms, batch_cores = in_turn(
            {n: (lambda c=call: c(several)) for n, call in calls.items()}, 5
        )
    apart = in_turn(single, one_cache=False) if two_caches else None
    expected = calls["torch_eager"](one)
    difference = {n: float(np.abs(c(one) - expected).max()) for n, c in calls.items()}
    return {
        "size": list(picture.shape[:2]),
        "sgemm_gflops": round(sgemm_gflops(), 1),
        "ms": ms,
        "cores": cores,
        **({"two_caches": {"ms": apart[0], "cores": apart[1]}} if apart else {}),
        **{
            f"times_faster_than_{yardstick}": {
                n: round(ms[yardstick] / t, 2) for n, t in ms.items()
            }
            for yardstick in ("torch_plain", "torch_eager")
        },
        "pictures_per_second": {n: round(1e3 * batch / t, 1) for n, t in batch_ms.items()},
        "cores_in_batches": batch_cores,
        "largest_difference_of_the_map": difference,
    }


def graph(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a run with every tile left as it is, beside the whole graph."""
    run, picture = arguments.run, first_picture(arguments.run, arguments.dataset)
    detector = Detector.load(run)
    s = detector.record.settings
    without = inspector_of(network_of(run, detector.record), s)
    without.network.network = torch.nn.Identity()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "detector.onnx"
        write_detector(graph_bytes(without, s.channels, s.tile), detector.record, file)
        rest = Detector.load(file)
        ms, cores = in_turn(
            {
                "whole": lambda: detector.measure(picture),
                "without_the_network": lambda: rest.measure(picture),
            }
        )
    share = round(ms["without_the_network"] / ms["whole"], 3)
    return {**ms, "share_without_the_network": share, "cores": cores}


def choices(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The same weights at other strides and with blended features: time against quality."""
    run, dataset = arguments.run, arguments.dataset
    picture = first_picture(run, dataset)
    record = Detector.load(run).record
    network = network_of(run, record)
    rows, calls = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for blend, stride in CHOICES:
            change = {"stride": stride, "blend": blend}
            settings = record.settings.model_copy(update=change)
            inspector = inspector_of(network, settings)
            graph = graph_bytes(inspector, settings.channels, settings.tile)
            file = Path(scratch) / f"{blend}_{stride}" / "detector.onnx"
            # thresholds are the run's own: the curves do not need them
            changed = {"settings": settings, "reach": inspector.reach}
            write_detector(graph, record.model_copy(update=changed), file)
            metrics = evaluate(file, dataset, file.parent / "evaluation").metrics
            rows.append({**change, **{k: round(metrics[k], 4) for k in QUALITY}})
            for engine in ENGINES:
                loaded = Detector.load(file, engine)
                calls[f"{blend} {stride} {engine}"] = lambda d=loaded: d.measure(picture)
        ms, cores = in_turn(calls)
    for row in rows:
        for engine in ENGINES:
            time_taken = ms[f"{row['blend']} {row['stride']} {engine}"]
            row[f"{engine}_ms"] = time_taken
            row[f"{engine}_share_of_stride_32"] = round(time_taken / ms[f"pixels 32 {engine}"], 3)
        row["cores"] = cores  # of all rows together
    return rows


def precisions(arguments: argparse.Namespace) -> dict[str, Any]:
    """float32; bf16; post-training static quantization, calibrated on held-out good pictures."""
    run, dataset = arguments.run, arguments.dataset
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    detector = Detector.load(run)
    held = set(json.loads((run / "split.json").read_text())["held_out"])
    files = [f for f in training_pictures(dataset) if f.name in held][:16]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(files)

        def get_next(self) -> dict[str, np.ndarray] | None:
            file = next(self.left, None)
            if file is None:
                return None
            return {"image": detector.record.preparation.read(file)[0][None]}

    with tempfile.TemporaryDirectory() as scratch:
        plain, ready, done = (Path(scratch) / n for n in ("a.onnx", "b.onnx", "c.onnx"))
        plain.write_bytes(detector.file.read_bytes())
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready, done, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv", "ConvTranspose"], weight_type=QuantType.QInt8,
        )  # fmt: skip
        folder = Path(scratch) / "int8"
        record = read_record(plain.read_bytes(), plain)
        write_detector(done.read_bytes(), record, folder / "detector.onnx")
        picture = detector.record.preparation.read(files[0])[0]
        calls: dict[str, Callable[[], object]] = {}
        for engine in ENGINES:
            for name, source in (("float32", run), ("int8", folder)):
                loaded = Detector.load(source, engine)
                calls[f"{engine} {name}"] = lambda d=loaded: d.measure(picture)
        ways: list[tuple[str, Path, str | None]] = [("float32", run, None), ("int8", folder, None)]
        for engine in bf16():
            loaded = Detector.load(run, engine)
            calls["openvino bf16"] = lambda d=loaded: d.measure(picture)
            ways.append(("bf16", run, engine))
        ms, cores = in_turn(calls)
        quality = {}
        for name, source, engine in ways:
            found = evaluate(source, dataset, Path(scratch) / "evaluation", engine=engine).metrics
            quality[name] = {k: round(found[k], 4) for k in QUALITY}
        size = {"float32": plain.stat().st_size, "int8": done.stat().st_size}
        size |= {"bf16": size["float32"]} if bf16() else {}
    return {"ms": ms, "cores": cores, "quality": quality, "bytes": size}


def folder(arguments: argparse.Namespace) -> dict[str, Any]:
    """1,000 pictures from files against the engine alone on pictures in memory, by hundreds."""
    detector = Detector.load(arguments.run)
    files = [t.file for t in test_pictures(arguments.dataset)]
    some = list(islice(cycle(files), FOLDER // ROUNDS_OF_FOLDER))
    pixels = [detector.record.preparation.read(f)[0] for f in some]
    from_files = alone = 0.0
    for _ in range(ROUNDS_OF_FOLDER):
        began = time.perf_counter()
        for _ in detector.inspect_files(some):
            pass
        middle = time.perf_counter()
        for picture in pixels:
            detector.measure(picture)
        from_files += middle - began
        alone += time.perf_counter() - middle
    return {
        "pictures": ROUNDS_OF_FOLDER * len(some),
        "seconds_from_files": round(from_files, 2),
        "seconds_engine_alone": round(alone, 2),
        "share_of_the_engine": round(alone / from_files, 3),
    }


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    f.__name__: f for f in (picture, graph, choices, folder, precisions, strip)
}


if __name__ == "__main__":
    main()
