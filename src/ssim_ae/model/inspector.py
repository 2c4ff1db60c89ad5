"""The one inspection graph: picture -> tiles -> reconstruction -> residual -> anomaly map, score.

Training exports it; calibration, evaluation and inspection run the exported file. Height, width
and batch stay symbolic, so one file covers every size from one tile upwards (see ``tiling``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssim_ae.config import Stretch
from ssim_ae.data.contrast import stretched
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.findings import Findings, findings


class MedianGrey(nn.Module):
    """The control without a model: every pixel "reconstructed" as its picture's median."""

    def forward(self, picture: Tensor) -> Tensor:
        """``[n, c, h, w]`` of 8-bit values / 255 -> the lower median of each channel, expanded."""
        levels = torch.round(picture * 255)
        half = (picture[0, 0].numel() + 1) // 2
        # bisection over the 256 grey levels: the smallest level that half of the pixels reach
        low = torch.zeros_like(levels[:, :, :1, :1])
        for bit in (128, 64, 32, 16, 8, 4, 2, 1):
            below = (levels < low + bit).to(torch.float32).sum((2, 3), keepdim=True)
            low = low + bit * (below < half).to(torch.float32)
        return (low / 255).expand_as(picture)


class Inspected(NamedTuple):
    """Of ``n`` pictures: ``anomaly_map`` float32 ``[n, h, w]`` (larger = more anomalous), ``score``
    float32 ``[n]``, ``mask`` bool ``[n, h, w]``, ``defective`` bool ``[n]``."""

    anomaly_map: Tensor
    score: Tensor
    mask: Tensor
    defective: Tensor


class Inspector(nn.Module):
    """The whole inspection: a network that takes whole pictures, and what is made of its findings.

    ``image`` uint8 ``[n, h, w]`` (grey) or ``[n, h, w, 3]`` (RGB) at working size -> ``Inspected``.
    The score is made of the map's maximum and mean alone (``picture_score``), which a picture that
    is inspected in blocks has as well. Nothing exceeds the thresholds before ``runtime.constants``
    has put them in.
    """

    def __init__(
        self, network: nn.Module, residual: Residual, stretch: Stretch | None = None
    ) -> None:
        super().__init__()
        self.network, self.residual, self.stretch = network, residual, stretch
        self.score_threshold: Tensor
        self.pixel_threshold: Tensor
        # two values: the exporter would make one constant of equal ones
        self.register_buffer("score_threshold", torch.tensor(math.inf))
        self.register_buffer("pixel_threshold", torch.tensor(torch.finfo(torch.float32).max))

    def forward(self, image: Tensor) -> Inspected:
        picture = stretched(self.picture(image), self.stretch)
        anomaly_map = self.residual(picture, self.find(picture))
        score = self.residual.score(anomaly_map)
        mask, defective = anomaly_map > self.pixel_threshold, score > self.score_threshold
        return Inspected(anomaly_map, score, mask, defective)

    def find(self, picture: Tensor) -> Findings:
        """``[n, c, h, w]`` in 0..1 -> what the network finds in it."""
        return findings(self.network(picture))

    @property
    def reach(self) -> int:
        """How far beyond its tiles a pixel's value looks, pixels."""
        return self.residual.reach + int(getattr(self.network, "reach", 0))

    @staticmethod
    def picture(image: Tensor) -> Tensor:
        """uint8 batch -> float32 ``[n, c, h, w]`` in 0..1."""
        planes = image[:, None] if image.dim() == 3 else image.permute(0, 3, 1, 2)
        return planes.to(torch.float32) / 255
