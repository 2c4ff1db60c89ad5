"""Where the border between textures and objects lies, on generated worlds of either kind.

    [SSIM_AE_DATA=<folder>] python benchmarks/pretraining/evenness.py [--worlds N] [--seed N]

Writes benchmarks/results/evenness.json: unevenness of the worlds, how many each border would tell
right, and, where SSIM_AE_DATA names them, that of real training pictures, which decided nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import describe_machine, save_result
from pictures import OBJECTS, world
from quality import SETS
from ssim_ae.data.evenness import TEXTURE, unevenness
from ssim_ae.data.layouts import training_pictures
from ssim_ae.data.working_size import Preparation

RESULT = Path(__file__).parents[1] / "results" / "evenness.json"
BORDERS = (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
EACH, FILES = 4, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7, help="the weights were pretrained on 0")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    found, objects = [], []
    for number in range(arguments.worlds):
        rng = np.random.default_rng([arguments.seed, number])
        rng.random()  # grey or coloured, drawn before the kind: see pictures.world
        objects.append(rng.random() < OBJECTS)
        pictures = torch.from_numpy(world(number, EACH, arguments.seed)).permute(0, 3, 1, 2)
        found.append(float(unevenness(pictures.float() / 255).mean()))
    values, is_object = np.array(found), np.array(objects)
    result = {
        "machine": describe_machine(),
        "worlds": {
            kind: {
                "number": int(chosen.sum()),
                "quantiles_10_50_90": np.quantile(values[chosen], (0.1, 0.5, 0.9))
                .round(3)
                .tolist(),
            }
            for kind, chosen in (("texture", ~is_object), ("object", is_object))
        },
        "auroc": round(float(roc_auc_score(is_object, values)), 4),
        "told_right": {
            str(border): round(float(((values > border) == is_object).mean()), 4)
            for border in BORDERS
        },
        "border": TEXTURE,
        "real": real() if "SSIM_AE_DATA" in os.environ else {},
    }
    save_result(result, arguments.result)


def real() -> dict[str, float]:
    """Mean unevenness of some training pictures of every set."""
    preparation = Preparation("rgb", 256, None)
    found = {}
    for name, (folder, _) in SETS.items():
        files = training_pictures(Path(os.environ["SSIM_AE_DATA"]) / folder)[:FILES]
        pictures = np.stack([preparation.read(file)[0] for file in files])
        batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        found[name] = round(float(unevenness(batch).mean()), 3)
    return found


if __name__ == "__main__":
    main()
