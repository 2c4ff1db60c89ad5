"""The anomaly map: residuals in units of what good pictures seldom exceed, combined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.config import ResidualSettings
from ssim_ae.model.filters import blur_framed, cropped, enlarged, gaussian_taps, mirrored
from ssim_ae.model.findings import Findings
from ssim_ae.model.residuals import KINDS, reach_of, windows_of
from ssim_ae.picture_score import picture_score

CELL = 8  # pixels to a value of the map's surroundings
SURROUND = 25  # cells: side of the square that is a pixel's surroundings


class Residual(nn.Module):
    """The terms of the settings, each shifted and scaled, combined by weighted sum or maximum.

    ``[n, c, h, w]`` picture in 0..1 and what a network found in it -> ``[n, h, w]``, larger = more
    different.
    """

    def __init__(self, settings: ResidualSettings) -> None:
        super().__init__()
        self.settings = settings
        self.windows: list[int] = []  # how many each term has
        for i, term in enumerate(settings.terms):
            self.windows.append(len(windows_of(term)))
            for j, window in enumerate(windows_of(term)):
                self.register_buffer(f"taps{i}_{j}", window)
        self.smooth: Tensor | None
        smooth = None if settings.smooth is None else gaussian_taps(settings.smooth)
        self.register_buffer("smooth", smooth)
        self.surround: Tensor | None
        self.share = settings.surround or 0.0
        around = torch.full((SURROUND,), 1 / SURROUND) if self.share else None
        self.register_buffer("surround", around)

    @property
    def reach(self) -> int:
        """How far around a pixel its value looks, pixels."""
        smooth = 0 if self.smooth is None else len(self.smooth) // 2
        # a cell to align and a bilinear neighbour
        around = 0 if self.surround is None else CELL * (SURROUND // 2 + 2)
        return max(reach_of(term) for term in self.settings.terms) + around + smooth

    def terms(self, picture: Tensor, found: Findings) -> list[Tensor]:
        """Every term's own map, unscaled."""
        maps = []
        for i, term in enumerate(self.settings.terms):
            windows = [self.get_buffer(f"taps{i}_{j}") for j in range(self.windows[i])]
            maps.append(KINDS[term.kind].residual(picture, found, *windows))
        return maps

    def forward(self, picture: Tensor, found: Findings) -> Tensor:
        return self.combined(self.terms(picture, found))

    def combined(self, maps: Sequence[Tensor]) -> Tensor:
        """The terms' own maps -> the anomaly map."""
        total = combine(maps, self.settings)
        if self.surround is not None:
            total = total - self.share * surroundings(total, self.surround)
        if self.smooth is None:
            return total
        blurred = blur_framed(total[:, None], self.smooth)[:, 0]
        share = self.settings.smooth_share
        return blurred if share == 1 else (1 - share) * total + share * blurred

    def score(self, anomaly_map: Tensor) -> Tensor:
        """Of maps ``[n, h, w]``, each of a whole picture: ``[n]``."""
        highest = anomaly_map.amax(dim=(1, 2))
        # row by row: engines add up float32 one by one, which over millions of pixels shows
        return picture_score(highest, anomaly_map.mean(2).mean(1), self.settings)


def surroundings(anomaly_map: Tensor, taps: Tensor) -> Tensor:
    """Mean of a map over the square of ``CELL * len(taps)`` pixels around, ``[n, h, w]``.

    What a whole picture or a whole stretch of cloth has more of than the good pictures had (other
    light, another batch) is no outline; what stands out from its surroundings is.
    """
    h, w = anomaly_map.shape[1:]
    cells = F.avg_pool2d(mirrored(anomaly_map[:, None], CELL), CELL)
    return cropped(enlarged(blur_framed(cells, taps), CELL)[:, 0], h, w)


def bounded(term_map: Tensor, bound: float | None) -> Tensor:
    """The map as it is up to ``bound - 1``, from there on slower and never above ``bound``."""
    if bound is None:
        return term_map
    kept = term_map.clamp(max=bound - 1)
    beyond = term_map - kept
    return kept + beyond / (1 + beyond)


def combine(maps: Sequence[Tensor], settings: ResidualSettings) -> Tensor:
    """Scaled maps, summed with their weights or their maximum taken (the zoo's "either" rule).

    With a bound no single map can reject a picture by itself: a speck on a good part may lie
    a hundred times beyond what a well-trained reconstruction usually leaves.
    """
    scaled = [
        bounded((m - t.offset) / t.scale, settings.bound) * t.weight
        for m, t in zip(maps, settings.terms, strict=True)
    ]
    total = scaled[0]
    for other in scaled[1:]:
        total = torch.maximum(total, other) if settings.combine == "max" else total + other
    return total
