"""Dataset folders understood: MVTec AD and its relatives, woven textures, a plain folder.

MVTec AD       train/good, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png
               (a defective picture without a mask counts for pictures, not for pixels)
  relatives    good may be called ok or normal (BTAD), test may be test_public with ground_truth
               inside (AD 2); other names of masks: see ``masks``
woven texture  train/000.png, test/000.png, ground_truth/defective/000.png; no mask = good
plain folder   good pictures only; cannot be evaluated
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.folders import folders_in, pictures_in
from ssim_ae.data.images import SUFFIXES
from ssim_ae.data.masks import masks_of, union_of
from ssim_ae.errors import InputError

GOOD_NAMES = ("good", "ok", "normal")


@dataclass(frozen=True)
class TestPicture:
    """One test picture; several ``masks`` are united. A good one has none, and a defective one has
    none where no ground truth came with the set."""

    __test__ = False  # not a test class, whatever its name suggests to pytest
    file: Path
    defect: str
    masks: tuple[Path, ...]

    @property
    def is_good(self) -> bool:
        return self.defect == "good"

    @property
    def has_truth(self) -> bool:
        """Whether it is known which of its pixels are defective."""
        return self.is_good or bool(self.masks)

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Ground truth ``[h, w]`` at the picture's original size.

        Raises:
            InputError, PictureError: as ``masks.union_of``.
        """
        return union_of(self.masks, self.file, shape)


def training_pictures(root: Path) -> list[Path]:
    """Good pictures of a dataset, sorted.

    Raises:
        InputError: no such folder, or no pictures in it.
    """
    _require_folder(root)
    train = root / "train"
    named = {f.name.lower(): f for f in folders_in(train)} if train.is_dir() else {}
    for folder in [named[name] for name in GOOD_NAMES if name in named] + [train, root]:
        if folder.is_dir() and (found := pictures_in(folder)):
            return found
    raise InputError(
        f"{root}: no pictures in train/good, train, or the folder itself: put good pictures "
        f"there ({', '.join(sorted(SUFFIXES))})"
    )


def test_pictures(root: Path) -> list[TestPicture]:
    """Labelled test pictures of a dataset, sorted by defect and name.

    Raises:
        InputError: no test folder, no pictures, masks that are no picture's where one is missing.
    """
    _require_folder(root)
    for name in ("test", "test_public"):
        test = root / name
        if test.is_dir():
            break
    else:
        raise InputError(
            f"{root}: has no test folder, so it cannot be evaluated: add test/good, "
            "test/<defect> and ground_truth/<defect>"
        )
    truth = test / "ground_truth" if (test / "ground_truth").is_dir() else root / "ground_truth"
    flat = pictures_in(test)
    if flat and any(pictures_in(f) for f in folders_in(test) if f != truth):
        raise InputError(
            f"{flat[0]}: lies beside folders of test pictures: move it into one of them"
        )
    found = _woven(flat, truth) if flat else _mvtec(test, truth)
    if not found:
        raise InputError(f"{test}: holds no pictures: add test/good and test/<defect>")
    return found


def _require_folder(root: Path) -> None:
    if not root.exists():
        raise InputError(f"{root}: does not exist: check the dataset's path")
    if not root.is_dir():
        raise InputError(f"{root}: is a file: name the dataset's folder")


def _woven(files: list[Path], truth: Path) -> list[TestPicture]:
    masks = truth / "defective"
    if not masks.is_dir():
        raise InputError(f"{masks}: does not exist: put the masks of defective pictures there")
    found, strays = masks_of(files, masks)
    if strays:
        raise InputError(
            f"{strays[0]}: is no test picture's mask, and a picture without a mask counts as good: "
            f"name it like the picture in {files[0].parent}, or remove it"
        )
    pictures = [
        TestPicture(file, "defective" if masks else "good", masks)
        for file, masks in zip(files, found, strict=True)
    ]
    return sorted(pictures, key=lambda p: (p.defect, p.file.name))


def _mvtec(test: Path, truth: Path) -> list[TestPicture]:
    pictures = []
    named = {f.name.lower(): f for f in folders_in(truth)} if truth.is_dir() else {}
    for folder in folders_in(test):
        if folder == truth:
            continue
        files = pictures_in(folder)
        if folder.name.lower() in GOOD_NAMES:
            pictures += [TestPicture(f, "good", ()) for f in files]
            continue
        own = truth / folder.name
        own = own if own.is_dir() else named.get(folder.name.lower(), own)
        found, strays = masks_of(files, own)
        if strays and not all(found):  # perhaps of one that has none
            without = next(f for f, masks in zip(files, found, strict=True) if not masks)
            raise InputError(
                f"{strays[0]}: belongs to no picture in {folder}, and {without.name} there has no "
                f"mask: name it like its picture, as {without.stem}_mask.png, or remove it"
            )
        pictures += [
            TestPicture(file, folder.name, masks) for file, masks in zip(files, found, strict=True)
        ]
    return pictures
