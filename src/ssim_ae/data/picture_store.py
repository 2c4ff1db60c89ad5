"""Training pictures at working size, which may differ: to draw patches from, or one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssim_ae.config import Stretch
from ssim_ae.data.images import DECODE_THREADS, LARGE, Pixels, size_of
from ssim_ae.data.working_size import Preparation
from ssim_ae.errors import InputError, PictureError


class Pictures(NamedTuple):
    """``n`` pictures in one row of pixels.

    ``pixels`` uint8 ``[all]`` (grey) or ``[all, 3]``; ``start``, ``height``, ``width`` int64
    ``[n]``: where a picture's pixels begin, and its size.
    """

    pixels: Tensor
    start: Tensor
    height: Tensor
    width: Tensor

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Pixels of all ``n``: rows and columns ``[n, h, w]`` -> uint8 ``[n, h, w(, 3)]``."""
        across = (-1, 1, 1)
        return self.pixels[self.start.view(across) + rows * self.width.view(across) + columns]

    def chosen(self, which: Tensor) -> Pictures:
        """Some of them, or one several times; the pixels are shared."""
        return Pictures(self.pixels, self.start[which], self.height[which], self.width[which])


class PictureStore:
    """Pictures in memory as uint8 when they fit, else decoded anew.

    Args:
        files: picture files; their working sizes may differ.
        preparation: how they come to working size.
        tile: patches of this side will be cut, so pictures must be at least as large.
        memory: bytes that the pictures may take.

    Raises:
        InputError: an unreadable or too small picture, named.
    """

    stretch: Stretch | None = None  # of the contrast; what takes patches gets them stretched

    def __init__(
        self, files: Sequence[Path], preparation: Preparation, tile: int, memory: int
    ) -> None:
        self.files, self.preparation = list(files), preparation
        sizes = [self._size(file) for file in self.files]
        for file, (height, width) in zip(self.files, sizes, strict=True):
            if min(height, width) < tile:
                raise InputError(
                    f"{file}: {width}x{height} at working size is smaller than a {tile}x{tile} "
                    "patch: raise resize, or use larger pictures"
                )
        self.shortest = min(min(size) for size in sizes)  # side of any picture, pixels
        self.sizes = torch.tensor(sizes)  # int64 [n, 2]: height, width
        self.channels = (3,) if preparation.color == "rgb" else ()
        self.bytes = int(self.sizes.prod(1).sum()) * math.prod(self.channels)
        self.in_memory = self.bytes <= memory
        self._kept = self._decoded(torch.arange(len(sizes))) if self.in_memory else None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Tensor) -> Pictures:
        """The pictures of these numbers, int64 ``[n]``, in their order."""
        if self._kept is not None:
            return self._kept.chosen(indices)
        distinct, which = torch.unique(indices, return_inverse=True)
        return self._decoded(distinct).chosen(which)

    def portions(self, indices: Tensor) -> Iterator[Tensor]:
        """Positions in ``indices`` in portions to take at once: all, or a few pictures' each."""
        if self._kept is not None:
            yield torch.arange(len(indices))
            return
        distinct, which = torch.unique(indices, return_inverse=True)
        few = DECODE_THREADS if int(self.sizes.prod(1).max()) <= LARGE else 1
        for some in torch.split(torch.arange(len(distinct)), few):
            yield torch.isin(which, some).nonzero()[:, 0]

    def picture(self, index: int) -> Tensor:
        """One picture, uint8 ``[1, h, w]`` (grey) or ``[1, h, w, 3]``; not to be written to."""
        pixels, start, height, width = self.take(torch.tensor([index]))
        one = pixels[int(start) :][: int(height * width)]
        return one.view(1, int(height), int(width), *pixels.shape[1:])

    def _size(self, file: Path) -> tuple[int, int]:
        try:
            return self.preparation.geometry(*size_of(file)).crop[2:]
        except PictureError as error:
            raise InputError(str(error)) from None

    def _decoded(self, indices: Tensor) -> Pictures:
        sizes = self.sizes[indices]
        area = sizes.prod(1)
        ends = area.cumsum(0)
        pixels = np.empty((int(area.sum()), *self.channels), np.uint8)
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            pictures = pool.map(self._decode, (self.files[i] for i in indices.tolist()))
            for start, end, picture in zip(ends - area, ends, pictures, strict=True):
                pixels[start:end] = picture.reshape(-1, *self.channels)
        return Pictures(torch.from_numpy(pixels), ends - area, sizes[:, 0], sizes[:, 1])

    def _decode(self, file: Path) -> Pixels:
        try:
            return self.preparation.read(file)[0]
        except PictureError as error:
            raise InputError(str(error)) from None
