"""Quality on real pictures: `train --preset auto` on every set, several seeds, and what it chose.

    SSIM_AE_DATA=<folder> python benchmarks/quality.py [--set NAME] [--seed N] [--work DIR]
    python benchmarks/quality.py --steps N    longer or shorter trainings, kept apart
    python benchmarks/quality.py --precision float32    as where a processor knows no bf16
    python benchmarks/quality.py --without-group    tiles of one strip on both sides of the split
    python benchmarks/quality.py --finish     detectors anew from the trainings' last states, when
                                              the preset's residual, on which none depends, changed
                                              (or runs without their training.json, when the code)
    python benchmarks/quality.py --ranks      how well the self-made score ranks the candidates
    python benchmarks/quality.py --latency    milliseconds a picture on every engine

Runs the commands a user would run, one after the other, and writes benchmarks/results/quality.json
after each; what is there already is not run again. Maps for MVTec's own script are left in
<work>/<set>_<seed>/evaluation/maps.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from in_turn import on_one_cache
from machine import load_result, save_result
from main_path import STRIPS, command
from real_data import folder_of_sets
from ssim_ae import __version__
from ssim_ae.config_files import load_settings, resolved_settings, save_settings
from ssim_ae.runtime.record import sha256
from ssim_ae.training.checkpoint import STATE
from ssim_ae.training.run_folder import CONFIG, REPORT

RESULT = Path(__file__).parent / "results" / "quality.json"
SETS = {  # name -> (folder, further options)
    "fabric_02": ("aitex_fabric_02", STRIPS),
    "fabric_01": ("aitex_fabric_01", STRIPS),
    "screw": ("mvtec_screw_512", []),
    "metal_plate": ("mpdd_metal_plate_512", []),
}
SEEDS = (0, 1, 2)
# part of the result -> what the usual candidate is measured without for it
WITHOUT = {"surround": "surround", "smoothed": "smooth"}
OF_A_DETECTOR = ("ranks", "filters_alone", "clipped", *WITHOUT)  # what --ranks measures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--steps", type=int, help="another length of training than the default")
    parser.add_argument("--precision", help="another one than the processor's best, kept apart")
    parser.add_argument("--without-group", action="store_true", help="the fabrics, kept apart")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"))
    parser.add_argument("--finish", action="store_true", help="what was trained in --work before")
    parser.add_argument("--ranks", action="store_true")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    others = arguments.steps or arguments.precision or arguments.without_group
    others = others or arguments.finish
    if (arguments.ranks or arguments.latency) and others:
        parser.error("--ranks and --latency are of the default trainings, and take no --finish")
    data = folder_of_sets()
    result = load_result(arguments.result)
    changes = {"precision": arguments.precision} if arguments.precision else {}
    label = f"_{arguments.precision}" if arguments.precision else ""
    if arguments.steps:
        changes["steps"] = arguments.steps
        label += f"_{arguments.steps}_steps"
    sets = arguments.set or list(SETS)
    if arguments.without_group:
        sets = [name for name in sets if SETS[name][1] == STRIPS]
        if not sets:
            parser.error("only the fabrics are trained with --group")
        label += "_without_group"
    for seed in arguments.seed or SEEDS:
        for name in sets:
            folder, options = SETS[name]
            if arguments.without_group:
                options = ["--set", "group=none"]
            run = arguments.work / f"{name}_{seed}{label}"
            if arguments.latency:
                latency = result.setdefault("latency", {})
                if name not in latency and (run / "detector.onnx").exists():
                    latency[name] = on_one_cache(
                        lambda run=run: command(["benchmark", "RUN"], data, run)
                    )
            elif arguments.ranks:
                ranks = result.setdefault("ranks", {}).setdefault(name, {})
                if str(seed) not in ranks and (run / "choice.json").exists():
                    ranks[str(seed)], parts = true_results(run, data / folder)
                    for part, found in parts.items():
                        result.setdefault(part, {}).setdefault(name, {})[str(seed)] = found
                alone = result.setdefault("filters_alone", {}).setdefault(name, {})
                if str(seed) not in alone and (run / "choice.json").exists():
                    alone[str(seed)] = filters_alone(run, data / folder)
            else:
                runs = result.setdefault(f"runs{label}", {}).setdefault(name, {})
                settings = {**changes, "seed": seed}
                chosen = [x for k, v in settings.items() for x in ("--set", f"{k}={v}")]
                if arguments.finish:
                    if str(seed) in runs and not is_finished(run, runs[str(seed)]):
                        runs[str(seed)] = finished_again(folder, runs[str(seed)], data, run)
                        for part in OF_A_DETECTOR if not label else ():
                            result.get(part, {}).get(name, {}).pop(str(seed), None)  # of before
                elif str(seed) not in runs:
                    runs[str(seed)] = measure(folder, [*options, *chosen], data, run)
            save_result(result, arguments.result)


def measure(folder: str, options: list[str], data: Path, run: Path) -> dict[str, Any]:
    """Train, evaluate; what a row of the table needs."""
    began = time.monotonic()
    train = ["train", f"DATA/{folder}", *options, "--output", "RUN"]
    report = command([*train, "--overwrite"], data, run)
    trained = time.monotonic() - began
    seconds = {"training": report["seconds"], "train_command": round(trained, 1)}
    return row_of(folder, train, report, seconds, data, run)


def is_finished(run: Path, row: dict[str, Any]) -> bool:
    """Whether a row is of the run's detector, and that is what its preset says of maps today."""
    if not (run / REPORT).exists():
        return False
    settings = resolved_settings(run / CONFIG)
    measured = row["metrics"]["detector_sha256"] == sha256((run / "detector.onnx").read_bytes())
    return measured and settings.residual == load_settings(settings.preset)[0].residual


def finished_again(folder: str, before: dict[str, Any], data: Path, run: Path) -> dict[str, Any]:
    """The row of a training that `train --resume` takes from its last state to a detector with what
    its preset says today of the maps; ``before`` says how it was trained, and how long."""
    if not (run / STATE).exists():
        raise SystemExit(f"error: {run}: holds no state to go on from: train it anew")
    settings = resolved_settings(run / CONFIG)
    residual = load_settings(settings.preset)[0].residual
    (run / REPORT).unlink(missing_ok=True)  # otherwise it counts as finished
    save_settings(settings.model_copy(update={"residual": residual}), run / CONFIG, __version__)
    report = command(["train", f"DATA/{folder}", "--output", "RUN", "--resume"], data, run)
    train = before["command"][1:]
    row = row_of(folder, train, report, before["seconds"], data, run)
    row["metrics"]["timing"] = before["metrics"]["timing"]
    return {**row, "finished_again": True}


def row_of(
    folder: str,
    train: list[str],
    report: dict[str, Any],
    seconds: dict[str, float],
    data: Path,
    run: Path,
) -> dict[str, Any]:
    """Evaluate; ``train``, ``report``: the command and what it said; ``seconds``: that it took."""
    metrics = command(["evaluate", "RUN", f"DATA/{folder}", "--maps"], data, run)
    chosen = next(
        c for c in json.loads((run / "choice.json").read_text())["candidates"] if c["chosen"]
    )
    row = {
        "command": ["ssim-ae", *train],
        "seconds": seconds,
        "steps": report["steps"],
        "precision": resolved_settings(run / "config.yaml").precision,
        "notes": report["notes"],
        "chosen": chosen,
        "detector_megabytes": round((run / "detector.onnx").stat().st_size / 1e6, 2),
        "metrics": metrics,
    }
    print(folder, {k: round(metrics[k], 4) for k in ("pixel_auroc", "aupro_30", "image_auroc")},
          metrics["at_threshold"], chosen["weights"], flush=True)  # fmt: skip
    return row


def true_results(run: Path, dataset: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Every candidate's self-made worth beside its results on the test pictures; and what the
    usual one's results would be without a part: if the surroundings' mean were not subtracted,
    nothing blurred at last, or the pictures not clipped to the range of good ones."""
    import torch

    from ssim_ae.config import ResidualSettings
    from ssim_ae.data.contrast import stretched
    from ssim_ae.data.layouts import test_pictures
    from ssim_ae.evaluation.metrics import PixelCounts, auroc, per_score
    from ssim_ae.model.anomaly_map import Residual
    from ssim_ae.model.build import network_of, on_whole_pictures
    from ssim_ae.model.inspector import Inspector
    from ssim_ae.model.weights import WEIGHTS, load_weights
    from ssim_ae.runtime.detector import Detector
    from ssim_ae.training.choose import Point, candidate

    record = Detector.load(run).record
    network = network_of(record.settings)
    load_weights(network, run / WEIGHTS)
    whole = on_whole_pictures(network.eval(), record.settings)
    choice = json.loads((run / "choice.json").read_text())
    every = ResidualSettings.model_validate(choice["residual"])
    # a run keeps no memory and no features that were not chosen: such rows cannot be repeated
    rows = [
        row
        for row in choice["candidates"]
        if all(k not in row["weights"] or record.settings.residual.has(k)
               for k in ("memory", "features"))
    ]  # fmt: skip
    kept = [
        t for t in every.terms
        if t.kind not in ("memory", "features") or record.settings.residual.has(t.kind)
    ]  # fmt: skip
    terms, names = Residual(every.model_copy(update={"terms": kept})), [t.kind for t in kept]
    residuals = []
    for row in rows:
        weights = {k: row["weights"].get(k, 0.0) for k in ("rarity", "memory", "features")}
        filters = row["weights"].get("band", 0.0)
        point = Point(filters=filters, **weights)
        # a run of before knew other blurs
        blur = {"smooth": row["smooth"], "smooth_share": row.get("smooth_share", 1.0)}
        residuals.append(Residual(candidate(every, point).model_copy(update=blur)))
    usual = next(i for i, row in enumerate(rows) if row["usual"])
    for absent in WITHOUT.values():
        residuals.append(Residual(residuals[usual].settings.model_copy(update={absent: None})))
    residuals.append(residuals[usual])  # this one sees pictures as they are
    tallies = [PixelCounts() for _ in residuals]
    scores: list[list[float]] = [[] for _ in residuals]
    defective = []
    with torch.inference_mode():
        for test in test_pictures(dataset):
            working, geometry = record.preparation.read(test.file)
            truth = geometry.mask_to_working(test.mask(geometry.original))
            defective.append(not test.is_good)
            as_it_is = Inspector.picture(torch.from_numpy(working)[None])
            picture = stretched(as_it_is, record.settings.stretch)
            maps = terms.terms(picture, whole(picture))
            unclipped = terms.terms(as_it_is, whole(as_it_is))
            for residual, tally, found in zip(residuals, tallies, scores, strict=True):
                if tally is tallies[-1]:
                    maps = unclipped
                used = [maps[names.index(t.kind)] for t in residual.settings.terms]
                anomaly_map = residual.combined(used)
                if test.has_truth:
                    tally.add(anomaly_map[0].numpy(), truth)
                found.append(float(residual.score(anomaly_map)))
    test = [
        {
            "pixel_auroc": tally.auroc(),
            "aupro_30": tally.aupro(0.3),
            "image_auroc": auroc(*per_score(np.array(found), np.array(defective))),
        }
        for tally, found in zip(tallies, scores, strict=True)
    ]
    kept_keys = ("weights", "smooth", "smooth_share", "chosen", "usual")
    candidates = [
        {
            **{k: row[k] for k in kept_keys if k in row},
            "self_made": {k: row[k] for k in ("pixel_auroc", "aupro_30", "image_auroc")},
            "test": found,
        }
        for row, found in zip(rows, test[: len(rows)], strict=True)
    ]
    parts = {
        name: {"without": without, "with": test[usual]}
        for name, without in zip(WITHOUT, test[len(rows) : -1], strict=True)
    }
    if record.settings.stretch is not None and record.settings.stretch.gain == 1:
        parts["clipped"] = {"without": test[-1], "with": test[usual]}
    return candidates, parts


def filters_alone(run: Path, dataset: Path) -> dict[str, float | None]:
    """What the control's filters find without any model, on pictures as they are, when nothing is
    done to their map: in the units of the good pictures that the run measured its maps on."""
    import torch

    from ssim_ae.data.layouts import test_pictures, training_pictures
    from ssim_ae.data.picture_store import PictureStore
    from ssim_ae.evaluation.metrics import PixelCounts, auroc, per_score
    from ssim_ae.model.anomaly_map import Residual
    from ssim_ae.model.findings import findings
    from ssim_ae.model.inspector import Inspector, MedianGrey
    from ssim_ae.runtime.detector import Detector
    from ssim_ae.training.assemble import CONTROL
    from ssim_ae.training.units import good_pictures, normalised

    record = Detector.load(run).record
    split = json.loads((run / "split.json").read_text())
    good = training_pictures(dataset)
    fresh, store = (
        PictureStore(
            [file for file in good if file.name in split[part]],
            record.preparation, record.settings.tile, memory=1 << 30,
        )
        for part in ("chosen_on", "train")
    )  # fmt: skip
    median, tally = MedianGrey(), PixelCounts()
    pictures = good_pictures(fresh, store, range(len(store)))
    filters = Residual(normalised(median, CONTROL, pictures))
    scores, defective = [], []
    with torch.inference_mode():
        for test in test_pictures(dataset):
            working, geometry = record.preparation.read(test.file)
            picture = Inspector.picture(torch.from_numpy(working)[None])
            anomaly_map = filters(picture, findings(median(picture)))[0].numpy()
            if test.has_truth:
                tally.add(anomaly_map, geometry.mask_to_working(test.mask(geometry.original)))
            scores.append(float(anomaly_map.max()))
            defective.append(not test.is_good)
    return {
        "pixel_auroc": tally.auroc(),
        "aupro_30": tally.aupro(0.3),
        "image_auroc": auroc(*per_score(np.array(scores), np.array(defective))),
    }


if __name__ == "__main__":
    main()
