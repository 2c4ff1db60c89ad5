"""Training patches: cut, rotated and flipped on the fly, a whole batch at a time.

Every batch depends on (seed, step, rank) alone, so a resumed training sees the very patches an
uninterrupted one would have seen, and no random state needs saving.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssim_ae.config import AugmentSettings, Stretch
from ssim_ae.data.contrast import stretched
from ssim_ae.data.images import Pixels, Preparation, size_of
from ssim_ae.errors import InputError, PictureError

DECODE_THREADS = 4


class PictureStore:
    """Training pictures at working size: in memory as uint8 when they fit, else decoded anew.

    Args:
        files: picture files, all of one working size.
        preparation: how they come to working size.
        tile: patches of this side will be cut, so pictures must be at least as large.
        memory: bytes that the pictures may take.

    Raises:
        InputError: unreadable, mixed or too small pictures, each named.
    """

    stretch: Stretch | None = None  # of the contrast; what takes patches gets them stretched

    def __init__(
        self, files: Sequence[Path], preparation: Preparation, tile: int, memory: int
    ) -> None:
        self.files, self.preparation = list(files), preparation
        first = self._decode(self.files[0])
        self.shape = first.shape
        if min(first.shape[:2]) < tile:
            raise InputError(
                f"{self.files[0]}: {first.shape[1]}x{first.shape[0]} at working size is smaller "
                f"than a {tile}x{tile} patch: raise resize, or use larger pictures"
            )
        self.bytes = first.nbytes * len(self.files)
        self.in_memory = self.bytes <= memory
        if not self.in_memory:  # bad files are to be found now, not in the middle of a training
            for file in self.files:
                self._check(file, preparation.geometry(*self._header(file)).crop[2:])
        self._pixels = torch.empty((len(self.files), *first.shape), dtype=torch.uint8)[:0]
        if self.in_memory:
            pixels = np.empty((len(self.files), *first.shape), np.uint8)
            with ThreadPoolExecutor(DECODE_THREADS) as pool:
                for i, picture in enumerate(pool.map(self._read, self.files)):
                    pixels[i] = picture
            self._pixels = torch.from_numpy(pixels)

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(uint8 pictures ``[m, h, w(, 3)]``, where each index lies among them)."""
        if self.in_memory:
            return self._pixels, indices
        distinct, where = torch.unique(indices, return_inverse=True)
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            pictures = list(pool.map(self._read, (self.files[i] for i in distinct.tolist())))
        return torch.from_numpy(np.stack(pictures)), where

    def _decode(self, file: Path) -> Pixels:
        try:
            return self.preparation.read(file)[0]
        except PictureError as error:
            raise InputError(str(error)) from None

    def _read(self, file: Path) -> Pixels:
        picture = self._decode(file)
        self._check(file, picture.shape[:2])
        return picture

    def _check(self, file: Path, size: tuple[int, ...]) -> None:
        if size != self.shape[:2]:
            raise InputError(
                f"{file}: {size[1]}x{size[0]} at working size, but {self.files[0]} is "
                f"{self.shape[1]}x{self.shape[0]}: use pictures of one size, or cut them to one"
            )

    def _header(self, file: Path) -> tuple[int, int]:
        try:
            return size_of(file)
        except PictureError as error:
            raise InputError(str(error)) from None


def batch_seed(*numbers: int) -> int:
    """One well-mixed seed for a (seed, step, rank) and, where there are several, a stream."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def draw_patches(
    store: PictureStore, count: int, tile: int, augment: AugmentSettings, seed: int
) -> Tensor:
    """``count`` random patches, float32 ``[count, c, tile, tile]`` in 0..1, as the store stretches.

    Each is a random crop of a random picture; turned by an angle within +-``rotate_angle``
    (bilinear; a corner that leaves the picture is mirrored back into it) and flipped, each with
    its probability.
    """
    rng = torch.Generator().manual_seed(seed)
    height, width = store.shape[:2]
    pictures, where = store.take(torch.randint(len(store), (count,), generator=rng))
    top = torch.randint(height - tile + 1, (count,), generator=rng)
    left = torch.randint(width - tile + 1, (count,), generator=rng)
    chance = torch.rand(4, count, generator=rng)
    turned = chance[0] < augment.p_rotate
    angle = (chance[3] * 2 - 1) * math.radians(augment.rotate_angle)

    along = torch.arange(tile)
    rows = (top[:, None] + along)[:, :, None]
    columns = (left[:, None] + along)[:, None, :]
    patches = pictures[where[:, None, None], rows, columns].to(torch.float32)
    if bool(turned.any()):
        patches[turned] = _rotated(
            pictures, where[turned], top[turned], left[turned], angle[turned], tile
        )
    mirrored = chance[1] < augment.p_horizontal_flip
    patches[mirrored] = patches[mirrored].flip(2)
    upended = chance[2] < augment.p_vertical_flip
    patches[upended] = patches[upended].flip(1)
    patches = patches / 255
    patches = patches[:, None] if patches.dim() == 3 else patches.permute(0, 3, 1, 2)
    return stretched(patches, store.stretch)


def _rotated(
    pictures: Tensor, where: Tensor, top: Tensor, left: Tensor, angle: Tensor, tile: int
) -> Tensor:
    """Bilinear crops, each turned by its angle (radians) about its own centre."""
    height, width = pictures.shape[1:3]
    centred = torch.arange(tile) - (tile - 1) / 2
    dy, dx = centred[None, :, None], centred[None, None, :]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    y = _mirror(top[:, None, None] + (tile - 1) / 2 + cos * dy + sin * dx, height)
    x = _mirror(left[:, None, None] + (tile - 1) / 2 - sin * dy + cos * dx, width)
    y0, x0 = y.floor().long(), x.floor().long()
    y1, x1 = (y0 + 1).clamp(max=height - 1), (x0 + 1).clamp(max=width - 1)
    fy, fx = y - y0, x - x0
    if pictures.dim() == 4:
        fy, fx = fy[..., None], fx[..., None]
    n = where[:, None, None]

    def pixel(rows: Tensor, columns: Tensor) -> Tensor:
        return pictures[n, rows, columns].to(torch.float32)

    upper = pixel(y0, x0) * (1 - fx) + pixel(y0, x1) * fx
    lower = pixel(y1, x0) * (1 - fx) + pixel(y1, x1) * fx
    return upper * (1 - fy) + lower * fy


def _mirror(position: Tensor, length: int) -> Tensor:
    """Reflect coordinates into 0..length-1."""
    period = max(1, 2 * (length - 1))
    folded = position.remainder(period)
    return torch.minimum(folded, period - folded)
