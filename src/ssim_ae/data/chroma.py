"""Whether good pictures hold colour, or only grey, noise and a lamp's tint.

In full contrast a lamp's tint is a few grey levels and colour is many. A faint picture's colours
are faint too; there what counts is where channels differ once each is brought to the same range,
which takes out the lamp, and averaged over a few pixels, which takes out noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Pixels, read_picture, strips

CHROMA = 24  # grey levels between the channels of a coloured pixel, at least
NOISE = 4  # ... of a faint picture's
ENOUGH = 0.01  # of the pixels, coloured ones
FAINT = 0.4  # of the range of grey levels: a picture that uses no more of it
BLOCK = 4  # pixels, side of what is averaged
AT_ONCE = 1 << 20  # pixels


def coloured(files: Sequence[Path], most: int = 16) -> bool:
    """Whether some of the pictures, up to ``most`` evenly spaced, hold colour.

    Channels differ by more than ``CHROMA`` in ``ENOUGH`` of the pixels; or a faint picture's,
    brought to one range, by as much of it in ``ENOUGH`` of its blocks.
    """
    some = files[:: -(-len(files) // most)]
    return any(_plainly(p) or _faintly(p) for p in (read_picture(f, "rgb") for f in some))


def _plainly(pixels: Pixels) -> bool:
    height, width = pixels.shape[:2]
    found = 0
    for top, bottom in strips(height, width, AT_ONCE):
        part = pixels[top:bottom]
        found += int(np.count_nonzero(part.max(axis=2) - part.min(axis=2) > CHROMA))
    return bool(found > ENOUGH * height * width)


def _faintly(pixels: Pixels) -> bool:
    blocks = _averaged(pixels)
    if not len(blocks):
        return False
    low, high = np.quantile(blocks[:: -(-len(blocks) // AT_ONCE)], (0.001, 0.999), axis=0)
    used = high - low
    if used.max() > FAINT * 255:
        return False
    blocks = (blocks - low) * (used.mean() / np.maximum(used, 1))
    level = max(NOISE, CHROMA * used.max() / 255)
    return bool((np.ptp(blocks, axis=1) > level).mean() > ENOUGH)


def _averaged(pixels: Pixels) -> NDArray[np.float32]:
    """Means of whole blocks, float32 ``[n, 3]``."""
    height, width = (length // BLOCK * BLOCK for length in pixels.shape[:2])
    means = [np.empty((0, 3), np.float32)]
    for top, bottom in strips(height // BLOCK, max(width, 1), AT_ONCE // BLOCK):
        part = pixels[top * BLOCK : bottom * BLOCK, :width]
        split = part.reshape(bottom - top, BLOCK, width // BLOCK, BLOCK, 3)
        means.append(split.mean((1, 3), dtype=np.float32).reshape(-1, 3))
    return np.concatenate(means)
