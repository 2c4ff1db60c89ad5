"""Whether good pictures hold colour, or only grey, noise and a lamp's tint.

In full contrast a lamp's tint is a few grey levels and colour is many. A faint picture's colours
are faint too; there what counts is where they vary, once the lamp is taken out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Pixels, read_picture, strips

CHROMA = 24  # grey levels between the channels of a coloured pixel, at least
NOISE = 4  # ... of a faint picture's
ENOUGH = 0.01  # of the pixels, coloured ones
FAINT = 0.4  # of the range of grey levels: a picture that uses no more of it


def coloured(files: Sequence[Path], most: int = 16) -> bool:
    """Whether some of the pictures, up to ``most`` evenly spaced, hold colour.

    Channels differ by more than ``CHROMA`` in ``ENOUGH`` of the pixels; or a faint picture's do
    beyond their medians' ratio, by as much of its range.
    """
    return any(
        _holds_colour(read_picture(file, "rgb")) for file in files[:: -(-len(files) // most)]
    )


def _holds_colour(pixels: Pixels) -> bool:
    if _share(pixels, np.ones(3, np.float32), CHROMA) > ENOUGH:
        return True
    counts = np.zeros((3, 256), np.int64)
    for part in _parts(pixels):
        for channel in range(3):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    below = counts.cumsum(1) / counts.sum(1, keepdims=True)
    low, middle, high = ((below < share).sum(1) for share in (0.001, 0.5, 0.999))
    used = float((high - low).max()) / 255  # by the channel that uses most
    if used > FAINT:
        return False
    lamp = np.maximum(middle, 1).astype(np.float32)
    return _share(pixels, lamp.mean() / lamp, max(NOISE, CHROMA * used)) > ENOUGH


def _share(pixels: Pixels, gains: NDArray[np.float32], level: float) -> float:
    """Of the pixels, those whose channels, times ``gains``, lie more than ``level`` apart."""
    found = 0
    for part in _parts(pixels):
        scaled = part * gains
        found += int(np.count_nonzero(scaled.max(axis=2) - scaled.min(axis=2) > level))
    return found / float(pixels.shape[0] * pixels.shape[1])


def _parts(pixels: Pixels) -> Iterator[Pixels]:
    for top, bottom in strips(*pixels.shape[:2]):
        yield pixels[top:bottom]
