"""Test pictures and their ground truth, looked at once before work starts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from ssim_ae.data.images import size_of
from ssim_ae.data.layouts import TestPicture
from ssim_ae.errors import InputError, PictureError

NEARLY_ALL = 0.8  # share of a picture: a mask that marks more is perhaps inverted


def checked(
    pictures: list[TestPicture],
) -> tuple[list[TestPicture], list[str], list[str]]:
    """Those whose headers can be read, a line for each of the others, and notes on masks.

    A defective picture whose masks mark nothing has no ground truth: it counts as a picture.

    Raises:
        InputError: no picture can be read; a mask that cannot be read, or is of another size than
            its picture.
    """
    kept: list[TestPicture] = []
    unreadable: list[str] = []
    empty: list[TestPicture] = []
    wide: list[Path] = []
    for test in pictures:
        try:
            shape = size_of(test.file)
        except PictureError as error:
            unreadable.append(str(error))
            continue
        try:
            share = float(test.mask(shape).mean()) if test.masks else 0.0
        except PictureError as error:
            raise InputError(str(error)) from None
        if test.masks and share == 0:
            empty.append(test)
            test = replace(test, masks=())
        elif share > NEARLY_ALL:
            wide.append(test.masks[0])
        kept.append(test)
    if not kept:
        raise InputError(f"no test picture can be read ({unreadable[0]})")
    marks_nothing = {test.file for test in empty}
    without = [t for t in kept if not t.has_truth and t.file not in marks_nothing]
    return kept, unreadable, [*_missing(without, kept), *_doubtful(empty, wide)]


def _missing(without: list[TestPicture], every: list[TestPicture]) -> list[str]:
    """Lines about defective pictures that no mask came with."""
    defective, missing = (Counter(t.defect for t in found) for found in (every, without))
    whole = sorted(defect for defect in missing if missing[defect] == defective[defect])
    lines = []
    if whole:
        lines.append(
            f"no masks of {', '.join(whole)}: the figures for pixels leave these pictures out"
        )
    for defect in sorted(set(missing) - set(whole)):
        files = [test.file for test in without if test.defect == defect]
        lines.append(
            f"{_some(files)}: {len(files)} of {defective[defect]} pictures of {defect} have no "
            f"mask, so the figures for pixels leave them out: add {files[0].stem}_mask.png"
        )
    return lines


def _doubtful(empty: list[TestPicture], wide: list[Path]) -> list[str]:
    """Lines about masks that mark nothing, or nearly everything."""
    lines = []
    if empty:
        lines.append(
            f"{_some([test.masks[0] for test in empty])}: nothing is marked ({len(empty)} "
            "defective picture(s)), so the figures for pixels leave the picture out: save defects "
            "as 255, or move it to good"
        )
    if wide:
        lines.append(
            f"{_some(wide)}: more than four fifths are marked ({len(wide)} picture(s)): what is "
            "not zero is defective, so invert the mask if it is the other way round"
        )
    return lines


def _some(files: list[Path]) -> str:
    return f"{files[0]}, ..." if len(files) > 1 else str(files[0])
