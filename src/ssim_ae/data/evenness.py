"""Whether good pictures show a texture, every part like the next, or an object.

The border between them was settled on generated worlds (benchmarks/pretraining/evenness.py), not on
photographs.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32  # pixels
TEXTURE = 0.3  # unevenness up to which pictures are a texture


def unevenness(pictures: Tensor) -> Tensor:
    """How much local contrast differs from place to place in each picture, 0 = not at all.

    ``[n, c, h, w]`` in 0..1, at least 32x64 or 64x32 -> ``[n]``: the standard deviation, over
    blocks, of the log of the standard deviation inside a block of 32x32 pixels.
    """
    grey = pictures.mean(1) * 255
    blocks = grey.unfold(1, BLOCK, BLOCK).unfold(2, BLOCK, BLOCK).flatten(3).flatten(1, 2)
    contrast = blocks.std(2, correction=0)
    return torch.log(contrast + 1).std(1, correction=0)  # one grey level: noise is no structure
