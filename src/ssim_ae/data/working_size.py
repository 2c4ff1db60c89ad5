"""Working size: how a decoded picture comes to it, and maps, places and masks between the two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssim_ae.data.depth import WHOLE
from ssim_ae.data.images import PIXEL_LIMIT, Map, Pixels, read_picture, strips
from ssim_ae.errors import PictureError

Sizes = Mapping[Path, tuple[int, int]]  # of pictures: height, width
UNLIKE = 1.25  # times another scale: worth a word
MUCH = 2.0  # times smaller or larger: worth a word


@dataclass(frozen=True)
class Preparation:
    """How a decoded picture comes to working size; travels inside the detector."""

    color: str
    resize: int | None
    centre_crop: int | None
    depth: int = WHOLE

    def decode(self, file: Path) -> Pixels:
        """uint8 at the file's own size."""
        return read_picture(file, self.color, self.depth)

    def read(self, file: Path) -> tuple[Pixels, Geometry]:
        """Decode a file and bring it to working size."""
        return self.apply(self.decode(file), file)

    def apply(self, pixels: Pixels, name: object = "picture") -> tuple[Pixels, Geometry]:
        """uint8 picture at any size -> (uint8 at working size, where it came from).

        A picture that is at working size already comes back as it is, not as a copy.

        Raises:
            PictureError: so long and thin that it would not fit at working size.
        """
        geometry = self.geometry(pixels.shape[0], pixels.shape[1])
        if geometry.scaled[0] * geometry.scaled[1] > PIXEL_LIMIT:
            raise PictureError(
                f"{name}: {pixels.shape[1]}x{pixels.shape[0]} becomes {geometry.scaled[1]}x"
                f"{geometry.scaled[0]} at working size, over the limit of {PIXEL_LIMIT} pixels: "
                "cut it into pieces"
            )
        if geometry.scaled == geometry.original == geometry.crop[2:]:
            return pixels, geometry
        image = Image.fromarray(pixels)
        (height, width), (top, left, h, w) = geometry.scaled, geometry.crop
        if geometry.scaled != geometry.original:
            image = image.resize((width, height), _filter(geometry.original, geometry.scaled))
        if (h, w) != (height, width):
            image = image.crop((left, top, left + w, top + h))
        return np.array(image), geometry

    def geometry(self, height: int, width: int) -> Geometry:
        """Short side to ``resize`` (aspect kept), then the centre square of ``centre_crop``."""
        scaled = (height, width)
        if self.resize is not None:
            factor = self.resize / min(height, width)
            scaled = (max(1, round(height * factor)), max(1, round(width * factor)))
        crop = (0, 0, *scaled)
        if self.centre_crop is not None:
            side = self.centre_crop
            h, w = min(side, scaled[0]), min(side, scaled[1])
            crop = ((scaled[0] - h) // 2, (scaled[1] - w) // 2, h, w)
        return Geometry((height, width), scaled, crop)


@dataclass(frozen=True)
class Geometry:
    """Original size, scaled size, and the crop (top, left, height, width) taken from the scaled."""

    original: tuple[int, int]
    scaled: tuple[int, int]
    crop: tuple[int, int, int, int]

    @property
    def reduction(self) -> float:
        """How many times smaller the picture became; below 1 where it was enlarged."""
        return min(self.original) / min(self.scaled)

    def map_to_original(self, anomaly_map: Map) -> Map:
        """Working-size map -> original size (bilinear); what the crop cut off becomes 0."""
        top, left, h, w = self.crop
        if (h, w) != self.scaled:
            whole = np.zeros(self.scaled, np.float32)
            whole[top : top + h, left : left + w] = anomaly_map
            anomaly_map = whole
        if self.scaled == self.original:
            return anomaly_map
        height, width = self.original
        image = Image.fromarray(np.ascontiguousarray(anomaly_map))
        enlarged = np.empty((height, width), np.float32)
        step = self.scaled[0] / height
        for top, bottom in strips(height, width):
            box = (0, top * step, self.scaled[1], min(bottom * step, self.scaled[0]))
            part = image.resize((width, bottom - top), Image.Resampling.BILINEAR, box)
            enlarged[top:bottom] = np.asarray(part)
        return enlarged

    def to_original(self, row: int, column: int) -> tuple[int, int]:
        """The original pixel under the middle of a working-size pixel."""
        top, left = self.crop[:2]
        y = (row + top + 0.5) * self.original[0] / self.scaled[0]
        x = (column + left + 0.5) * self.original[1] / self.scaled[1]
        return min(int(y), self.original[0] - 1), min(int(x), self.original[1] - 1)

    def mask_to_working(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Ground truth at original size -> working size: pixels at least half covered.

        A region too thin for that keeps its most covered pixels, so that none vanishes (unless
        the crop cuts it off).
        """
        if mask.shape != self.original:
            raise ValueError(f"mask {mask.shape} on a picture of {self.original}")
        top, left, h, w = self.crop
        if self.scaled == self.original:
            return mask[top : top + h, left : left + w]
        from scipy import ndimage

        labels, _ = ndimage.label(mask, structure=np.ones((3, 3), int))
        whole = self._share(mask, True, (0, 0, *self.scaled)) >= 0.5
        result = whole[top : top + h, left : left + w]
        for region, place in enumerate(ndimage.find_objects(labels), 1):
            y0, y1 = _covered(place[0], self.original[0], self.scaled[0], top, h)
            x0, x1 = _covered(place[1], self.original[1], self.scaled[1], left, w)
            if y0 >= y1 or x0 >= x1:  # cut off
                continue
            share = self._share(labels, region, (y0, x0, y1, x1))
            if share.any() and not (share >= 0.5).any():
                result[y0 - top : y1 - top, x0 - left : x1 - left] |= share >= share.max()
        return np.asarray(result)

    def _share(self, labels: NDArray[Any], region: int, window: tuple[int, int, int, int]) -> Map:
        """How much of each scaled pixel of a window (top, left, bottom, right) a region covers."""
        factors = (self.original[0] / self.scaled[0], self.original[1] / self.scaled[1]) * 2
        top, left, bottom, right = (n * f for n, f in zip(window, factors, strict=True))
        y, x = int(top), int(left)
        part = labels[y : math.ceil(bottom), x : math.ceil(right)] == region
        size = (window[3] - window[1], window[2] - window[0])
        box = (
            left - x, top - y,
            min(right - x, part.shape[1]), min(bottom - y, part.shape[0]),
        )  # fmt: skip
        image = Image.fromarray(part.astype(np.float32))
        return np.array(image.resize(size, Image.Resampling.BOX, box))


def _covered(extent: slice, original: int, scaled: int, start: int, length: int) -> tuple[int, int]:
    """First scaled pixel and end of those that an extent of original ones covers, in the crop."""
    first = extent.start * scaled // original
    end = -(-extent.stop * scaled // original)
    return max(first, start), min(end, start + length)


def _filter(old: tuple[int, int], new: tuple[int, int]) -> Image.Resampling:
    return Image.Resampling.BOX if new[0] <= old[0] else Image.Resampling.BICUBIC


def of_many_sizes(sizes: Sizes, resize: int | None) -> str | None:
    """A line where bringing pictures to one size shows the same thing at several scales."""
    if resize is None:
        return None
    least, most = (f(sizes, key=lambda file: min(sizes[file])) for f in (min, max))
    ratio = min(sizes[most]) / min(sizes[least])
    if ratio <= UNLIKE:
        return None
    (h, w), (height, width) = sizes[least], sizes[most]
    return (
        f"pictures are of {w}x{h} ({least.name}) to {width}x{height} ({most.name}): brought to a "
        f"short side of {resize}, the same thing is up to {ratio:.1f} times as large in one as in "
        "another, unless they show as much; then train on pictures of one size, or with "
        "--set resize=none"
    )


def much_rescaled(sizes: Sizes, resize: int | None, tile: int) -> str | None:
    """A line where the working size loses much of the largest picture, or blows it up although
    ``tile``, the least that it could be, would not; else None."""
    if resize is None:
        return None
    height, width = max(sizes.values(), key=min)
    factor, least = min(height, width) / resize, max(tile, min(height, width))
    if factor < 1 / MUCH and least < resize:
        return (
            f"pictures of {width}x{height} are enlarged {1 / factor:.1f} times (resize={resize}), "
            f"which takes time and shows nothing new: --set resize={least} is enough"
        )
    if factor <= MUCH:
        return None
    return (
        f"pictures of {width}x{height} are reduced {factor:.1f} times (resize={resize}): what is "
        f"narrower than about {math.ceil(factor)} pixels may be lost; --set resize={2 * resize} "
        "or more, or none, keeps more of it and takes longer"
    )
