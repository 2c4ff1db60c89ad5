"""Separable blurs, margins and enlargement: what residuals and networks share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ssim_ae.model.ssim import gaussian


def gaussian_taps(sigma: float) -> Tensor:
    """1-D Gaussian cut at 3.5 sigma, float32.

    The cut is scikit-image's (``truncate = 3.5``): sigma 1.5 gives 11 taps, sigma 10 gives 71.
    """
    radius = int(3.5 * sigma + 0.5)
    return gaussian(2 * radius + 1, sigma).float()


def blur(maps: Tensor, taps: Tensor) -> Tensor:
    """Separable blur of ``[n, c, h, w]`` at the positions where the whole window lies inside."""
    n, c, h, w = maps.shape
    # a group for each channel would do, but OpenVINO 2026.4 hangs in groups of more than 40 taps
    flat = maps if c == 1 else maps.reshape(n * c, 1, h, w)
    flat = F.conv2d(flat, taps.view(1, 1, -1, 1))
    flat = F.conv2d(flat, taps.view(1, 1, 1, -1))
    # one channel too: without a reshape ONNX Runtime enlarges the result with 15 more of padding
    return flat.reshape(n, c, flat.shape[-2], flat.shape[-1])


def blur_framed(maps: Tensor, taps: Tensor) -> Tensor:
    """The same at every position; beyond the border lies the nearest value."""
    r = taps.shape[0] // 2
    return blur(F.pad(maps, (r, r, r, r), mode="replicate"), taps)


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """Bilinear, ``[n, c, h, w]`` -> ``[n, c, factor * h, factor * w]``."""
    return F.interpolate(maps, scale_factor=float(factor), mode="bilinear", align_corners=False)


def mirrored(picture: Tensor, cell: int) -> Tensor:
    """``[n, c, h, w]`` continued by its mirror image to multiples of ``cell``, right and below."""
    for axis in (2, 3):
        length = picture.shape[axis]
        index = torch.arange((length + cell - 1) // cell * cell, device=picture.device)
        picture = picture.index_select(axis, torch.minimum(index, 2 * (length - 1) - index))
    return picture


def cropped(maps: Tensor, height: int, width: int) -> Tensor:
    """The upper left part of ``[..., h, w]``, neither axis shorter than what is kept.

    ``maps[..., :height, :width]``, but its size is known to an export: no smaller of two.
    """
    return maps.narrow(-2, 0, height).narrow(-1, 0, width)
