"""Residuals: one map of difference between a picture and its reconstruction.

A new kind is a function ``(picture, reconstruction, window) -> map`` and one line in ``KINDS``.
All of them run inside the exported graph, at any height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.config import ResidualSettings, ResidualTerm
from ssim_ae.model.ssim import C1, C2, gaussian


def window_taps(term: ResidualTerm) -> Tensor:
    """1-D window of a term, float32 ``[k]``: uniform, or a Gaussian cut at 3.5 sigma.

    The cut is scikit-image's (``truncate = 3.5``): sigma 1.5 gives 11 taps, sigma 10 gives 71.
    """
    if term.sigma is None:
        return torch.full((term.window,), 1 / term.window)
    radius = int(3.5 * term.sigma + 0.5)
    return gaussian(2 * radius + 1, term.sigma).float()


def blur(maps: Tensor, taps: Tensor) -> Tensor:
    """Separable blur of ``[n, c, h, w]`` at the positions where the whole window lies inside."""
    n, c, h, w = maps.shape
    flat = F.conv2d(maps.reshape(n * c, 1, h, w), taps.view(1, 1, -1, 1))
    flat = F.conv2d(flat, taps.view(1, 1, 1, -1))
    return flat.reshape(n, c, flat.shape[-2], flat.shape[-1])


def ssim_residual(picture: Tensor, reconstruction: Tensor, taps: Tensor) -> Tensor:
    """1 - SSIM, ``[n, c, h, w]`` twice -> ``[n, h, w]`` in 0..2, mean over channels.

    Windows lie inside the picture; the frame of half a window takes the nearest value. Padding the
    pictures instead would count their outermost pixels, which the loss trains least, many times.
    """
    x, y = picture - 0.5, reconstruction - 0.5  # centred: fewer digits lost in the variances
    c = x.shape[1]
    moments = blur(torch.cat([x, y, x * x + y * y, x * y], dim=1), taps)
    mx, my, squares, xy = (moments[:, i * c : (i + 1) * c] for i in range(4))
    ux, uy = mx + 0.5, my + 0.5
    luminance = (2 * ux * uy + C1) / (ux * ux + uy * uy + C1)
    structure = (2 * (xy - mx * my) + C2) / (squares - mx * mx - my * my + C2)
    radius = taps.shape[0] // 2
    inside = (1 - luminance * structure).mean(dim=1, keepdim=True)
    return F.pad(inside, (radius, radius, radius, radius), mode="replicate")[:, 0]


def l1_residual(picture: Tensor, reconstruction: Tensor, taps: Tensor) -> Tensor:
    """Absolute difference, ``[n, c, h, w]`` twice -> ``[n, h, w]`` in 0..1, mean over channels."""
    return (picture - reconstruction).abs().mean(dim=1)


KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ssim": ssim_residual,
    "l1": l1_residual,
}


class Residual(nn.Module):
    """The terms of the settings, each divided by its scale, combined by weighted sum or maximum.

    ``[n, c, h, w]`` picture and reconstruction in 0..1 -> ``[n, h, w]``, larger = more different.
    """

    def __init__(self, settings: ResidualSettings) -> None:
        super().__init__()
        self.settings = settings
        for i, term in enumerate(settings.terms):
            self.register_buffer(f"taps{i}", window_taps(term))

    @property
    def reach(self) -> int:
        """How far around a pixel its value looks, pixels."""
        windows = [self.get_buffer(f"taps{i}").numel() for i in range(len(self.settings.terms))]
        return max(windows) // 2

    def terms(self, picture: Tensor, reconstruction: Tensor) -> list[Tensor]:
        """Every term's own map, unscaled."""
        return [
            KINDS[term.kind](picture, reconstruction, self.get_buffer(f"taps{i}"))
            for i, term in enumerate(self.settings.terms)
        ]

    def forward(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        return combine(self.terms(picture, reconstruction), self.settings)


def combine(maps: Sequence[Tensor], settings: ResidualSettings) -> Tensor:
    """Scaled maps, summed with their weights or their maximum taken (the zoo's "either" rule)."""
    scaled = [m * (t.weight / t.scale) for m, t in zip(maps, settings.terms, strict=True)]
    total = scaled[0]
    for other in scaled[1:]:
        total = torch.maximum(total, other) if settings.combine == "max" else total + other
    return total
