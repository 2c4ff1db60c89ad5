"""Ground truth: which files are a picture's masks, and what they mark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.folders import folders_in, pictures_in
from ssim_ae.data.images import read_mask
from ssim_ae.errors import InputError

# of 017.png: 017_mask.png, 017_gt.bmp, 017-label2.png, 017_mask_1.png
MARKED = re.compile(r"(.+?)[_-]?(?:mask|gt|label)[_-]?\d*")


def masks_of(files: Sequence[Path], folder: Path) -> tuple[list[tuple[Path, ...]], list[Path]]:
    """The masks of each picture in a folder of masks, and files there that are no picture's.

    A mask is named like its picture, whatever the case of letters and the format, and marked as one
    (``MARKED``); or like its picture alone, where no marked one is; or lies in a folder named like
    the picture (LOCO). Several of one picture are united.
    """
    if not folder.is_dir():
        return [() for _ in files], []
    stems = {file.stem.lower() for file in files}
    marked: dict[str, list[Path]] = {}
    plain: dict[str, list[Path]] = {}
    several: dict[str, list[Path]] = {}
    strays = []
    for mask in pictures_in(folder):
        stem = mask.stem.lower()
        match = MARKED.fullmatch(stem)
        if stem in stems:
            plain.setdefault(stem, []).append(mask)
        elif match and match[1] in stems:
            marked.setdefault(match[1], []).append(mask)
        else:
            strays.append(mask)
    for each in folders_in(folder):
        inside = pictures_in(each)
        if each.name.lower() in stems:
            several.setdefault(each.name.lower(), []).extend(inside)
        else:
            strays += inside
    found = []
    for stem in (file.stem.lower() for file in files):
        alone = marked.get(stem) or plain.get(stem) or []
        found.append((*alone, *several.get(stem, [])))
    return found, strays


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
