"""A window of a picture, where that serves for the whole."""

from __future__ import annotations

import torch
from torch import Tensor

from ssim_ae.data.contrast import stretched
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.model.inspector import Inspector

SIDE = 512  # pixels


def window(store: PictureStore, index: int) -> Tensor:
    """A random window of a picture, at most ``SIDE`` pixels a side, as inspection would see it."""
    rng = torch.Generator().manual_seed(index)
    pixels = store.picture(index)
    for axis in (1, 2):
        length = min(SIDE, pixels.shape[axis])
        start = int(torch.randint(pixels.shape[axis] - length + 1, (), generator=rng))
        pixels = pixels.narrow(axis, start, length)
    return stretched(Inspector.picture(pixels), store.stretch)
