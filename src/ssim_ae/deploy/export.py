"""A run's detector in other forms, each kept only when it proved equal.

onnx      the detector itself, float32 or int8
openvino  IR (.xml and .bin): float32, fp16, int8
mindir    MindSpore's graph, for one height and width
ckpt      a MindSpore checkpoint of the reference autoencoder, in the zoo's names
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ssim_ae.deploy.parity import BOUNDS, Parity, ParityError, parity, precision_of
from ssim_ae.deploy.sample import read_good, read_sample, size_to_fix
from ssim_ae.errors import InputError
from ssim_ae.files import require_writable, write_atomically
from ssim_ae.runtime.constants import replace_constants
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.engines import OF_SUFFIX, why_not
from ssim_ae.runtime.exported import parts_of, sidecar_of, write_sidecar
from ssim_ae.runtime.record import constants_of, write_detector

PRECISIONS = {
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "fp16", "int8"),
    "mindir": ("float32",),
    "ckpt": ("float32",),
}
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "mindir": ".mindir", "ckpt": ".ckpt"}


@dataclass(frozen=True)
class Exported:
    """The files written, and what the gate found (None for weights, which are compared exactly)."""

    files: list[Path]
    precision: str
    parity: Parity | None


def export(
    run: str | PathLike[str],
    to: str,
    output: str | Path | None = None,
    precision: str = "float32",
    pictures: Sequence[Path] = (),
    size: tuple[int, int] | None = None,
) -> Exported:
    """Export a calibrated run; ``RUN/exports/detector...`` by default.

    Args:
        to, precision: see ``PRECISIONS``.
        pictures: good and defective ones, compared in addition to those that the run keeps.
        size: (height, width) at working size of a MindIR; by default see ``size_to_fix``.

    Raises:
        InputError: no such target or precision, or the run cannot be exported so.
        ParityError: the export differs by more than its bounds; nothing is left of it.
    """
    if to not in PRECISIONS:
        raise InputError(f"target {to!r} is unknown: known are {', '.join(PRECISIONS)}")
    if precision not in PRECISIONS[to]:
        raise InputError(
            f"precision {precision!r} is not to be had for {to}: use {', '.join(PRECISIONS[to])}"
        )
    detector = Detector.load(run)
    if detector.file.suffix != ".onnx":
        raise InputError(f"{detector.file}: is an export itself: name the run or its detector.onnx")
    name = "detector" if precision == "float32" else f"detector-{precision}"
    file = Path(output) if output else detector.file.parent / "exports" / f"{name}{SUFFIX[to]}"
    if file.suffix != SUFFIX[to]:
        raise InputError(f"{file}: an export to {to} ends in {SUFFIX[to]}: rename it")
    if file.resolve() == detector.file.resolve():
        raise InputError(f"{file}: is the detector itself: choose another --output")
    if file.exists() and (file.parent / "config.yaml").exists():
        raise InputError(f"{file}: is a file of the run in {file.parent}: choose another --output")
    if detector.record.precision != "float32":
        raise InputError(f"{detector.file}: is an export itself: name the run or its detector.onnx")
    engine = OF_SUFFIX.get(SUFFIX[to])
    reason = why_not(engine) if engine else None
    if reason is not None:
        raise InputError(f"an export to {to} is checked on {engine}, which is missing: {reason}")
    if to == "ckpt":
        return _checkpoint(detector, file)
    _ = detector.thresholds  # told before work begins
    if to == "mindir":
        size = size or size_to_fix(detector, pictures)
        smallest = detector.record.settings.tile
        if min(size) < smallest:
            raise InputError(f"size {size[0]}x{size[1]} is below {smallest} pixels: raise it")
    sample = read_sample(detector, pictures, size)
    require_writable(file.parent)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as scratch:
        made = Path(scratch) / file.name
        _write(detector, to, precision, size, made)
        found = parity(detector, Detector.load(made), sample)
        failures = found.failures(BOUNDS[precision])
        if failures:
            older = "; the file of that name there is an older one" if file.exists() else ""
            raise ParityError(
                f"{file}: not kept, it differs from the detector: {'; '.join(failures)}{older}"
            )
        beside = [sidecar_of(made)] if sidecar_of(made).exists() else []
        for part in (*parts_of(made), *beside):
            part.replace(file.parent / part.name)
    return Exported([*parts_of(file), *(sidecar_of(file) for _ in beside)], precision, found)


def check(
    run: str | PathLike[str],
    file: str | Path,
    engine: str | None = None,
    pictures: Sequence[Path] = (),
) -> Exported:
    """Compare an export with its run again, such as on the machine where it will work.

    Raises:
        ParityError: its thresholds are not the run's, or it differs by more than its bounds.
    """
    detector, other = Detector.load(run), Detector.load(file, engine)
    if other.record.thresholds != detector.thresholds:
        raise ParityError(f"{file}: has other thresholds than {run}: export it again")
    sample = read_sample(detector, pictures, getattr(other.engine, "size", None))
    found = parity(detector, other, sample)
    precision = precision_of(other)
    failures = found.failures(BOUNDS[precision])
    if failures:
        raise ParityError(f"{file}: differs from {run}: {'; '.join(failures)}")
    return Exported(parts_of(Path(file)), precision, found)


def _write(
    detector: Detector, to: str, precision: str, size: tuple[int, int] | None, file: Path
) -> None:
    graph = detector.file.read_bytes()
    record = detector.record.model_copy(update={"precision": precision})
    if precision == "int8":
        from ssim_ae.deploy.int8 import int8_bytes

        graph = replace_constants(
            int8_bytes(graph, read_good(detector)), constants_of(detector.thresholds)
        )
    if to == "onnx":
        write_detector(graph, record, file)
    elif to == "openvino":
        from ssim_ae.deploy.openvino import ir_bytes

        parts = ir_bytes(graph, half=precision == "fp16")
        for part, content in zip(parts_of(file), parts, strict=True):
            write_atomically(part, content)
        write_sidecar(file, record)
    else:
        from ssim_ae.deploy.mindspore import mindir

        assert size is not None
        made = mindir(graph, *size)
        write_atomically(file, made.data)
        write_sidecar(file, record, made.picture, made.outputs)


def _checkpoint(detector: Detector, file: Path) -> Exported:
    """Weights alone; what was written is read back and compared bit for bit."""
    from ssim_ae.deploy.mindspore_checkpoint import checkpoint_bytes, read_checkpoint
    from ssim_ae.deploy.zoo_weights import zoo_weights
    from ssim_ae.model.network import Autoencoder
    from ssim_ae.runtime.torch_engine import trained_network

    network = trained_network(detector.file, detector.record)
    if not isinstance(network, Autoencoder):
        raise InputError(
            f"{detector.file}: the zoo has no {detector.record.settings.network} network, only the "
            "reference one: train with --preset reference-texture, or export to mindir"
        )
    weights = zoo_weights(network)
    require_writable(file.parent)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as scratch:
        made = Path(scratch) / file.name
        write_atomically(made, checkpoint_bytes(weights))
        again = read_checkpoint(made)
        if list(again) != list(weights) or not all(
            np.array_equal(again[name], weight) for name, weight in weights.items()
        ):
            raise ParityError(f"{file}: not kept, it reads back differently")
        made.replace(file)
    return Exported([file], "float32", None)
