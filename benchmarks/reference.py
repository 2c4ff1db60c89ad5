"""Train and evaluate as the model zoo did, on its own four sets, beside its published figures.

    python benchmarks/reference.py --data DIR [--epochs N] [--work DIR] [--json]

DIR holds any of texture_1, texture_2 (woven textures), metal_nut, cable (MVTec AD). 200 epochs are
the reference; on two CPU cores an epoch of 10,000 patches takes one to a few minutes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from machine import describe_machine
from ssim_ae import evaluate, train

CONFIGS = Path(__file__).parents[1] / "configs"
# the figures of the MindSpore model-zoo project (its README); "pixel_auc" is of the binary mask
PUBLISHED: dict[str, dict[str, float]] = {
    "texture_1": {"pixel_auc": 0.965},
    "texture_2": {},
    "metal_nut": {"ok": 0.578, "nok": 0.769, "acc": 0.741},
    "cable": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="instead of the reference's 200")
    parser.add_argument("--work", type=Path, default=Path("runs/reference"))
    parser.add_argument("--set", action="append", default=[], help="change one more setting")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = [name for name in PUBLISHED if (arguments.data / name).is_dir()]
    if not found:
        parser.error(f"{arguments.data} holds none of {', '.join(PUBLISHED)}")
    results: dict[str, Any] = {"machine": describe_machine(), "sets": {}}
    for name in found:
        results["sets"][name] = reproduce(
            name, arguments.data / name, arguments.work / name, arguments.epochs, arguments.set
        )
        if not arguments.json:
            print(table(name, results["sets"][name]), flush=True)
    if arguments.json:
        print(json.dumps(results))


def reproduce(
    name: str, data: Path, run: Path, epochs: int | None, changes: list[str]
) -> dict[str, Any]:
    """Train with the zoo's own configuration file, evaluate by its rule and by ours."""
    config = CONFIGS / f"{name}.yaml"
    zoo = yaml.safe_load(config.read_text())
    if epochs is not None:
        per_epoch = zoo["data_augment"]["augment_num"] // zoo["batch_size"]
        changes = [f"steps={epochs * per_epoch}", *changes]
    done = train(data, config=config, changes=changes, output=run, overwrite=True)
    metrics = evaluate(run, data).metrics
    level = metrics["zoo"]["image_level" if zoo["image_level"] else "pixel_level"]
    keys = ("pixel_auroc", "aupro_30", "image_auroc", "at_threshold", "baselines")
    return {
        "published": PUBLISHED[name],
        "by_the_zoo_s_rule": {
            "pixel_auc": metrics["zoo"]["pixel_level"]["mask_auc"],
            **{k: level[k] for k in ("ok", "nok", "acc")},
        },
        "by_ours": {k: metrics[k] for k in keys},
        "training": done.report,
    }


def table(name: str, result: dict[str, Any]) -> str:
    rows = [f"{name}: {result['training']['steps']} steps"]
    for key, value in result["by_the_zoo_s_rule"].items():
        published = result["published"].get(key)
        beside = "" if published is None else f"   published {published:.3f}"
        rows.append(f"  {key:10} {'-' if value is None else f'{value:.3f}'}{beside}")
    ours = result["by_ours"]
    rows.append(f"  ours: pixel AUROC {ours['pixel_auroc']:.3f}, AU-PRO {ours['aupro_30']:.3f}")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
