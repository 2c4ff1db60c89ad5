"""How far local features lie from those of good pictures: from the nearest of a core set.

After PatchCore (Roth et al., CVPR 2022). Where the features come from is up to ``model.memory`` and
``model.features``; what good pictures' features are like is learned in ``training.core_set``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGEST = 20.0  # units: beyond, squares would cost the distance its digits
SOFTENING = 1e-3  # added to squared distances: rounding does not show at a distance of 0


class CoreSet(nn.Module):
    """Distance of features to the nearest centre, root mean square over their channels.

    Args:
        width: channels of the features.
        centres: how many.
    """

    def __init__(self, width: int, centres: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.axes: Tensor
        self.centres: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.eye(width))  # in rows
        self.register_buffer("centres", torch.zeros(centres, width))

    def standardised(self, features: Tensor) -> Tensor:
        """``[n, width, h, w]`` -> ``[n, h * w, width]`` along the axes, in their units."""
        n, width, h, w = features.shape
        rows = features.reshape(n, width, h * w).transpose(1, 2)
        return ((rows - self.mean) @ self.axes.t()).clamp(-LARGEST, LARGEST)

    def distance(self, features: Tensor) -> Tensor:
        """``[n, width, h, w]`` -> ``[n, 1, h, w]``, larger = less like any good picture's."""
        n, _, h, w = features.shape
        x = self.standardised(features)
        # |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2): one product for all centres. Positions in rows:
        # engines take a maximum along the last axis many times faster than along the channels
        likeness = x @ self.centres.t() - (self.centres * self.centres).sum(1) / 2
        squared = (x * x).sum(2) - 2 * likeness.amax(2)
        distance = ((squared / x.shape[2]).clamp(min=0) + SOFTENING).sqrt()
        return distance.reshape(n, 1, h, w)
