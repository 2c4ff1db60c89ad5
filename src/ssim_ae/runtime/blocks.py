"""Pictures of any size in bounded memory: blocks through the same graph, equal at the seams.

A block starts on the tile grid, so its tiles are the picture's own. Near a cut, some tiles that
cover a pixel lie outside the block; those pixels are left to the neighbour. What is kept is what
one pass over the whole picture would have given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ssim_ae.config import Settings
from ssim_ae.data.images import Map, Pixels
from ssim_ae.picture_score import picture_score
from ssim_ae.runtime.engines import Engine

# What ONNX Runtime takes for a block, by kind of network: bytes for each pixel that the network
# sees and channel of its first layer (each tile's own pixels, or the block's once), and for each
# pixel and channel of the block (the residual). Upper bounds, of its peaks at 640 to 1440 squared
# with tiled and with blended features, and of the joint network's at 1100 to 1800 squared, grey and
# RGB, 16 and 32 wide.
BYTES = {"reference": (1.4, 461), "joint": (22, 50)}
REMEMBERED = 125  # bytes for each pixel: likeness to the memory's 2,000 centres, at 1/8 of the side
# Bytes: of a block at least and at most, and of a block, its picture and the map together, so that
# all of it stays within 4 GiB for a colour picture of 20,000x20,000. Blocks of twice the memory see
# each pixel half as often, as they overlap by what a pixel's value looks around; beyond, they gain
# less.
LEAST, MOST, ALL = 3 << 28, 6 << 28, 13 << 28


@dataclass(frozen=True)
class Tiling:
    """How a detector's pictures are tiled, and how they are cut when they are large.

    ``reach``: how far beyond its tiles a pixel's value looks, pixels. ``memory``: bytes that a
    block may take; by default according to the picture.
    """

    settings: Settings
    reach: int
    memory: int | None = None

    @property
    def tile(self) -> int:
        return self.settings.grid[0]

    @property
    def stride(self) -> int:
        return self.settings.grid[1]

    def room(self, height: int, width: int) -> int:
        """Bytes that a block of a picture of this size may take."""
        if self.memory is not None:
            return self.memory
        held = height * width * (self.settings.channels + np.dtype(np.float32).itemsize)
        return min(MOST, max(LEAST, ALL - held))

    def taken(self, down: int, across: int) -> int:
        """Bytes that an engine takes for a block of so many tiles, an upper bound."""
        s = self.settings
        area = ((down - 1) * self.stride + self.tile) * ((across - 1) * self.stride + self.tile)
        once = s.network == "joint" or s.blend == "features"
        seen = area if once else down * across * self.tile**2
        network, residual = BYTES[s.network]
        taken = network * s.first_layer_channels * seen + residual * s.channels * area
        taken += REMEMBERED * area if s.residual.has("memory") else 0
        return int(taken)

    def block(self, height: int, width: int) -> tuple[int, int]:
        """Tiles (down, across) of the blocks of a picture: as square as it allows."""
        down, across, room = self.count(height), self.count(width), self.room(height, width)
        side = self.fewest()
        while self.taken(side + 1, side + 1) <= room:
            side += 1
        # what one axis does not need, the other one may take
        while across > side and self.taken(min(down, side), across) > room:
            across -= 1
        while down > side and self.taken(down, across) > room:
            down -= 1
        return down, across

    def count(self, length: int) -> int:
        """Tiles along one axis."""
        return -(-(length - self.tile) // self.stride) + 1

    def cuts(self, length: int, tiles: int) -> Iterator[tuple[slice, slice]]:
        """(extent of a block, the part of it that equals one pass), covering ``length`` once."""
        size = (tiles - 1) * self.stride + self.tile
        margin = self.tile - self.stride
        start = done = 0
        while True:
            stop = min(start + size, length)
            last = stop == length
            end = length if last else min(stop - margin, length - self.tile) - self.reach
            yield slice(start, stop), slice(done, end)
            if last:
                return
            done = end
            # the furthest grid position whose complete part begins at or before `done`
            start = (done - margin - self.reach) // self.stride * self.stride

    def fewest(self) -> int:
        """Tiles along one axis of a block, at least: so that every block keeps something."""
        # a block must reach from one block's kept part past the next flush tile, see `cuts`
        return -(-(self.tile + 2 * self.reach) // self.stride) + 1


def run_in_blocks(engine: Engine, picture: Pixels, tiling: Tiling) -> tuple[Map, float]:
    """Anomaly map ``[h, w]`` and score of one uint8 picture ``[h, w(, 3)]`` of any size.

    The score is made of the whole map's maximum and mean.
    """
    height, width = picture.shape[:2]
    down, across = tiling.block(height, width)
    if (down, across) == (tiling.count(height), tiling.count(width)):
        maps, scores = engine.run(picture[None])
        return maps[0], float(scores[0])
    whole = np.empty((height, width), np.float32)
    for rows, keep_rows in tiling.cuts(height, down):
        for columns, keep_columns in tiling.cuts(width, across):
            maps, _ = engine.run(np.ascontiguousarray(picture[None, rows, columns]))
            whole[keep_rows, keep_columns] = maps[
                0,
                keep_rows.start - rows.start : keep_rows.stop - rows.start,
                keep_columns.start - columns.start : keep_columns.stop - columns.start,
            ]
    highest, mean = np.float64(whole.max()), whole.mean(dtype=np.float64)
    score = picture_score(highest, mean, tiling.settings.residual)
    return whole, float(np.float32(score))  # as the graph gives it
