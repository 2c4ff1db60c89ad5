"""The training loss: 1 - mean SSIM (Wang et al. 2004), with its gradient written out.

Autograd through five 11x11 depthwise convolutions costs more than the whole network on a CPU.
Here a Gaussian blur is products with blocks of a banded matrix, the gradient is the analytic
derivative, computed together with the value, and a CPU works on a few patches at a time, so that
the maps in between stay in its cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # (K1 L)^2, (K2 L)^2 with data range L = 1
CACHED = 1 << 19  # pixels that a CPU works on at a time; 2^18 and 2^20 are about as fast
BLOCK = 16  # rows of a band's block: fewer zeros against smaller products


def gaussian(window: int, sigma: float) -> Tensor:
    """Normalised 1-D Gaussian, float64 ``[window]``."""
    x = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    g = torch.exp(-(x**2) / (2 * sigma**2))
    return g / g.sum()


class _Block(NamedTuple):
    """Output rows ``out`` of a banded matrix need only the input rows ``within``."""

    out: slice
    within: slice
    matrix: Tensor
    transposed: Tensor


@lru_cache(maxsize=32)
def _blur_blocks(
    size: int, transposed: bool, dtype: torch.dtype, device: torch.device
) -> tuple[_Block, ...]:
    """The blur from ``size`` pixels to ``size - 10`` valid positions, or its transpose."""
    g = gaussian(WINDOW, SIGMA)
    rows = torch.arange(size - WINDOW + 1)
    band = torch.zeros(len(rows), size, dtype=torch.float64)
    for offset in range(WINDOW):
        band[rows, rows + offset] = g[offset]
    band = band.t() if transposed else band
    blocks = []
    for start in range(0, len(band), BLOCK):
        part = band[start : start + BLOCK]
        used = part.any(0).nonzero()
        within = slice(int(used.min()), int(used.max()) + 1)
        matrix = part[:, within].to(device=device, dtype=dtype).contiguous()
        out = slice(start, start + len(part))
        blocks.append(_Block(out, within, matrix, matrix.t().contiguous()))
    return tuple(blocks)


def _blurred(maps: Tensor, transposed: bool = False) -> Tensor:
    """Blur ``[k, h, m, w]`` along h and w: valid positions, or the transpose of that."""
    k, h, m, w = maps.shape
    change = (WINDOW - 1) * (1 if transposed else -1)
    half = maps.new_empty(k, h + change, m, w)
    full = maps.new_empty(k, h + change, m, w + change)
    rows, columns = (
        _blur_blocks(max(s, s + change), transposed, maps.dtype, maps.device) for s in (h, w)
    )
    for source, target in zip(maps.view(k, h, -1), half.view(k, h + change, -1), strict=True):
        for b in rows:
            torch.mm(b.matrix, source[b.within], out=target[b.out])
    source, target = half.view(-1, w), full.view(-1, w + change)
    for b in columns:
        torch.mm(source[:, b.within], b.transposed, out=target[:, b.out])
    return full


def _ssim_sum(y: Tensor, x: Tensor, gradient: Tensor | None) -> Tensor:
    """Sum of the SSIM of ``y`` against ``x``, both ``[m, h, w]``; half its gradient by y goes
    into ``gradient``."""
    m, h, w = x.shape
    # rows first: both blurs are then plain products. Centred pixels: E[x^2] - E[x]^2 loses fewer
    # digits in float32
    maps = x.new_empty(4, h, m, w)
    x, y = x.transpose(0, 1).sub(0.5), y.transpose(0, 1).sub(0.5)
    maps[0], maps[1] = x, y
    torch.mul(x, x, out=maps[2]).addcmul_(y, y)
    torch.mul(x, y, out=maps[3])
    mx, my, squares, products = _blurred(maps)
    ux, uy = mx + 0.5, my + 0.5  # the luminance term needs the true means
    a1 = (ux * uy).mul_(2).add_(C1)
    b1 = (ux * ux).addcmul_(uy, uy).add_(C1)
    a2 = products.addcmul_(mx, my, value=-1).mul_(2).add_(C2)
    b2 = squares.addcmul_(mx, mx, value=-1).addcmul_(my, my, value=-1).add_(C2)
    inverse = (b1 * b2).reciprocal_()
    ssim = (a1 * a2).mul_(inverse)
    total: Tensor = ssim.sum()
    if gradient is None:
        return total
    # half of dS/d(mean y), dS/d(mean y^2), half of dS/d(mean xy), moments about the centre
    slopes = maps.new_empty(3, *ssim.shape)
    share = ssim.mul_(inverse)
    d_xy = torch.mul(a1, inverse, out=slopes[2])
    d_yy = torch.mul(share, b1, out=slopes[1]).neg_()
    d_y = torch.mul(ux, a2, out=slopes[0]).mul_(inverse)
    d_y.addcmul_(uy.mul_(share), b2, value=-1)
    d_y.addcmul_(mx, d_xy, value=-1).addcmul_(my, d_yy, value=-1)
    spread = _blurred(slopes, transposed=True)
    spread[0].addcmul_(x, spread[2])
    torch.addcmul(spread[0], y, spread[1], out=gradient.transpose(0, 1))
    return total


class _MeanSsim(torch.autograd.Function):
    """Mean SSIM of ``y`` against a constant ``x``, both ``[m, h, w]``."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor) -> Tensor:
        m, h, w = x.shape
        at_once = max(1, CACHED // (h * w)) if x.device.type == "cpu" else m
        gradient = torch.empty_like(y) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for i in range(0, m, at_once):
            part = slice(i, i + at_once)
            total += _ssim_sum(y[part], x[part], None if gradient is None else gradient[part])
        ctx.positions = m * (h - WINDOW + 1) * (w - WINDOW + 1)
        ctx.save_for_backward(gradient)
        mean: Tensor = total / ctx.positions
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (grad * (2 / ctx.positions)), None


_mean_ssim: Callable[[Tensor, Tensor], Tensor] = _MeanSsim.apply


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
    if min(h, w) < WINDOW:
        raise ValueError(f"{h}x{w} pixels are fewer than the {WINDOW}x{WINDOW} window")
    with torch.autocast(reconstruction.device.type, enabled=False):
        y = reconstruction.to(dtype).reshape(-1, h, w)
        x = target.detach().to(dtype).reshape(-1, h, w)
        return 1 - _mean_ssim(y, x)
