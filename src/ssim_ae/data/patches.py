"""Training patches: cut, rotated and flipped on the fly, a whole batch at a time.

Every batch depends on (seed, step, rank) alone, so a resumed training sees the very patches an
uninterrupted one would have seen, and no random state needs saving.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ssim_ae.config import AugmentSettings
from ssim_ae.data.contrast import stretched
from ssim_ae.data.picture_store import Pictures, PictureStore

FEW = 4  # patches are turned at a time: what lies between stays in the cache


def batch_seed(*numbers: int) -> int:
    """One well-mixed seed for a (seed, step, rank) and, where there are several, a stream."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def draw_patches(
    store: PictureStore, count: int, tile: int, augment: AugmentSettings, seed: int
) -> Tensor:
    """``count`` random patches, float32 ``[count, c, tile, tile]`` in 0..1, as the store stretches.

    Each is a random crop of a random picture; turned by an angle within +-``rotate_angle``
    (bilinear; a corner that leaves the picture is mirrored back into it) and flipped, each with
    its probability.
    """
    rng = torch.Generator().manual_seed(seed)
    numbers = torch.randint(len(store), (count,), generator=rng)
    height, width = store.sizes[numbers].unbind(1)
    top, left = _below(height - tile + 1, rng), _below(width - tile + 1, rng)
    chance = torch.rand(4, count, generator=rng)
    turned = chance[0] < augment.p_rotate
    angle = (chance[3] * 2 - 1) * math.radians(augment.rotate_angle)

    along = torch.arange(tile)
    rows = (top[:, None] + along)[:, :, None]
    columns = (left[:, None] + along)[:, None, :]
    patches = torch.empty(count, tile, tile, *store.channels)
    for those in store.portions(numbers):
        pictures = store.take(numbers[those])
        patches[those] = pictures.at(rows[those], columns[those]).to(torch.float32)
        for some in torch.split(turned[those].nonzero()[:, 0], FEW):
            at = those[some]
            patches[at] = _rotated(pictures.chosen(some), top[at], left[at], angle[at], tile)
    mirrored = chance[1] < augment.p_horizontal_flip
    patches[mirrored] = patches[mirrored].flip(2)
    upended = chance[2] < augment.p_vertical_flip
    patches[upended] = patches[upended].flip(1)
    patches = patches / 255
    patches = patches[:, None] if patches.dim() == 3 else patches.permute(0, 3, 1, 2)
    return stretched(patches, store.stretch)


def _below(limits: Tensor, rng: torch.Generator) -> Tensor:
    """A random whole number from 0 to below each of the limits, int64 ``[n]``."""
    if bool((limits == limits[0]).all()):  # as ever: trainings on pictures of one size repeat
        return torch.randint(int(limits[0]), limits.shape, generator=rng)
    return (torch.rand(limits.shape, dtype=torch.float64, generator=rng) * limits).long()


def _rotated(pictures: Pictures, top: Tensor, left: Tensor, angle: Tensor, tile: int) -> Tensor:
    """Bilinear crops, one of each picture, turned by its angle (radians) about its own centre."""
    height, width = pictures.height[:, None, None], pictures.width[:, None, None]
    centred = torch.arange(tile) - (tile - 1) / 2
    dy, dx = centred[None, :, None], centred[None, None, :]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    y = _mirror(top[:, None, None] + (tile - 1) / 2 + cos * dy + sin * dx, height)
    x = _mirror(left[:, None, None] + (tile - 1) / 2 - sin * dy + cos * dx, width)
    y0, x0 = y.floor().long(), x.floor().long()
    y1, x1 = (y0 + 1).minimum(height - 1), (x0 + 1).minimum(width - 1)
    fy, fx = y - y0, x - x0
    if pictures.pixels.dim() == 2:  # RGB
        fy, fx = fy[..., None], fx[..., None]

    def pixel(rows: Tensor, columns: Tensor) -> Tensor:
        return pictures.at(rows, columns).to(torch.float32)

    upper = pixel(y0, x0) * (1 - fx) + pixel(y0, x1) * fx
    lower = pixel(y1, x0) * (1 - fx) + pixel(y1, x1) * fx
    return upper * (1 - fy) + lower * fy


def _mirror(position: Tensor, length: Tensor) -> Tensor:
    """Reflect coordinates into 0..length-1."""
    period = (2 * (length - 1)).clamp(min=1).to(position.dtype)
    folded = position.remainder(period)
    return torch.minimum(folded, period - folded)
