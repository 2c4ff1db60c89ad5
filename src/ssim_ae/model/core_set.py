"""How far local features lie from those of good pictures: from the nearest of a core set.

After PatchCore (Roth et al., CVPR 2022). Where the features come from is up to ``model.memory`` and
``model.features``; what good pictures' features are like is learned in ``training.core_set``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        self.register_buffer("axes", torch.eye(width)[:, :, None, None])
        self.register_buffer("centres", torch.zeros(centres, width, 1, 1))

    def standardised(self, features: Tensor) -> Tensor:
        """``[n, width, h, w]`` along the axes, in their units, as good pictures have them."""
        centred = features - self.mean[:, None, None]
        return F.conv2d(centred, self.axes).clamp(-LARGEST, LARGEST)

    def distance(self, features: Tensor) -> Tensor:
        """``[n, width, h, w]`` -> ``[n, 1, h, w]``, larger = less like any good picture's."""
        x = self.standardised(features)
        # |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2): one convolution for all centres
        likeness = F.conv2d(x, self.centres, -(self.centres * self.centres).sum((1, 2, 3)) / 2)
        squared = (x * x).sum(1, keepdim=True) - 2 * likeness.amax(1, keepdim=True)
        return ((squared / x.shape[1]).clamp(min=0) + SOFTENING).sqrt()
