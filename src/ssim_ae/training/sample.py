"""A few pictures that stay in the run, so that exports can be compared where the data are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ssim_ae.data.corruption import TRAINED, corrupt
from ssim_ae.data.images import Pixels
from ssim_ae.data.patches import batch_seed
from ssim_ae.data.shapes import draw_masks
from ssim_ae.data.working_size import Preparation
from ssim_ae.deploy.sample import DEFECTIVE, FOLDER, GOOD, window
from ssim_ae.files import writing

PICTURES = 6  # of each kind
MASKS = 64


def write_sample(files: Sequence[Path], preparation: Preparation, run: Path, seed: int) -> None:
    """Windows of held-out good pictures at working size, as they are and with generated defects."""
    chosen = files[:: -(-len(files) // PICTURES)]
    pictures = [window(preparation.read(file)[0]) for file in chosen]
    side = min(min(w.shape[:2]) for w in pictures) // 8 * 8
    masks = draw_masks(side, seed, MASKS)
    folder = run / FOLDER
    with writing(folder):
        folder.mkdir(exist_ok=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{GOOD}_{number}.png")
            square, donor = _patch(picture, side), _patch(pictures[number - 1], side)
            rng = torch.Generator().manual_seed(batch_seed(seed, number, 0, 6))
            shown, label = square, torch.zeros(1)
            while not label.any():
                shown, label = corrupt(square, donor, masks, list(TRAINED.values()), rng)
            planes = torch.round(shown[0] * 255).to(torch.uint8).permute(1, 2, 0).numpy()
            changed = picture.copy()
            changed[:side, :side] = planes if picture.ndim == 3 else planes[..., 0]
            Image.fromarray(changed).save(folder / f"{DEFECTIVE}_{number}.png")


def _patch(picture: Pixels, side: int) -> torch.Tensor:
    """``[1, c, side, side]`` in 0..1."""
    values = torch.from_numpy(np.ascontiguousarray(picture[:side, :side])).float() / 255
    return values[None, None] if values.dim() == 2 else values.permute(2, 0, 1)[None]
