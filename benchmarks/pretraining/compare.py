"""What starting from the package's weights brings: trainings of one length with and without them.

    SSIM_AE_DATA=<folder> python benchmarks/pretraining/compare.py [--set NAME] [--steps N]

By default 70, 280 and 1,200 steps (half a minute, two and nine minutes on two cores without bf16, a
third of it with), seed 0, every set, alternately; adds to
benchmarks/results/pretraining.json and does not repeat what is there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import load_result, save_result
from quality import SETS
from real_data import folder_of_sets
from ssim_ae import evaluate, train

RESULT = Path(__file__).parents[1] / "results" / "pretraining.json"
STEPS = (70, 280, 1200)
KEPT = ("pixel_auroc", "aupro_30", "image_auroc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--steps", action="append", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining_compare"))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    data = folder_of_sets()
    result = load_result(arguments.result)
    for steps in arguments.steps or STEPS:
        for name in arguments.set or SETS:
            for start in ("random", "pretrained"):
                key = f"{steps} steps, seed {arguments.seed}"
                rows = result.setdefault("sets", {}).setdefault(name, {}).setdefault(key, {})
                if start in rows:
                    continue
                folder, options = SETS[name]
                changes = {
                    "steps": steps,
                    "seed": arguments.seed,
                    "pretrained": start == "pretrained",
                    **({"group": options[1]} if options else {}),
                }
                run = train(
                    data / folder, changes=changes, output=arguments.work / name, overwrite=True
                )
                metrics = evaluate(run, data / folder).metrics
                rows[start] = {
                    "seconds": run.report["seconds"],
                    "held_out_loss": run.report["held_out_loss"],
                    **{k: metrics[k] for k in KEPT},
                    "recall": metrics["at_threshold"]["recall"],
                    "false_reject_rate": metrics["at_threshold"]["false_reject_rate"],
                }
                print(name, key, start, rows[start], flush=True)
                save_result(result, arguments.result)


if __name__ == "__main__":
    main()
