"""How rare a grey level or colour is among good pictures: a density that is counted, not trained.

A network learns what it was shown; a colour that no good picture holds, such as rust on blue paint,
may leave it undecided. Counting finds it at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.model.filters import blur_framed, cropped, enlarged, gaussian_taps, mirrored

LEVELS = {1: 64, 3: 24}  # bins along each channel, by the number of channels
SIGMA = 1.5  # pixels over which colours are averaged before they are looked up
SPREAD = 0.7  # bins by which counts are blurred: neighbours of a common colour are not rare
RAREST = 1e-7  # density below which rarer makes no difference


class ColorRarity(nn.Module):
    """-log density of the local colour; counted with ``counted``, then ``settle``.

    Picture ``[n, c, h, w]`` in 0..1 -> ``[n, h, w]``, in nats, larger = rarer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.levels = channels, LEVELS[channels]
        self.rarity: Tensor
        self.taps: Tensor
        self.corners: Tensor
        self.register_buffer("rarity", torch.zeros(self.levels**channels))
        self.register_buffer("taps", gaussian_taps(SIGMA / 2), persistent=False)
        # where the corners of a cell lie in the table, the last channel's upper ones last
        steps = torch.zeros(1, dtype=torch.int64)
        for channel in range(channels):
            steps = torch.cat([steps, steps + self.levels ** (channels - 1 - channel)])
        self.register_buffer("corners", steps[:, None, None], persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        h, w = picture.shape[2:]
        position = self._positions(picture)
        low = position.floor().clamp(0, self.levels - 2)
        part = (position - low).clamp(0, 1)
        # linear between bins: all corners of a colour's cell at once, they lie at fixed distances
        weight = torch.cat([1 - part[:, :1], part[:, :1]], 1)
        for channel in range(1, self.channels):
            up = part[:, channel : channel + 1]
            weight = torch.cat([weight * (1 - up), weight * up], 1)
        first = self._index([low[:, i : i + 1] for i in range(self.channels)])
        corners = first.to(torch.int64) + self.corners
        found = self.rarity.index_select(0, corners.reshape(-1)).reshape(corners.shape)
        total = (weight * found).sum(1, keepdim=True)
        return cropped(enlarged(total, 2)[:, 0], h, w)

    def _positions(self, picture: Tensor) -> Tensor:
        """Local colours at half size, in units of bins from the first bin's centre."""
        half = F.avg_pool2d(mirrored(picture, 2), 2)
        return blur_framed(half, self.taps) * self.levels - 0.5

    def counted(self, picture: Tensor) -> Tensor:
        """How many of the local colours fall into each bin, float64 ``[levels ** channels]``."""
        bins = (self._positions(picture) + 0.5).floor().clamp(0, self.levels - 1).to(torch.int64)
        index = self._index(list(bins.unbind(1)))
        return torch.bincount(index.reshape(-1), minlength=self.rarity.numel()).double()

    def _index(self, bins: list[Tensor]) -> Tensor:
        """Place in the table of the bins along each channel."""
        index = bins[0]
        for along in bins[1:]:
            index = index * self.levels + along
        return index

    def settle(self, counts: Tensor) -> None:
        """Take over the counts of all good pictures."""
        from scipy import ndimage

        grid = counts.reshape((self.levels,) * self.channels).numpy()
        density = torch.from_numpy(ndimage.gaussian_filter(grid / grid.sum(), SPREAD)).reshape(-1)
        self.rarity.copy_(-torch.log(density + RAREST))
