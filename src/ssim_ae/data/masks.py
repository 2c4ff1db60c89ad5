"""Ground truth: which files are a picture's masks, and what they mark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.folders import folders_in, pictures_in
from ssim_ae.data.images import read_mask
from ssim_ae.errors import InputError

# of 017.png: 017_mask.png, 017_gt.bmp, 017-label2.png, 017_mask_1.png
MARKED = re.compile(r"(.+?)[_-](?:mask|gt|label)[_-]?\d*", re.IGNORECASE)
EXACT = (".png", ".bmp", ".tif", ".tiff")  # of one mask in several formats the first of these


def masks_of(files: Sequence[Path], folder: Path) -> tuple[list[tuple[Path, ...]], list[Path]]:
    """The masks of each picture in a folder of masks, and what there is no picture's.

    A mask is named like its picture and marked as one (``MARKED``); or like its picture alone,
    where no marked one is; or lies in a folder named like the picture (LOCO). Another case of
    letters is the same name where only one picture has it. Several of one picture are united.
    """
    if not folder.is_dir():
        return [() for _ in files], []
    like = _Names(file.stem for file in files)
    marked: dict[str, list[Path]] = {}
    plain: dict[str, Path] = {}
    several: dict[str, list[Path]] = {}
    strays = []
    for mask in _one_of_each_name(pictures_in(folder)):
        alone, with_mark = like.find(mask.stem), like.find(_unmarked(mask))
        if alone is not None:
            plain[alone] = mask
        elif with_mark is not None:
            marked.setdefault(with_mark, []).append(mask)
        else:
            strays.append(mask)
    for stem, mask in plain.items():  # named like a picture that has others, and marked: another's
        if stem in marked and (other := like.find(_unmarked(mask))) is not None:
            marked.setdefault(other, []).append(mask)
    for each in folders_in(folder):
        owner, inside = like.find(each.name), pictures_in(each)
        if owner is not None and inside:
            several[owner] = inside
        elif owner is not None or inside:
            strays.append(each)
    found = []
    for stem in (file.stem for file in files):
        alone_ = [plain[stem]] if stem in plain else []
        found.append((*marked.get(stem, alone_), *several.get(stem, [])))
    return found, strays


class _Names:
    """Pictures' names without suffix, found as they are, or in another case where that is clear."""

    def __init__(self, stems: Iterable[str]) -> None:
        self.exact = set(stems)
        number = Counter(stem.lower() for stem in self.exact)
        self.lower = {s.lower(): s for s in self.exact if number[s.lower()] == 1}

    def find(self, name: str | None) -> str | None:
        return name if name in self.exact else self.lower.get((name or "").lower())


def _unmarked(mask: Path) -> str | None:
    match = MARKED.fullmatch(mask.stem)
    return match and match[1]


def _one_of_each_name(masks: Sequence[Path]) -> list[Path]:
    def place(mask: Path) -> int:
        suffix = mask.suffix.lower()
        return EXACT.index(suffix) if suffix in EXACT else len(EXACT)

    best: dict[str, Path] = {}
    for mask in masks:
        best[mask.stem] = min(best.get(mask.stem, mask), mask, key=place)
    return list(best.values())


def union_of(masks: Sequence[Path], picture: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """What any of a picture's masks marks, ``[h, w]`` at the picture's own size.

    Raises:
        InputError: a mask of another size than the picture.
        PictureError: a mask that cannot be read.
    """
    union = np.zeros(shape, np.bool_)
    for file in masks:
        mask = read_mask(file)
        if mask.shape != shape:
            raise InputError(
                f"{file}: mask is {mask.shape[1]}x{mask.shape[0]}, its picture {picture} is "
                f"{shape[1]}x{shape[0]}: save the mask at the picture's size"
            )
        union |= mask
    return union
