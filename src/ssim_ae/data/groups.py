"""The strip or part that a picture was cut from, by its file's name.

Pictures of one strip are more alike than those of two: whole strips are held out, so that the
thresholds do not come from strips that were trained on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ssim_ae.errors import InputError

AUTO, NONE = "auto", "none"  # the pattern that ``pattern_in_names`` finds; each picture for itself
WORD, SEPARATOR = "[^-_ ]+", "[-_ ]+"
DEEPEST = 3  # words of a name that may tell its group: a date, not the minutes of a clock
FEWEST = 10  # groups: fewer are rather cameras, whose pictures must not all be held out
LARGEST = 0.2  # of all pictures, for the same reason
PERHAPS = (3, 0.5)  # the same, where it is only asked whether these are strips


def group_names(files: Sequence[Path], pattern: str | None) -> list[str]:
    """The strip or part each picture was cut from, by a regular expression on file names.

    The first bracketed group of the pattern is the name (the whole match when it has none).
    ``AUTO``: the pattern in the names. Without one, or with ``NONE``, every picture stands alone.

    Raises:
        InputError: the pattern is no regular expression, or does not match a file.
    """
    if pattern == AUTO:
        pattern = pattern_in_names(files)
    if pattern is None or pattern == NONE:
        return [str(i) for i in range(len(files))]
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"group {pattern!r} is no regular expression ({error})") from None
    names = []
    for file in files:
        match = expression.search(file.name)
        name = match and match.group(1 if expression.groups else 0)
        if name is None:  # also where another alternative of the pattern matched
            raise InputError(f"{file}: does not match the group pattern {pattern!r}: correct it")
        names.append(name)
    return names


def pattern_in_names(
    files: Sequence[Path], fewest: int = FEWEST, largest: float = LARGEST
) -> str | None:
    """A pattern for ``group_names`` where file names begin with numbered words that several share.

    ``strip07_03.png`` is of ``strip07``; of ``lot2_part7_3.png`` the lot counts, if there are lots
    enough: the larger group is the safer one. None where each name stands alone, or where
    the words differ by more than their numbers: such may be kinds of parts, none of which must be
    missing in the training.
    """
    for words in range(1, DEEPEST + 1):
        pattern = f"^({SEPARATOR.join([WORD] * words)}){SEPARATOR}"
        try:
            sizes = Counter(group_names(files, pattern))
        except InputError:  # a name with fewer words
            return None
        if 2 * len(sizes) > len(files):
            return None
        if len(sizes) >= fewest:  # smaller groups inside of these would be parts of strips
            numbered = len({re.sub("[0-9]+", "#", name) for name in sizes}) == 1
            return pattern if numbered and max(sizes.values()) <= largest * len(files) else None
    return None
