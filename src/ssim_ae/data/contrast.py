"""The range of grey levels that good pictures have, and what is made of it before anything looks.

Clipped: how far a pixel lies beyond what good pictures show says no more than that it does, yet it
would outshine what lies around it in every map. So all pictures are clipped to the good ones' range
and a margin.

Stretched: the SSIM's constant C2 = 0.03^2 drowns structure whose standard deviation is not well
above 0.03; a network trained on fainter pictures gives back plain grey and the loss hardly says so.
Such sets are stretched to the range of grey levels; others keep their contrast. Of a set in colour
each channel has a range of its own, so that what sets brass apart from grey is no contrast; the
gain is one, that of the channel with the widest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssim_ae.config import Stretch

ORDINARY = 0.05  # standard deviation within a patch, mean over patches: no gain above it
MARGIN = 1 / 8  # of the good pictures' range, beyond it on each side
MOST = 64.0  # largest gain


def stretched(picture: Tensor, stretch: Stretch | None) -> Tensor:
    """``[n, c, h, w]`` in 0..1 -> ``level`` in the middle, ``gain`` as strong, clipped."""
    if stretch is None:
        return picture
    if stretch.gain != 1:
        picture = _less(picture, stretch.level) * stretch.gain + 0.5
    return clipped(picture, stretch)


def _less(picture: Tensor, level: float | list[float]) -> Tensor:
    if isinstance(level, float):
        return picture - level
    return torch.cat([picture[:, i : i + 1] - own for i, own in enumerate(level)], 1)


def clipped(picture: Tensor, stretch: Stretch | None) -> Tensor:
    """Between ``low`` and ``high`` of a stretched set, else between 0 and 1."""
    return picture.clamp(0, 1) if stretch is None else picture.clamp(stretch.low, stretch.high)


def stretch_of(patches: Tensor) -> Stretch:
    """What a data set needs, from good patches ``[n, c, t, t]`` in 0..1."""
    if float(patches.std((2, 3)).mean()) < ORDINARY:
        ranges = [_range(channel) for channel in patches.unbind(1)]
        widest = max(high - low for low, high in ranges)
        gain = min(1 / max((1 + 2 * MARGIN) * widest, 1e-6), MOST)
        if gain > 1:
            levels = [(low + high) / 2 for low, high in ranges]
            return Stretch(gain=gain, level=levels if len(levels) > 1 else levels[0])
    low, high = _range(patches)
    margin = MARGIN * (high - low)
    return Stretch(gain=1, level=0.5, low=max(0.0, low - margin), high=min(1.0, high + margin))


def _range(values: Tensor) -> tuple[float, float]:
    """Of all but a thousandth of the pixels on each side."""
    values = values.flatten()
    values = values[:: -(-values.numel() // 1_000_000)]
    low, high = torch.quantile(values, torch.tensor([0.001, 0.999])).tolist()
    return low, high
