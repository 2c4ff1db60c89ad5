"""Residuals: maps of difference between a picture and its reconstruction.

A new kind is a function ``(picture, findings, *windows) -> map`` and one line in ``KINDS``. All of
them run inside the exported graph, at any height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssim_ae.config import ResidualTerm
from ssim_ae.model.filters import blur, blur_framed, cropped, enlarged, gaussian_taps, mirrored
from ssim_ae.model.findings import Findings
from ssim_ae.model.ssim import C1, C2

C_GRADIENT = 0.0026  # the constant of gradient-magnitude similarity (170 on a scale of 255^2)
SCALES = 3  # gradients are compared at 1/2, 1/4 and 1/8 of the size
BAND = 6.0  # coarse end of the band over its fine end


def ssim_residual(picture: Tensor, found: Findings, taps: Tensor) -> Tensor:
    """1 - SSIM, ``[n, c, h, w]`` twice -> ``[n, h, w]`` in 0..2, mean over channels.

    Windows lie inside the picture; the frame of half a window takes the nearest value. Padding the
    pictures instead would count their outermost pixels, which the loss trains least, many times.
    """
    x, y = picture - 0.5, found.reconstruction - 0.5  # centred: fewer digits lost in the variances
    c = x.shape[1]
    moments = blur(torch.cat([x, y, x * x + y * y, x * y], dim=1), taps)
    mx, my, squares, xy = (moments[:, i * c : (i + 1) * c] for i in range(4))
    ux, uy = mx + 0.5, my + 0.5
    luminance = (2 * ux * uy + C1) / (ux * ux + uy * uy + C1)
    structure = (2 * (xy - mx * my) + C2) / (squares - mx * mx - my * my + C2)
    radius = taps.shape[0] // 2
    inside = (1 - luminance * structure).mean(dim=1, keepdim=True)
    return F.pad(inside, (radius, radius, radius, radius), mode="replicate")[:, 0]


def l1_residual(picture: Tensor, found: Findings, taps: Tensor) -> Tensor:
    """Absolute difference, ``[n, c, h, w]`` twice -> ``[n, h, w]`` in 0..1, mean over channels."""
    return (picture - found.reconstruction).abs().mean(dim=1)


def gradient_residual(picture: Tensor, found: Findings, taps: Tensor) -> Tensor:
    """1 - gradient-magnitude similarity at 1/2, 1/4 and 1/8 of the size, their mean blurred.

    Xue et al., IEEE TIP 2014; over scales as in RIAD (Zavrtanik et al., Pattern Recognition 2021),
    but without the full size, which sees noise. ``[n, h, w]`` in 0..1.
    """
    c, h, w = picture.shape[1:]
    cell = 1 << SCALES
    pair = [F.avg_pool2d(mirrored(x, cell), 2) for x in (picture, found.reconstruction)]
    both = torch.cat(pair, 1)  # from here on at once: half the operations to export
    total = torch.zeros((), device=picture.device)
    for scale in range(SCALES):
        both = F.avg_pool2d(both, 2) if scale else both
        magnitude = gradient_magnitude(both)
        a, b = magnitude[:, :c], magnitude[:, c:]
        unlike = 1 - (2 * a * b + C_GRADIENT) / (a * a + b * b + C_GRADIENT)
        unlike = unlike.mean(1, keepdim=True)
        total = total + (enlarged(unlike, 1 << scale) if scale else unlike) / SCALES
    return cropped(enlarged(blur_framed(total, taps), 2)[:, 0], h, w)


def gradient_magnitude(picture: Tensor) -> Tensor:
    """Length of the Sobel gradient of each channel, in units of 1 a pixel."""
    kernel = picture.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    n, c, h, w = picture.shape
    framed = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    slopes = F.conv2d(framed, torch.stack([kernel, kernel.t()] * c)[:, None], groups=c)
    return ((slopes * slopes).reshape(n, c, 2, h, w).sum(2) + 1e-12).sqrt()


def band_residual(picture: Tensor, found: Findings, taps: Tensor, wide: Tensor) -> Tensor:
    """Absolute band-passed difference, blurred: fine noise and slow drifts are left out.

    A difference of Gaussians at half size; mean over channels, ``[n, h, w]`` in 0..1.
    """
    h, w = picture.shape[2:]
    difference = F.avg_pool2d(mirrored(picture - found.reconstruction, 2), 2)
    band = blur_framed(difference, taps) - blur_framed(difference, wide)
    smooth = blur_framed(band.abs().mean(1, keepdim=True), taps)
    return cropped(enlarged(smooth, 2)[:, 0], h, w)


def said_by_network(field: str) -> Callable[..., Tensor]:
    """A residual that is a map of the network's own, ``[n, h, w]``, see ``Findings``."""

    def residual(picture: Tensor, found: Findings, taps: Tensor) -> Tensor:
        value: Tensor | None = getattr(found, field)
        if value is None:
            raise ValueError(f"this network finds no {field}, which the residual's terms ask for")
        return value

    return residual


class Kind(NamedTuple):
    """A kind of residual: its function, its 1-D windows, and from their radii how far around a
    pixel its value looks, pixels (an upper bound)."""

    residual: Callable[..., Tensor]
    windows: Callable[[ResidualTerm], list[Tensor]]
    reach: Callable[..., int]


def _own_window(term: ResidualTerm) -> list[Tensor]:
    return [_uniform(term) if term.sigma is None else gaussian_taps(term.sigma)]


def _half_size(term: ResidualTerm) -> list[Tensor]:
    return [_uniform(term) if term.sigma is None else gaussian_taps(term.sigma / 2)]


def _band_ends(term: ResidualTerm) -> list[Tensor]:
    assert term.sigma is not None  # settings of a band without it are refused
    return [gaussian_taps(term.sigma / 2), gaussian_taps(BAND * term.sigma / 2)]


def _uniform(term: ResidualTerm) -> Tensor:
    return torch.full((term.window,), 1 / term.window)


KINDS: dict[str, Kind] = {
    "ssim": Kind(ssim_residual, _own_window, lambda radius: radius),
    "l1": Kind(l1_residual, _own_window, lambda radius: 0),
    # a Sobel and a bilinear neighbour at the coarsest scale
    "gradient": Kind(gradient_residual, _half_size, lambda radius: 2 * radius + (2 << SCALES) + 4),
    # blurred, band-passed, blurred
    "band": Kind(band_residual, _band_ends, lambda fine, wide: 2 * (2 * fine + wide) + 4),
    "head": Kind(said_by_network("logit"), _own_window, lambda radius: 0),
    "rarity": Kind(said_by_network("rarity"), _own_window, lambda radius: 0),
    "memory": Kind(said_by_network("memory"), _own_window, lambda radius: 0),
    "features": Kind(said_by_network("features"), _own_window, lambda radius: 0),
}


def windows_of(term: ResidualTerm) -> list[Tensor]:
    """1-D windows of a term, float32 ``[k]`` each; those of half-size kinds at half size."""
    return KINDS[term.kind].windows(term)


def reach_of(term: ResidualTerm) -> int:
    """How far around a pixel the value of its term looks, pixels; an upper bound."""
    return KINDS[term.kind].reach(*(len(window) // 2 for window in windows_of(term)))
