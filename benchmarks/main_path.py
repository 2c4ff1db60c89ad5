"""The main path on real pictures: train and evaluate, our presets beside the reference ones.

    SSIM_AE_DATA=<folder> python benchmarks/main_path.py [--only NAME] [--work DIR]

Runs the commands a user would run, one after the other, and writes
benchmarks/results/main_path.json after each, so that it can be stopped and continued.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import load_result, save_result
from real_data import folder_of_sets

RESULT = Path(__file__).parent / "results" / "main_path.json"
STRIPS = ["--group", r"^(\d+)_"]  # AITEX tiles of one strip are held out together
# name -> (dataset, preset, further options). The reference schedules are cut to what two cores do
# in minutes (200 epochs are 15,600 steps); everything else about them is the reference's.
RUNS: dict[str, tuple[str, str, list[str]]] = {
    "fabric_02 autoencoder": ("aitex_fabric_02", "autoencoder", STRIPS),
    "fabric_02 reference": (
        "aitex_fabric_02", "reference-texture", [*STRIPS, "--set", "steps=300"],
    ),
    "fabric_01 autoencoder": ("aitex_fabric_01", "autoencoder", STRIPS),
    "fabric_01 reference": (
        "aitex_fabric_01", "reference-texture", [*STRIPS, "--set", "steps=300"],
    ),
    "screw autoencoder": ("mvtec_screw_512", "autoencoder", []),
    "screw reference": ("mvtec_screw_512", "reference-object", ["--set", "steps=30"]),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="name of a run; repeat for several")
    parser.add_argument("--work", type=Path, default=Path("runs/main_path"))
    arguments = parser.parse_args()
    data = folder_of_sets()
    results = load_result(RESULT)
    results.setdefault("runs", {})
    for name in arguments.only or RUNS:
        dataset, preset, options = RUNS[name]
        run = arguments.work / name.replace(" ", "_")
        train = ["train", f"DATA/{dataset}", "--preset", preset, *options, "--output", "RUN"]
        began = time.monotonic()
        report = command([*train, "--overwrite"], data, run)
        trained = time.monotonic()
        metrics = command(["evaluate", "RUN", f"DATA/{dataset}"], data, run)
        results["runs"][name] = {
            "commands": [["ssim-ae", *train], ["ssim-ae", "evaluate", "RUN", f"DATA/{dataset}"]],
            "seconds": {
                "training": report["seconds"],
                "train_command": round(trained - began, 1),
                "evaluate_command": round(time.monotonic() - trained, 1),
            },
            "training": {k: report[k] for k in ("steps", "loss", "held_out_loss", "contrast")},
            "notes": report["notes"],
            "metrics": metrics,
        }
        save_result(results, RESULT)
        print(name, {k: metrics[k] for k in ("pixel_auroc", "aupro_30", "image_auroc")}, flush=True)


def command(words: list[str], data: Path, run: Path) -> dict[str, Any]:
    """Run a command with --json; its object without anything of this machine's paths."""
    real = [w.replace("DATA/", f"{data}/") if w.startswith("DATA/") else w for w in words]
    real = [str(run) if w == "RUN" else w for w in real]
    done = subprocess.run(
        [sys.executable, "-m", "ssim_ae", *real, "--json"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    said = done.stdout.replace(f"{run}/", "RUN/").replace(f"{data}/", "DATA/")
    return json.loads(said)


if __name__ == "__main__":
    main()
