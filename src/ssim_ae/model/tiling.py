"""From a network of tiles to the reconstruction of a whole picture: overlap and average.

Either reconstructed tiles are averaged pixel by pixel (the paper's way, exact), or the tiles'
latent vectors are spread and averaged in the decoder's first feature map, so that encoder and
decoder run once over the picture however much the tiles overlap. Both are index arithmetic on the
picture's own shape, which stays symbolic.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.model.filters import cropped
from ssim_ae.model.network import BOTTLENECK, Autoencoder


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
        # all at once: an operation for each tile would make the export slower
        back = torch.arange(ceil(self.tile / self.stride), device=tiles.device)
        index = nearest - back[:, None]
        inside = pixel - index * self.stride
        covers = (index >= 0) & (index < count - 1) & (inside < self.tile)
        flush = pixel - (length - self.tile)
        sources = torch.cat([index * self.tile + inside, ((count - 1) * self.tile + flush)[None]])
        sources = torch.clamp(sources, 0, count * self.tile - 1)
        weights = torch.cat([covers, (flush >= 0)[None]]).to(tiles.dtype)
        weights = weights / weights.sum(0, keepdim=True)
        shape = (-1, 1) if axis == 2 else (-1,)
        total = torch.zeros((), dtype=tiles.dtype, device=tiles.device)
        for source, weight in zip(sources.unbind(0), weights.unbind(0), strict=True):
            total = total + tiles.index_select(axis, source) * weight.reshape(shape)
        return total


class BlendedFeatures(nn.Module):
    """Reconstruct the whole picture in one pass, overlapping tiles averaged as features.

    Each tile keeps its own latent vector. Its 8x8 map of features, the decoder's first, is averaged
    with its neighbours' before the decoder goes on. A network that is linear up to there, and looks
    at its tile alone, would give what ``TiledReconstruction`` gives; the real one differs near the
    tiles' borders, where it now sees the neighbourhood instead of padding.

    Args:
        network: the autoencoder.
        stride: step between tiles in pixels, a multiple of ``cell``.
    """

    def __init__(self, network: Autoencoder, stride: int) -> None:
        super().__init__()
        self.tile, self.stride = network.tile, stride
        self.cell = network.tile // BOTTLENECK  # pixels to one feature at the bottleneck
        if stride % self.cell or not self.cell <= stride <= network.tile:
            raise ValueError(
                f"stride is {stride}, but features are {self.cell} pixels apart: use a multiple"
            )
        *down, to_latent = network.encoder
        from_latent, *up = network.decoder
        assert isinstance(to_latent, nn.Conv2d)
        assert isinstance(from_latent, nn.ConvTranspose2d)
        self.down, self.to_latent = nn.Sequential(*down), to_latent
        self.from_latent, self.up = from_latent, nn.Sequential(*up)
        self.ones: Tensor
        self.register_buffer("ones", torch.ones(1, 1, BOTTLENECK, BOTTLENECK))

    def forward(self, picture: Tensor) -> Tensor:
        """``[n, c, h, w]`` in 0..1, h and w at least a tile -> the same shape."""
        h, w = picture.shape[2:]
        assert self.from_latent.bias is not None
        step = self.stride // self.cell
        whole = picture.index_select(2, self._mirrored(h, picture.device))
        whole = whole.index_select(3, self._mirrored(w, picture.device))
        latents = F.conv2d(
            self.down(whole), self.to_latent.weight, self.to_latent.bias, stride=step
        )
        total = F.conv_transpose2d(latents, self.from_latent.weight, stride=step)
        tiles = F.conv_transpose2d(torch.ones_like(latents[:1, :1]), self.ones, stride=step)
        out: Tensor = self.up(total / tiles + self.from_latent.bias.view(1, -1, 1, 1))
        return cropped(out, h, w)

    def _mirrored(self, length: int, device: torch.device) -> Tensor:
        """Source index of each pixel, up to where the last tile of the grid ends."""
        full = (length - self.tile + self.stride - 1) // self.stride * self.stride + self.tile
        index = torch.arange(full, device=device)
        return torch.minimum(index, 2 * (length - 1) - index)

    @property
    def reach(self) -> int:
        """How far beyond its tiles a pixel's value looks, pixels; an upper bound."""
        total, cell = 0, 1
        for layer in self.down:
            if isinstance(layer, nn.Conv2d):
                total += layer.kernel_size[0] // 2 * cell
                cell *= layer.stride[0]
        # what a tile's encoder sees beyond it changes the whole tile: strides, not pixels
        total = -(-total // self.stride) * self.stride
        for layer in self.up:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                total += cell
                cell //= layer.stride[0]
        return total
