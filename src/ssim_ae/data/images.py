"""Decoding and working size: a picture file in, a uint8 array out, and maps back again.

Policy (docs/pictures.md): EXIF orientation is applied; 16-bit values are scaled by 1/257, never
clipped; alpha is dropped, colour values kept; palettes are looked up; CMYK becomes RGB; 1-bit
becomes 0 and 255; grey is ITU-R 601 luma; the first frame of several counts. Float pictures have
no agreed range and are refused, as are files over the pixel limit and truncated ones.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from ssim_ae.errors import PictureError

PIXEL_LIMIT = 1 << 29  # 536 million: a 20,000 x 20,000 line scan passes, a zip bomb does not
AT_ONCE = 1 << 24  # pixels converted or enlarged at a time: copies of a line scan are large
CHROMA = 24  # grey levels between the channels of a coloured pixel, at least
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")  # no decoder that runs programs
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, PIXEL_LIMIT)

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]


def read_picture(file: Path, color: str) -> Pixels:
    """Decode a file to uint8 ``[h, w]`` (``color`` "grey") or ``[h, w, 3]`` ("rgb").

    Raises:
        PictureError: missing, truncated, no picture, too large, or of a mode without a meaning.
    """
    with _decoding(file):
        return to_pixels(_open(file), color, file)


def read_mask(file: Path) -> NDArray[np.bool_]:
    """Ground truth ``[h, w]``: every pixel with a non-zero value in a channel is defective.

    Raises:
        PictureError: as ``read_picture``.
    """
    with _decoding(file):
        image = ImageOps.exif_transpose(_open(file))
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")
        values = np.asarray(image)
        if image.mode in ("RGBA", "LA"):
            values = values[..., :-1]
        return np.asarray(values.any(axis=2) if values.ndim == 3 else values != 0)


def size_of(file: Path) -> tuple[int, int]:
    """(height, width) by the file's header, upright as ``read_picture`` turns it."""
    with _decoding(file), file.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # Pillow 12.1 and later turn this size, but no other's
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        lies = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (width, height) if lies else (height, width)


def _open(file: Path) -> Image.Image:
    # not by its name: Pillow would map an uncompressed TIFF into memory, a turned one wrongly
    with file.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
        if image.width * image.height > PIXEL_LIMIT:
            raise PictureError(
                f"{file}: {image.width}x{image.height} pixels are over the limit of "
                f"{PIXEL_LIMIT}: cut the picture into pieces"
            )
        image.load()
        return image


@contextlib.contextmanager
def _decoding(name: object) -> Iterator[None]:
    """Whatever goes wrong while decoding becomes one line that names the picture."""
    try:
        yield
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{name}: does not exist: check the path") from None
    except PermissionError:
        raise PictureError(f"{name}: may not be read: change its permissions") from None
    except MemoryError:
        raise PictureError(f"{name}: does not fit in memory: cut it into pieces") from None
    except UnidentifiedImageError:
        raise PictureError(
            f"{name}: cannot be decoded (no picture in {', '.join(FORMATS)}): save it again or "
            "remove it"
        ) from None
    except Exception as error:  # Pillow's decoders raise nearly every type on hostile files
        reason = str(error).replace(str(name), "").strip() or type(error).__name__
        raise PictureError(
            f"{name}: cannot be decoded ({reason.splitlines()[0]}): save it again or remove it"
        ) from None


def to_pixels(image: Image.Image, color: str, name: object) -> Pixels:
    """Convert an opened picture by the policy above.

    Raises:
        PictureError: a mode without a meaning, or truncated.
    """
    with _decoding(name):
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be a copy
            image = ImageOps.exif_transpose(image)
        width, height = image.size
        if width * height <= AT_ONCE:
            return _converted(image, color, name)
        pixels = np.empty((height, width) if color == "grey" else (height, width, 3), np.uint8)
        for top, bottom in _strips(height, width):
            part = image.crop((0, top, width, bottom))
            pixels[top:bottom] = _converted(part, color, name)
        return pixels


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row and end of each strip of a picture; one strip if it is not large."""
    rows = max(1, AT_ONCE // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _converted(image: Image.Image, color: str, name: object) -> Pixels:
    mode = "L" if color == "grey" else "RGB"
    if image.mode == "F":
        raise PictureError(f"{name}: float pixels have no agreed range: save as 8 or 16 bit")
    if image.mode.startswith("I"):  # 16 bit, or 32-bit integers that hold 16
        wide = np.asarray(image)
        if wide.dtype.itemsize > 2 and wide.size and (wide.min() < 0 or wide.max() > 65535):
            raise PictureError(f"{name}: 32-bit values beyond 0..65535: save as 8 or 16 bit")
        narrow = ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return narrow if mode == "L" else np.repeat(narrow[..., None], 3, axis=2)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "RGBX"):
        image = Image.merge("RGB", image.split()[:3])  # alpha dropped, not blended
    elif image.mode == "LA":
        image = image.split()[0]
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.array(image.convert(mode), dtype=np.uint8)


def coloured(files: Sequence[Path], most: int = 16) -> bool:
    """Whether some of the pictures, up to ``most`` evenly spaced, hold colour: channels that differ
    by more than ``CHROMA`` grey levels in a hundredth of the pixels (less is noise, or a tint)."""
    for file in files[:: -(-len(files) // most)]:
        values = read_picture(file, "rgb").astype(np.int16)
        spread = values.max(axis=2) - values.min(axis=2)
        if np.mean(spread > CHROMA) > 0.01:
            return True
    return False


@dataclass(frozen=True)
class Preparation:
    """How a decoded picture comes to working size; travels inside the detector."""

    color: str
    resize: int | None
    centre_crop: int | None

    def read(self, file: Path) -> tuple[Pixels, Geometry]:
        """Decode a file and bring it to working size."""
        return self.apply(read_picture(file, self.color), file)

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
        for top, bottom in _strips(height, width):
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
