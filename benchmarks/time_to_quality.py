"""Seconds of training until the pixel AUROC is within 0.005 of that of ten times as long or more.

    SSIM_AE_DATA=<folder> python benchmarks/time_to_quality.py [--only NAME] [--work DIR]
        [--result FILE] [--json]

On aitex_fabric_02: the `texture` preset, the reference settings and the `autoencoder` preset; with
--only "autoencoder bf16" the last in bf16, which results/precision.json holds beside float32. A
preset's learning rate follows its number of steps, so every point of its curve is a training of its
own; the reference's is constant, so its points lie on one training that is resumed again and again.
Seconds are steps times the median time of a step, since other work on a shared machine would
distort a sum; they leave out start-up, export and calibration. One seed. Points already in the
result are kept: it can be stopped and continued. Test pictures only measure: nothing is chosen by
them here.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

from machine import load_result, save_result
from real_data import folder_of_sets
from ssim_ae import evaluate, train

RESULT = Path(__file__).parent / "results" / "time_to_quality.json"
DATASET = "aitex_fabric_02"
STRIPS = ("group", r"^(\d+)_")  # tiles of one strip are held out together
CLOSE = 0.005
# name -> (preset, changes, lengths in steps)
CURVES: dict[str, tuple[str, list[tuple[str, Any]], list[int]]] = {
    "texture": ("texture", [], [3, 10, 30, 100, 300, 1200]),
    "reference-texture": ("reference-texture", [], [25, 50, 100, 200, 400, 1000]),
    "autoencoder": ("autoencoder", [], [30, 100, 300, 600, 1000]),
    "autoencoder bf16": ("autoencoder", [("precision", "bf16")], [100, 300, 600]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CURVES)
    parser.add_argument("--work", type=Path, default=Path("runs/time_to_quality"))
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true", help="print the result as one line")
    arguments = parser.parse_args()
    data = folder_of_sets() / DATASET
    result = load_result(arguments.result)
    result.setdefault("curves", {})
    for name in [arguments.only] if arguments.only else [n for n in CURVES if "bf16" not in n]:
        curve = result["curves"].setdefault(name, [])
        for steps in CURVES[name][2]:
            if steps in [point["steps"] for point in curve]:
                continue
            curve.append(measure(name, steps, data, arguments.work, fresh=not curve))
            print(name, curve[-1], flush=True)
            result["summary"] = {n: summary(c) for n, c in result["curves"].items()}
            save_result(result, arguments.result)
    if not arguments.only:
        draw(result["curves"], arguments.result.with_suffix(".png"))
    print(json.dumps(result) if arguments.json else json.dumps(result["summary"], indent=1))


def measure(name: str, steps: int, data: Path, work: Path, fresh: bool) -> dict[str, Any]:
    """Train for so many steps (or, unless fresh, go on to them), evaluate."""
    preset, changes, _ = CURVES[name]
    changes = [*changes, ("steps", steps), STRIPS]
    run = work / name.replace(" ", "_")
    if preset != "reference-texture":
        run = run.with_name(f"{run.name}_{steps}")
        done = train(data, preset, changes=changes, output=run, overwrite=True)
    elif not fresh and (run / "config.yaml").exists():
        config = (run / "config.yaml").read_text()
        changed = re.sub(r"(?m)^steps: \d+$", f"steps: {steps}", config)
        (run / "config.yaml").write_text(changed)
        done = train(data, output=run, resume=True)
    else:
        done = train(data, preset, changes=changes, output=run, overwrite=True)
    metrics = evaluate(run, data).metrics
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    if lines[-1]["step"] != steps:
        raise SystemExit(f"error: {run}: went to step {lines[-1]['step']}, not {steps}: remove it")
    batch = done.record.settings.batch_size
    speed = statistics.median(line["patches_per_second"] for line in lines)
    return {
        "steps": steps,
        "seconds": round(steps * batch / speed, 1),
        "pixel_auroc": round(metrics["pixel_auroc"], 4),
        "aupro_30": round(metrics["aupro_30"], 4),
        "held_out_loss": round(done.report["held_out_loss"], 4),
    }


def summary(curve: list[dict[str, Any]]) -> dict[str, Any]:
    """The shortest training close to one at least ten times as long."""
    points = sorted(curve, key=lambda p: p["steps"])
    tenfold = {
        p["steps"]: next((q for q in points if q["steps"] >= 10 * p["steps"]), None) for p in points
    }
    close = [
        p for p in points
        if (q := tenfold[p["steps"]]) and p["pixel_auroc"] >= q["pixel_auroc"] - CLOSE
    ]  # fmt: skip
    return {
        "close_to_ten_times_as_long": close[0] if close else None,
        "that_training": tenfold[close[0]["steps"]] if close else None,
        "longest": points[-1],
    }


def draw(curves: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """All curves in one picture."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for (name, curve), marker in zip(curves.items(), "^osd", strict=False):
        points = sorted(curve, key=lambda p: p["steps"])
        axes.plot(
            [p["seconds"] for p in points],
            [p["pixel_auroc"] for p in points],
            marker=marker,
            label=name,
        )
    axes.set(xscale="log", xlabel="seconds of training (two cores)", ylabel="pixel AUROC")
    axes.set_title(DATASET)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
