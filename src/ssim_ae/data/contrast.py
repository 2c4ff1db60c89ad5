"""Faint pictures made plain: one gain and one level for a whole data set.

The SSIM's constant C2 = 0.03^2 drowns structure whose standard deviation is not well above 0.03: a
network trained on fainter pictures gives back plain grey and the loss hardly says so. Such sets are
stretched to the range of grey levels before anything looks at them; others stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssim_ae.config import Stretch

ORDINARY = 0.05  # standard deviation within a patch, mean over patches: nothing is done above it
FILLED = 0.8  # of the range, by all but a thousandth of a faint set's good pixels on each side
MOST = 64.0  # largest gain


def stretched(picture: Tensor, stretch: Stretch | None) -> Tensor:
    """``[n, c, h, w]`` in 0..1 -> the same in 0..1, ``level`` in the middle, ``gain`` as strong."""
    if stretch is None:
        return picture
    return ((picture - stretch.level) * stretch.gain + 0.5).clamp(0, 1)


def stretch_of(patches: Tensor) -> Stretch | None:
    """What a data set needs, from good patches ``[n, c, t, t]`` in 0..1; None: nothing."""
    if float(patches.std((2, 3)).mean()) >= ORDINARY:
        return None
    values = patches.flatten()
    values = values[:: -(-values.numel() // 1_000_000)]
    low, high = torch.quantile(values, torch.tensor([0.001, 0.999])).tolist()
    gain = min(FILLED / max(high - low, 1e-6), MOST)
    return Stretch(gain=gain, level=(low + high) / 2) if gain > 1 else None
