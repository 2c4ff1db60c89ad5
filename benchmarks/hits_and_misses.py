"""The picture of docs/quality.md: what a detector marks on the demo's fabric, weakest hits first.

python benchmarks/hits_and_misses.py runs/demo runs/demo-fabric
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from ssim_ae import Detector
from ssim_ae.data.layouts import test_pictures
from ssim_ae.runtime.overlay import overlay

SHEET = Path(__file__).parents[1] / "docs" / "hits_and_misses.jpg"
COUNT = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    arguments = parser.parse_args()
    detector = Detector.load(arguments.run)
    found = [(test, detector.inspect(test.file)) for test in test_pictures(arguments.dataset)]
    found.sort(key=lambda pair: pair[1].score)
    weakest = [pair for pair in found if not pair[0].is_good][:COUNT]
    strongest = [pair for pair in reversed(found) if pair[0].is_good][:COUNT]
    columns = []
    for test, inspection in weakest + strongest:
        picture = Image.fromarray(inspection.picture).convert("RGB")
        mask = test.mask(inspection.picture.shape[:2])
        truth = Image.fromarray((mask * 255).astype(np.uint8)).convert("RGB")
        marked = Image.fromarray(overlay(inspection)).convert("RGB")
        columns.append(np.concatenate([np.asarray(p) for p in (picture, truth, marked)]))
        print(test.defect, test.file.name, round(inspection.score, 3), inspection.is_defective)
    sheet = Image.fromarray(np.concatenate(columns, axis=1))
    sheet.resize((sheet.width // 2, sheet.height // 2)).save(SHEET, quality=80)


if __name__ == "__main__":
    main()
