"""The pictures that exports are compared on: those kept in the run, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssim_ae.data.images import Pixels, read_picture
from ssim_ae.errors import InputError
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.inspect import find_pictures

SIDE = 512  # of what is compared, at most, pixels
FOLDER, GOOD, DEFECTIVE = "sample", "good", "defective"  # RUN/sample/good_0.png ...


def read_sample(detector: Detector, pictures: Sequence[Path] = ()) -> list[Pixels]:
    """Pictures at working size: the run's sample, then the named files and folders.

    Raises:
        InputError: there is neither.
        PictureError: one cannot be decoded.
    """
    record = detector.record
    kept = sorted((detector.file.parent / FOLDER).glob("*.png"))
    found = [read_picture(file, record.settings.color) for file in kept]
    found += [record.preparation.read(file)[0] for file in find_pictures(pictures)]
    if not found:  # such as in a detector that was moved away from its run
        raise InputError(
            f"{detector.file.parent}: keeps no pictures to compare an export on: name good and "
            "defective ones with --pictures"
        )
    smallest = record.settings.tile
    small = [p.shape for p in found if min(p.shape[:2]) < smallest]
    if small:
        raise InputError(
            f"a picture of {small[0][1]}x{small[0][0]} at working size is smaller than the "
            f"detector's {smallest} pixels: leave it out"
        )
    return [window(picture) for picture in found]


def window(picture: Pixels) -> Pixels:
    """The middle of a picture, at most ``SIDE`` pixels a side: larger ones cost only memory."""
    tops = [max(0, (length - SIDE) // 2) for length in picture.shape[:2]]
    return picture[tops[0] : tops[0] + SIDE, tops[1] : tops[1] + SIDE]


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
