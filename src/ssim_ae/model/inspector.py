"""The one inspection graph: picture -> tiles -> reconstruction -> residual -> anomaly map, score.

Training exports it; calibration, evaluation and inspection run the exported file. Height, width
and batch stay symbolic: tiling and blending are index arithmetic on the picture's own shape, so
one file covers every size from one tile upwards.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from ssim_ae.model.residuals import Residual


class TiledReconstruction(nn.Module):
    """Reconstruct overlapping tiles and average them where they overlap.

    Args:
        network: ``[m, c, tile, tile]`` -> the same shape.
        tile: side of a tile in pixels.
        stride: step between tiles; the last row and column lie flush with the border.
    """

    def __init__(self, network: nn.Module, tile: int, stride: int) -> None:
        super().__init__()
        if not 1 <= stride <= tile:
            raise ValueError(f"stride is {stride}, but tiles of {tile} need 1..{tile}")
        self.network, self.tile, self.stride = network, tile, stride

    def forward(self, picture: Tensor) -> Tensor:
        """``[n, c, h, w]`` in 0..1, h and w at least ``tile`` -> the same shape."""
        n, c, h, w = picture.shape
        t = self.tile
        ny, nx = self._count(h), self._count(w)
        strips = picture.index_select(2, self._pixels(h, ny, picture.device))
        grid = strips.index_select(3, self._pixels(w, nx, picture.device))
        tiles = grid.reshape(n, c, ny, t, nx, t).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, t, t)
        done = self.network(tiles)
        done = done.reshape(n, ny, nx, c, t, t).permute(0, 3, 1, 4, 2, 5)
        done = self._blend(done.reshape(n, c, ny * t, nx * t), 2, h, ny)
        return self._blend(done, 3, w, nx)

    def _count(self, length: int) -> int:
        return (length - self.tile + self.stride - 1) // self.stride + 1

    def _pixels(self, length: int, count: int, device: torch.device) -> Tensor:
        """Source index of every pixel of every tile along one axis, ``[count * tile]``."""
        starts = torch.arange(count, device=device) * self.stride
        starts = torch.clamp(starts, max=length - self.tile)  # the last one flush with the border
        return (starts[:, None] + torch.arange(self.tile, device=device)).reshape(-1)

    def _blend(self, tiles: Tensor, axis: int, length: int, count: int) -> Tensor:
        """Average along one axis: ``count * tile`` -> ``length`` pixels.

        A pixel lies in at most ceil(tile / stride) tiles of the regular grid and in the last,
        flush one; each of those is one gather, weighted 0 where it does not cover the pixel.
        """
        pixel = torch.arange(length, device=tiles.device)
        nearest = torch.div(pixel, self.stride, rounding_mode="floor")
        sources: list[Tensor] = []
        covers: list[Tensor] = []
        for back in range(ceil(self.tile / self.stride)):
            index = nearest - back
            inside = pixel - index * self.stride
            covers.append((index >= 0) & (index < count - 1) & (inside < self.tile))
            sources.append(index * self.tile + inside)
        inside = pixel - (length - self.tile)
        covers.append(inside >= 0)
        sources.append((count - 1) * self.tile + inside)
        weights = torch.stack(covers).to(tiles.dtype)
        weights = weights / weights.sum(0, keepdim=True)
        shape = (-1, 1) if axis == 2 else (-1,)
        total = torch.zeros((), dtype=tiles.dtype, device=tiles.device)
        for source, weight in zip(sources, weights.unbind(0), strict=True):
            source = torch.clamp(source, 0, count * self.tile - 1)
            total = total + tiles.index_select(axis, source) * weight.reshape(shape)
        return total


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


class Inspector(nn.Module):
    """The whole inspection.

    ``image`` uint8 ``[n, h, w]`` (grey) or ``[n, h, w, 3]`` (RGB) at working size ->
    ``anomaly_map`` float32 ``[n, h, w]`` (larger = more anomalous), ``score`` float32 ``[n]``:
    the map's maximum, so that a picture inspected in blocks has the maximum of its blocks.
    """

    def __init__(self, reconstruct: nn.Module, residual: Residual) -> None:
        super().__init__()
        self.reconstruct, self.residual = reconstruct, residual

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        picture = self.picture(image)
        anomaly_map = self.residual(picture, self.reconstruct(picture))
        return anomaly_map, anomaly_map.amax(dim=(1, 2))

    @staticmethod
    def picture(image: Tensor) -> Tensor:
        """uint8 batch -> float32 ``[n, c, h, w]`` in 0..1."""
        planes = image[:, None] if image.dim() == 3 else image.permute(0, 3, 1, 2)
        return planes.to(torch.float32) / 255
