"""Decoding: a picture file in, a uint8 array out.

Policy (docs/pictures.md): EXIF orientation is applied; 16-bit values are scaled, never clipped, by
1/257 unless fewer bits are said to count; alpha is dropped, colour values kept; palettes are looked
up; CMYK becomes RGB; 1-bit becomes 0 and 255; grey is ITU-R 601 luma; the first frame of several
counts. Float pictures have no agreed range and are refused, as are files over the pixel limit and
truncated ones.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import (
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    TiffImageFile,
)

from ssim_ae.data.depth import (
    WHOLE,
    BeyondDepth,
    counted,
    is_wide_colour,
    little_left,
    narrowed,
    says_its_range,
    within,
)
from ssim_ae.data.png_chunks import speaks_after_pixels
from ssim_ae.errors import InputError, PictureError

PIXEL_LIMIT = 1 << 29  # 536 million: a 20,000 x 20,000 line scan passes, a zip bomb does not
LARGE = 1 << 26  # pixels: beyond, pictures are decoded one after the other, and none ahead
AT_ONCE = 1 << 24  # pixels converted or enlarged at a time: copies of a line scan are large
NAMED = 3  # files in one line of error
DECODE_THREADS = 4
WHITE_IS_ZERO = 0  # TIFF 6.0: 0 is white, the largest value black
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")  # no decoder that runs programs
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, PIXEL_LIMIT)

_ONE_LARGE = threading.Lock()

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]


def read_picture(file: Path, color: str, depth: int = WHOLE) -> Pixels:
    """Decode a file to uint8 ``[h, w]`` (``color`` "grey") or ``[h, w, 3]`` ("rgb").

    Args:
        depth: how many bits of 16-bit files count, where these do not say so themselves.

    Raises:
        PictureError: missing, truncated, no picture, too large, of a mode without a meaning, or
            with values beyond ``depth``.
    """
    with _decoding(file), _ONE_LARGE if is_large(file) else contextlib.nullcontext():
        with _header(file) as image:
            bits = counted(image, depth, file)
            image.load()
        return to_pixels(image, color, file, bits)


def is_large(file: Path) -> bool:
    """By its header, whether more than one such picture should not be decoded at a time."""
    try:
        with _decoding(file), _header(file) as image:
            return image.width * image.height > LARGE
    except PictureError:  # told where it is decoded
        return False


def read_mask(file: Path) -> NDArray[np.bool_]:
    """Ground truth ``[h, w]``: every pixel with a non-zero value in a channel is defective.

    In a JPEG or WebP, whose zeros are not kept, what is above 127; where all pixels have one colour
    but not one transparency, what is not transparent.

    Raises:
        PictureError: as ``read_picture``.
    """
    with _decoding(file):
        opened = _open(file)
        lossy, image = opened.format in ("JPEG", "WEBP"), _upright(opened, WHOLE, file)
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):  # where black is not all zeros
            image = image.convert("RGB")
        values = np.asarray(image)
        if image.mode in ("RGBA", "LA"):
            values, opaque = values[..., :-1], values[..., -1:]
            if (values == values[:1, :1]).all() and opaque.min() < opaque.max():
                values = opaque
        if lossy:
            values = values > 127
        return np.asarray(values.any(axis=2) if values.ndim == 3 else values != 0)


def size_of(file: Path) -> tuple[int, int]:
    """(height, width) by the file's header, upright as ``read_picture`` turns it."""
    with _decoding(file), _header(file) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # Pillow 12.1 and later turn this size, but no other's
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        exif = image.getexif
        if isinstance(image, PngImageFile) and not speaks_after_pixels(file):
            exif = partial(Image.Image.getexif, image)  # a PNG's own would decode it first
        lies = exif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (width, height) if lies else (height, width)


@contextlib.contextmanager
def _header(file: Path) -> Iterator[Image.Image]:
    """A picture that is not decoded yet, and may be by its size."""
    # not by its name: Pillow would map an uncompressed TIFF into memory, a turned one wrongly
    with file.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
        if image.width * image.height > PIXEL_LIMIT:
            raise PictureError(
                f"{file}: {image.width}x{image.height} pixels are over the limit of "
                f"{PIXEL_LIMIT}: cut the picture into pieces"
            )
        yield image


def _open(file: Path) -> Image.Image:
    with _header(file) as image:
        image.load()
        return image


def _upright(image: Image.Image, depth: int, name: object) -> Image.Image:
    """Turned by its EXIF orientation; 12 bits brought to 16, and negative ones inverted, in TIFF,
    where Pillow cares for 8 bits alone."""
    turned = image
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be a copy
        turned = ImageOps.exif_transpose(image)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if isinstance(image, TiffImageFile) and says_its_range(image):
        twelve = np.asarray(turned)
        turned = Image.fromarray((twelve << 4) | (twelve >> 8))
    if image.mode == "I;16" and tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        values = np.asarray(turned)
        return Image.fromarray(np.uint16(within(values, depth, name)) - values)
    return turned


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


def to_pixels(image: Image.Image, color: str, name: object, depth: int = WHOLE) -> Pixels:
    """Convert an opened picture by the policy above.

    Raises:
        PictureError: a mode without a meaning, values beyond ``depth`` bits, or truncated.
    """
    with _decoding(name):
        depth = counted(image, depth, name)
        image = _upright(image, depth, name)
        width, height = image.size
        if width * height <= AT_ONCE:
            return _converted(image, color, name, depth)
        pixels = np.empty((height, width) if color == "grey" else (height, width, 3), np.uint8)
        for top, bottom in strips(height, width):
            part = image.crop((0, top, width, bottom))
            pixels[top:bottom] = _converted(part, color, name, depth)
        return pixels


def strips(height: int, width: int, pixels: int | None = None) -> Iterator[tuple[int, int]]:
    """First row and end of each strip of a picture, of so many pixels (``AT_ONCE`` by default)."""
    rows = max(1, (pixels or AT_ONCE) // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _converted(image: Image.Image, color: str, name: object, depth: int) -> Pixels:
    mode = "L" if color == "grey" else "RGB"
    if image.mode == "F":
        raise PictureError(f"{name}: float pixels have no agreed range: save as 8 or 16 bit")
    if image.mode.startswith("I"):  # 16 bit, or 32-bit integers that hold 16
        wide = np.asarray(image)
        if wide.dtype.itemsize > 2 and wide.size and (wide.min() < 0 or wide.max() > 65535):
            wrong = PictureError if depth == WHOLE else BeyondDepth
            raise wrong(f"{name}: 32-bit values beyond 0..65535: save as 8 or 16 bit")
        narrow = narrowed(wide, depth, name)
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


def readable(files: Sequence[Path], depth: int = WHOLE) -> tuple[list[Path], list[str]]:
    """Those that decode and show something, and one line for each other; all are decoded once.

    Raises:
        InputError: none does, or one holds more than ``depth`` bits: of those that do not, only
            the dark ones would be left.
    """

    def problem(file: Path) -> str | None:
        try:
            pixels = read_picture(file, "grey", depth)
        except BeyondDepth as error:
            raise InputError(str(error)) from None
        except PictureError as error:
            return str(error)
        if pixels.min() == pixels.max():
            return f"{file}: shows nothing but one grey level: remove it"
        return None

    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        problems = list(pool.map(problem, files))
    kept = [f for f, wrong in zip(files, problems, strict=True) if wrong is None]
    lines = [wrong for wrong in problems if wrong is not None]
    if not kept:
        hint = lost_depth(files) if depth == WHOLE else None
        raise InputError(hint or named(lines, len(files)))
    return kept, lines


def lost_depth(files: Sequence[Path]) -> str | None:
    """A line where 16-bit files hold what a camera of 14 bits or less gives: little is left.

    Files that cannot be decoded, and such as say which bits count, are passed over.
    """

    def held(file: Path) -> tuple[int, Path, bool] | None:
        lock = _ONE_LARGE if is_large(file) else contextlib.nullcontext()
        with contextlib.suppress(PictureError), _decoding(file), lock, _header(file) as image:
            colour = is_wide_colour(image)
            if (colour or image.mode.startswith("I")) and not says_its_range(image):
                values = np.asarray(image)
                largest = int((values[..., :3] if colour else values).max())  # of colour, high byte
                return largest * 255 if colour else largest, file, colour
        return None

    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        found = [one for one in pool.map(held, files) if one is not None]
    if not found:
        return None
    largest, where, colour = max(found)
    return little_left(largest, colour, where)


def named(errors: Sequence[str], pictures: int) -> str:
    """One line about pictures that cannot be read, the first few by name."""
    more = f"; and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
    lines = "; ".join(errors[:NAMED])
    return f"{len(errors)} of {pictures} pictures cannot be used: {lines}{more}"
