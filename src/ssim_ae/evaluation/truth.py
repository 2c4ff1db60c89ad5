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
    empty: list[Path] = []
    wide: list[Path] = []
    for test in pictures:
        try:
            shape = size_of(test.file)
        except PictureError as error:
            unreadable.append(str(error))
            continue
        if not test.masks:
            kept.append(test)
            continue
        try:
            share = float(test.mask(shape).mean())
        except PictureError as error:
            raise InputError(str(error)) from None
        if share > NEARLY_ALL:
            wide.append(test.masks[0])
        if share == 0:
            empty.append(test.masks[0])
        kept.append(replace(test, masks=()) if share == 0 else test)
    if not kept:
        raise InputError(f"no test picture can be read ({unreadable[0]})")
    return kept, unreadable, [*_without(kept), *_doubtful(empty, wide)]


def _without(pictures: list[TestPicture]) -> list[str]:
    """Lines about defective pictures without ground truth."""
    defective = Counter(test.defect for test in pictures if not test.is_good)
    missing = Counter(test.defect for test in pictures if not test.has_truth)
    whole = sorted(defect for defect in missing if missing[defect] == defective[defect])
    lines = []
    if whole:
        lines.append(
            f"no masks of {', '.join(whole)}: the figures for pixels leave these pictures out"
        )
    for defect in sorted(set(missing) - set(whole)):
        first = next(t.file for t in pictures if t.defect == defect and not t.has_truth)
        lines.append(
            f"{missing[defect]} of {defective[defect]} pictures of {defect} have no mask that "
            f"marks anything ({first.name}, ...): the figures for pixels leave them out"
        )
    return lines


def _doubtful(empty: list[Path], wide: list[Path]) -> list[str]:
    """Lines about masks that mark nothing, or nearly everything."""
    lines = []
    if empty:
        lines.append(
            f"{len(empty)} masks mark nothing ({empty[0]}, ...): defects are not zero there"
        )
    if wide:
        lines.append(
            f"{len(wide)} masks mark more than four fifths of their picture ({wide[0]}, ...): "
            "what is not zero is defective, so invert them if it is the other way round"
        )
    return lines
