"""The contact sheet of docs/quality.md: every kind of generated defect on the demo's fabric.

python benchmarks/generated_defects.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from ssim_ae.config import PLAIN
from ssim_ae.data.corruption import TRAINED, UNSEEN, corrupt
from ssim_ae.data.patches import draw_patches
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.shapes import draw_masks
from ssim_ae.data.synthetic import make_dataset
from ssim_ae.data.working_size import Preparation

SHEET = Path(__file__).parents[1] / "docs" / "generated_defects.jpg"
SIDE, COLUMNS, LABEL = 96, 6, 70


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder), train=12, good=1, per_defect=1)
        files = sorted((Path(folder) / "train" / "good").iterdir())
        store = PictureStore(files, Preparation("grey", None, None), SIDE, 1 << 30)
    masks, rows = draw_masks(SIDE, seed=0, count=256), []
    for number, (name, fill) in enumerate({**TRAINED, **UNSEEN}.items()):
        rng = torch.Generator().manual_seed(number)
        clean = draw_patches(store, 6 * COLUMNS, SIDE, PLAIN, 2 * number)
        donors = draw_patches(store, 6 * COLUMNS, SIDE, PLAIN, 2 * number + 1)
        shown, label = corrupt(clean, donors, masks, [fill], rng)
        largest = label.sum((1, 2, 3)).argsort(descending=True)[: 2 * COLUMNS : 2]
        pair = torch.cat([shown[largest], label[largest]], 2)[:, 0]
        strip = np.concatenate(list(np.round(pair.numpy() * 255).astype(np.uint8)), axis=1)
        row = Image.new("L", (LABEL + strip.shape[1], 2 * SIDE + 2), 255)
        row.paste(Image.fromarray(strip), (LABEL, 0))
        ImageDraw.Draw(row).text((4, SIDE - 6), name, fill=0)
        rows.append(np.asarray(row))
    Image.fromarray(np.concatenate(rows)).save(SHEET, quality=80)


if __name__ == "__main__":
    main()
