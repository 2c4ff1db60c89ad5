"""The training loss: 1 - mean SSIM (Wang et al. 2004), with its gradient written out.

Autograd through five 11x11 depthwise convolutions costs more than the whole network on a CPU.
Here a Gaussian blur is two products with a banded matrix, and the backward pass is the analytic
derivative: three transposed blurs instead of autograd's five convolutions forward and back.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # (K1 L)^2, (K2 L)^2 with data range L = 1


def gaussian(window: int, sigma: float) -> Tensor:
    """Normalised 1-D Gaussian, float64 ``[window]``."""
    x = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    g = torch.exp(-(x**2) / (2 * sigma**2))
    return g / g.sum()


@lru_cache(maxsize=16)
def _band(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[size - 10, size]``: row i holds the window that starts at pixel i (valid positions)."""
    g = gaussian(WINDOW, SIGMA)
    rows = size - WINDOW + 1
    band = torch.zeros(rows, size, dtype=torch.float64)
    for offset in range(WINDOW):
        band[torch.arange(rows), torch.arange(rows) + offset] = g[offset]
    return band.to(device=device, dtype=dtype)


class _MeanSsim(torch.autograd.Function):
    """Mean SSIM of ``y`` against a constant ``x``, both ``[m, h, w]``."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor) -> Tensor:
        rows = _band(x.shape[-2], x.dtype, x.device)
        cols = _band(x.shape[-1], x.dtype, x.device).t()

        def blur(t: Tensor) -> Tensor:
            return torch.matmul(rows, t @ cols)

        mx, my = blur(x), blur(y)
        vx = blur(x * x) - mx * mx
        vy = blur(y * y) - my * my
        cov = blur(x * y) - mx * my
        # the pixels are centred on 0 (see ssim_loss); the luminance term needs the true means
        ux, uy = mx + 0.5, my + 0.5
        a1, a2 = 2 * ux * uy + C1, 2 * cov + C2
        b1, b2 = ux * ux + uy * uy + C1, vx + vy + C2
        inverse = 1 / (b1 * b2)
        ssim = a1 * a2 * inverse
        # dS/d(mean y), dS/d(mean y^2), dS/d(mean xy), with the moments taken about the centre
        d_xy = 2 * a1 * inverse
        d_yy = -ssim / b2
        d_y = 2 * ux * a2 * inverse - 2 * uy * ssim / b1 - mx * d_xy - 2 * my * d_yy
        ctx.save_for_backward(y, x, d_y, d_yy, d_xy, rows, cols)
        return ssim.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        y, x, d_y, d_yy, d_xy, rows, cols = ctx.saved_tensors

        def spread(t: Tensor) -> Tensor:
            return torch.matmul(rows.t(), t @ cols.t())

        total = spread(d_y) + 2 * y * spread(d_yy) + x * spread(d_xy)
        return total * (grad / d_y.numel()), None


def ssim_loss(reconstruction: Tensor, target: Tensor) -> Tensor:
    """1 - mean SSIM; 11x11 Gaussian, sigma 1.5, K1 0.01, K2 0.03, data range 1, valid windows.

    Args:
        reconstruction: float ``[n, c, h, w]`` in 0..1, h and w at least 11; gets the gradient.
        target: same shape; treated as a constant.

    Each channel counts alike. Computed in float32 at least, whatever autocast says.
    """
    if reconstruction.shape != target.shape:
        raise ValueError(f"shapes differ: {tuple(reconstruction.shape)} {tuple(target.shape)}")
    dtype = torch.promote_types(reconstruction.dtype, torch.float32)
    h, w = target.shape[-2:]
    with torch.autocast(reconstruction.device.type, enabled=False):
        # centred pixels: E[x^2] - E[x]^2 loses fewer digits in float32
        y = reconstruction.to(dtype).reshape(-1, h, w) - 0.5
        x = target.detach().to(dtype).reshape(-1, h, w) - 0.5
        mean: Tensor = _MeanSsim.apply(y, x)  # type: ignore[no-untyped-call]
        return 1 - mean
