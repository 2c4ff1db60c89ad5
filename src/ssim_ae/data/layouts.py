"""Dataset folders understood: MVTec AD and its relatives, woven textures, a plain folder.

MVTec AD       train/good, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png
               (no ground_truth/<defect>: that defect counts for pictures, not for pixels)
  relatives    good may be called ok or normal (BTAD), test may be test_public with ground_truth
               inside (AD 2), a mask may be <stem>.png (BTAD) or a folder of masks (LOCO)
woven texture  train/000.png, test/000.png, ground_truth/defective/000.png; no mask = good
plain folder   good pictures only; cannot be evaluated
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import SUFFIXES, read_mask, size_of
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
            InputError: a mask of another size than the picture; nothing is marked.
        """
        union = np.zeros(shape, np.bool_)
        for file in self.masks:
            mask = read_mask(file)
            if mask.shape != shape:
                raise _other_size(file, mask.shape, self.file, shape)
            union |= mask
        if self.masks and not union.any():
            raise InputError(
                f"{self.masks[0]}: marks nothing, but its picture {self.file} counts as "
                "defective: correct the mask, or move the picture to good"
            )
        return union

    def check(self) -> None:
        """Read the masks once, before work starts.

        Raises:
            InputError: as ``mask``.
            PictureError: a mask or the picture's header cannot be read.
        """
        if self.masks:
            self.mask(size_of(self.file))


def _other_size(
    mask: Path, size: tuple[int, ...], picture: Path, wanted: tuple[int, ...]
) -> InputError:
    return InputError(
        f"{mask}: mask is {size[1]}x{size[0]}, its picture {picture} is {wanted[1]}x{wanted[0]}: "
        "save the mask at the picture's size"
    )


def pictures_in(folder: Path) -> list[Path]:
    """Picture files directly in a folder, sorted by name."""
    try:
        # a link to nothing stays in: decoding it tells that its picture is gone
        found = [
            f
            for f in folder.iterdir()
            if f.suffix.lower() in SUFFIXES and (f.is_file() or (f.is_symlink() and not f.exists()))
        ]
    except PermissionError:
        raise InputError(f"{folder}: may not be read: change its permissions") from None
    return sorted(f for f in found if not f.name.startswith("."))


def training_pictures(root: Path) -> list[Path]:
    """Good pictures of a dataset, sorted.

    Raises:
        InputError: no such folder, or no pictures in it.
    """
    _require_folder(root)
    train = root / "train"
    named = {f.name.lower(): f for f in _folders_in(train)} if train.is_dir() else {}
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
        InputError: no test folder, no pictures, some pictures of a defect without masks.
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
    if flat and any(pictures_in(f) for f in _folders_in(test) if f != truth):
        raise InputError(
            f"{flat[0]}: lies beside folders of test pictures: move it into one of them"
        )
    found = _woven(flat, truth) if flat else _mvtec(test, truth)
    if not found:
        raise InputError(f"{test}: holds no pictures: add test/good and test/<defect>")
    return found


def _folders_in(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted, but hidden ones."""
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _require_folder(root: Path) -> None:
    if not root.exists():
        raise InputError(f"{root}: does not exist: check the dataset's path")
    if not root.is_dir():
        raise InputError(f"{root}: is a file: name the dataset's folder")


def _woven(files: list[Path], truth: Path) -> list[TestPicture]:
    masks = truth / "defective"
    if not masks.is_dir():
        raise InputError(f"{masks}: does not exist: put the masks of defective pictures there")
    pictures = []
    for file in files:
        found = _masks_of(file, masks)
        pictures.append(TestPicture(file, "defective" if found else "good", found))
    used = {mask for picture in pictures for mask in picture.masks}
    # a folder of masks is one; not every file system tells 0.png from 0.PNG
    names = {name.lower() for mask in used for name in (mask.name, mask.parent.name)}
    for mask in sorted(m for m in masks.iterdir() if not m.name.startswith(".")):
        if mask.name.lower() not in names and (mask.is_dir() or mask.suffix.lower() in SUFFIXES):
            raise InputError(
                f"{mask}: is no test picture's mask, and a picture without a mask counts as good: "
                f"name it like the picture in {files[0].parent}, or remove it"
            )
    return sorted(pictures, key=lambda p: (p.defect, p.file.name))


def _mvtec(test: Path, truth: Path) -> list[TestPicture]:
    pictures = []
    for folder in _folders_in(test):
        if folder == truth:
            continue
        files = pictures_in(folder)
        if folder.name.lower() in GOOD_NAMES:
            pictures += [TestPicture(f, "good", ()) for f in files]
            continue
        found = [_masks_of(file, truth / folder.name) for file in files]
        if files and not any(found) and (misnamed := _any_mask(truth / folder.name)):
            raise InputError(
                f"{misnamed}: belongs to no picture in {folder}: name it like one of them, as "
                f"{files[0].stem}_mask.png, or remove the folder if there is no ground truth"
            )
        for file, masks in zip(files, found, strict=True):
            if not masks and any(found):  # of some, not of this one
                raise InputError(
                    f"{file}: defective, but has no mask in {truth / folder.name}: add "
                    f"{file.stem}_mask.png, or name the folder 'good' if it holds good pictures"
                )
            pictures.append(TestPicture(file, folder.name, masks))
    return pictures


def _any_mask(folder: Path) -> Path | None:
    """A picture there, or in a folder there, if there is one."""
    if not folder.is_dir():
        return None
    inside = (file for each in (folder, *_folders_in(folder)) for file in pictures_in(each))
    return next(inside, None)


def _masks_of(file: Path, folder: Path) -> tuple[Path, ...]:
    for suffix in (".png", ".bmp", ".tif", ".tiff", file.suffix):
        for stem in (f"{file.stem}_mask", file.stem):
            for name in (f"{stem}{suffix}", f"{stem}{suffix.upper()}"):
                if (mask := folder / name).is_file():
                    return (mask,)
    several = folder / file.stem
    return tuple(pictures_in(several)) if several.is_dir() else ()
