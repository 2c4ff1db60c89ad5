"""How many of the bits of 16-bit files count.

Cameras give 10, 12 or 14 bits, and most programs save them as they are in files of 16, which do not
say so: white is then 4095, not 65535.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from ssim_ae.errors import PictureError

WHOLE = 16  # all of them
CAMERAS = (8, 10, 12, 14)


class BeyondDepth(PictureError):
    """A picture holds more than the bits that were said to count."""


def counted(image: Image.Image, depth: int, name: object) -> int:
    """The bits that count in a picture that is not decoded yet: ``depth``, unless it says itself.

    Raises:
        PictureError: colour of 16 bits, of which Pillow keeps the high byte.
    """
    if says_its_range(image):
        return WHOLE
    if depth < WHOLE and is_wide_colour(image):
        raise PictureError(
            f"{name}: of 16-bit colour only the high byte is read, so depth={depth} cannot be "
            "applied: save it as 8 bits"
        )
    return depth


def says_its_range(image: Image.Image) -> bool:
    """TIFF by its tags, PGM by its largest value; brought to 16 bits where they are decoded."""
    if isinstance(image, TiffImageFile):
        return image.mode == "I;16" and image.tag_v2.get(BITSPERSAMPLE) == (12,)
    codec, (_, largest) = _coding(image)
    return codec.startswith("ppm") and largest not in (None, 65535)


def is_wide_colour(image: Image.Image) -> bool:
    """16 bits a channel, of several channels: not so once it is decoded."""
    if image.mode.startswith("I") or image.format not in ("PNG", "TIFF", "PPM"):
        return False
    if isinstance(image, TiffImageFile):
        return bool(max(image.tag_v2.get(BITSPERSAMPLE, (1,))) > 8)
    _, (layout, largest) = _coding(image)
    return ";16" in layout or largest == 65535


def _coding(image: Image.Image) -> tuple[str, tuple[str, int | None]]:
    """How a picture's file is coded: Pillow's name of the decoder, the layout of a pixel, and of
    a PGM or PPM its largest value."""
    tile = (getattr(image, "tile", None) or [("", None, 0, "")])[0]
    codec, arguments = tile[0], tile[3]
    parts = arguments if isinstance(arguments, tuple) else (arguments,)
    layout = parts[0] if parts and isinstance(parts[0], str) else ""
    return codec, (layout, parts[1] if codec.startswith("ppm") and len(parts) > 1 else None)


def within(values: NDArray[np.generic], depth: int, name: object) -> int:
    """What is white at ``depth`` bits, once no value lies beyond.

    Raises:
        BeyondDepth: one does.
    """
    largest = int(values.max(initial=0))
    if largest >= 1 << depth:
        bits = largest.bit_length()
        raise BeyondDepth(
            f"{name}: holds {largest}, which takes {bits} bits, but depth is {depth}: take "
            f"pictures of the camera that it was set for, or train with depth={bits}"
        )
    return (1 << depth) - 1


def narrowed(values: NDArray[np.generic], depth: int, name: object) -> NDArray[np.uint8]:
    """16-bit values to uint8, 0 to 0 and white to 255, rounded.

    Raises:
        BeyondDepth: a value takes more than ``depth`` bits.
    """
    white = within(values, depth, name)
    return ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def little_left(largest: int, colour: bool, name: object) -> str | None:
    """A line on 16-bit pictures of which none holds more than ``largest``; None: that is enough."""
    if not 0 < largest < 1 << CAMERAS[-1]:
        return None
    bits = next(bits for bits in CAMERAS if largest < 1 << bits)
    cure = "save all as 8 bits" if colour else f"train with --set depth={bits}"
    return (
        f"{name}: 16 bits that hold no more than {largest} leave {(largest + 128) // 257 + 1} grey "
        f"levels: if the camera has {bits} bits, {cure}"
    )
