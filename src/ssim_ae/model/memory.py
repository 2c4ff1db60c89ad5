"""A memory of good pictures: what the joint network's own encoder made of them.

The head knows defects like the generated ones; the memory knows no defect at all, only how far a
picture's features lie from every good one's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ssim_ae.model.core_set import CoreSet
from ssim_ae.model.filters import enlarged

CENTRES = 2000
STRIDE = 8  # pixels to a position


class Memory(CoreSet):
    """Distance of the encoder's features at 1/4 and 1/8 of the size to the nearest remembered ones.

    ``[n, c2, h/4, w/4]`` and ``[n, c3, h/8, w/8]`` -> ``[n, h, w]``, along axes
    that are uncorrelated over good pictures. Learned after the network (``training.core_set``).
    """

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__(fine + coarse, CENTRES)

    def described(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """``[n, fine + coarse, h/8, w/8]``."""
        return torch.cat([F.avg_pool2d(fine, 2), coarse], 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return enlarged(self.distance(self.described(fine, coarse)), STRIDE)[:, 0]
