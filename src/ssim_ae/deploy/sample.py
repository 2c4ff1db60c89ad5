"""The pictures that exports are compared on: those kept in the run, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssim_ae.data.images import Pixels, read_picture, size_of
from ssim_ae.errors import InputError
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.inspect import find_pictures

SIDE = 512  # of what is compared, at most, pixels
FOLDER, GOOD, DEFECTIVE = "sample", "good", "defective"  # RUN/sample/good_0.png ...


def read_sample(
    detector: Detector, pictures: Sequence[Path] = (), size: tuple[int, int] | None = None
) -> list[Pixels]:
    """Pictures at working size: the run's sample, then the named files and folders.

    ``size``: (height, width) of all of them, cut or continued by their mirror image; by default
    their own, at most ``SIDE``.

    Raises:
        InputError: there is neither, or one is smaller than a tile.
        PictureError: one cannot be decoded.
    """
    record = detector.record
    least = record.settings.tile
    found = [_fitted(read_picture(f, record.settings.color), least, size) for f in _kept(detector)]
    found += [_fitted(record.preparation.read(f)[0], least, size) for f in find_pictures(pictures)]
    if not found:  # such as in a detector that was moved away from its run
        raise InputError(
            f"{detector.file.parent}: keeps no pictures to compare an export on: name good and "
            "defective ones with --pictures"
        )
    return found


def window(picture: Pixels, height: int = SIDE, width: int = SIDE) -> Pixels:
    """A copy of a picture's middle, at most so large: larger ones cost only memory."""
    top, left = (
        max(0, (have - most) // 2)
        for have, most in zip(picture.shape, (height, width), strict=False)
    )
    return picture[top : top + height, left : left + width].copy()


def _fitted(picture: Pixels, least: int, size: tuple[int, int] | None) -> Pixels:
    height, width = picture.shape[:2]
    if min(height, width) < least:
        raise InputError(
            f"a picture of {width}x{height} at working size is smaller than the detector's "
            f"{least} pixels: leave it out"
        )
    if size is None:
        return window(picture)
    middle = window(picture, *size)
    missing = [(0, most - have) for have, most in zip(middle.shape, size, strict=False)]
    return np.pad(middle, missing + [(0, 0)] * (middle.ndim - 2), mode="symmetric")


def size_to_fix(detector: Detector, pictures: Sequence[Path]) -> tuple[int, int]:
    """(height, width) for an export that takes one size only: of the detector's centre crop, of
    the first of ``pictures``, or of the run's sample.

    Raises:
        InputError: the sample's pictures are windows of larger ones, or there is none.
    """
    record = detector.record
    if record.settings.centre_crop:
        return (record.settings.centre_crop,) * 2
    for file in find_pictures(pictures):
        return record.preparation.geometry(*size_of(file)).crop[2:]
    for file in _kept(detector):
        height, width = size_of(file)
        if max(height, width) < SIDE:
            return height, width
    raise InputError(
        f"{detector.file.parent}: does not tell how large its pictures are at working size: add "
        "--size HEIGHT WIDTH, or name one with --pictures"
    )


def _kept(detector: Detector) -> list[Path]:
    return sorted((detector.file.parent / FOLDER).glob("*.png"))


def read_good(detector: Detector) -> list[Pixels]:
    """The good pictures of the run's sample, at working size.

    Raises:
        InputError: the run keeps none.
    """
    files = sorted((detector.file.parent / FOLDER).glob(f"{GOOD}_*.png"))
    if not files:
        raise InputError(
            f"{detector.file.parent}: keeps no good pictures to set the int8 ranges by: train it "
            "again with this version"
        )
    return [read_picture(file, detector.record.settings.color) for file in files]
