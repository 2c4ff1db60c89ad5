from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssim_ae.data.layouts import test_pictures as read_test
from ssim_ae.data.masks import masks_of
from ssim_ae.errors import InputError
from ssim_ae.evaluation.truth import checked
from tests.test_layouts import touch


@pytest.mark.parametrize(
    ("names", "stem", "expected"),
    [
        (["7_mask.png"], "7", ["7_mask.png"]),
        (["7_MASK.PNG"], "7", ["7_MASK.PNG"]),
        (["Part0_label.bmp"], "Part0", ["Part0_label.bmp"]),
        (["7_gt.tif", "70_gt.tif"], "7", ["7_gt.tif"]),
        (["7_mask1.png", "7_mask2.png"], "7", ["7_mask1.png", "7_mask2.png"]),
        (["7_mask_1.png", "7-label-2.jpg"], "7", ["7-label-2.jpg", "7_mask_1.png"]),
        (["7.png", "7_mask.png"], "7", ["7_mask.png"]),  # a copy of the picture is no mask
        (["7.png", "7.jpg"], "7", ["7.png"]),  # nor here
        (["7_mask.jpg", "7_mask.bmp"], "7", ["7_mask.bmp"]),
        (["7.bmp"], "7", ["7.bmp"]),
        (["7gt.png"], "7", []),
        (["7/a.png", "7/b.png", "7_mask.png"], "7", ["7_mask.png", "a.png", "b.png"]),
        (["my_label_mask.png"], "my_label", ["my_label_mask.png"]),
        (["my_label.png"], "my_label", ["my_label.png"]),
        (["7_1.png", "17_mask.png", "7a.png"], "7", []),
    ],
)
def test_names_of_masks(tmp_path: Path, names: list[str], stem: str, expected: list[str]) -> None:
    touch(tmp_path, *names)
    (tmp_path / ".7_mask.png").write_bytes(b"")
    (found,), strays = masks_of([Path(f"{stem}.png")], tmp_path)
    assert sorted(f.name for f in found) == sorted(expected)
    unused = {Path(name).stem for name in names} - {Path(name).stem for name in expected}
    assert {f.stem for f in strays} == unused - {"7"}


def test_a_mask_goes_to_one_picture_only(tmp_path: Path) -> None:
    touch(tmp_path, "a_mask.png", "a_mask_mask.png")
    found, strays = masks_of([Path("a.png"), Path("a_mask.jpg")], tmp_path)
    assert [[f.name for f in masks] for masks in found] == [["a_mask.png"], ["a_mask_mask.png"]]
    assert strays == []


def test_another_case_is_the_same_name_where_that_is_clear(tmp_path: Path) -> None:
    touch(tmp_path, "A_mask.png", "b_MASK.png")
    (tmp_path / "B").mkdir()
    files = [Path("A.png"), Path("a.png"), Path("B.png")]
    found, strays = masks_of(files, tmp_path)
    assert [[f.name for f in masks] for masks in found] == [["A_mask.png"], [], ["b_MASK.png"]]
    assert strays == [tmp_path / "B"]  # named like a picture, and nothing in it


def test_a_folder_of_masks_without_masks_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "test/7.png", "test/8.png", "ground_truth/defective/8.png")
    touch(tmp_path, "ground_truth/defective/7/deep/0.png")
    with pytest.raises(InputError, match=r"7: is no test picture's mask"):
        read_test(tmp_path)


def test_folders_of_masks_are_found_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "test/scratch/0.png", "ground_truth/Scratch/0_mask.png")
    (test,) = read_test(tmp_path)
    assert test.has_truth


def defects(root: Path, **values: int) -> None:
    """test/dent/NAME.png of 8x8 with masks of one value each."""
    for name, value in values.items():
        touch(root, f"test/dent/{name}.png", f"ground_truth/dent/{name}_mask.png")
        mask = np.zeros((8, 8), np.uint8)
        mask[:2] = value
        Image.fromarray(mask).save(root / f"ground_truth/dent/{name}_mask.png")


def test_masks_that_mark_nothing_are_told_and_their_pictures_kept(tmp_path: Path) -> None:
    defects(tmp_path, a=255, b=0, c=1)
    kept, unreadable, notes = checked(read_test(tmp_path))
    assert [(t.file.stem, t.has_truth) for t in kept] == [("a", True), ("b", False), ("c", True)]
    assert unreadable == []
    assert len(notes) == 1
    assert "b_mask.png: nothing is marked (1 defective picture(s))" in notes[0]
    (tmp_path / "ground_truth/dent/c_mask.png").unlink()
    missing, empty = checked(read_test(tmp_path))[2]
    assert "c.png: 1 of 3 pictures of dent have no mask" in missing
    assert "add c_mask.png" in missing
    assert empty == notes[0]


def test_a_mask_that_marks_nearly_everything_is_told(tmp_path: Path) -> None:
    defects(tmp_path, a=255)
    assert checked(read_test(tmp_path))[2] == []
    white = np.full((8, 8), 255, np.uint8)
    white[0, 0] = 0
    Image.fromarray(white).save(tmp_path / "ground_truth/dent/a_mask.png")
    (note,) = checked(read_test(tmp_path))[2]
    assert "a_mask.png: more than four fifths are marked (1 picture(s))" in note


def test_damaged_masks_and_pictures_before_work_starts(tmp_path: Path) -> None:
    defects(tmp_path, a=255, b=255)
    (tmp_path / "test/dent/b.png").write_bytes(b"no picture")
    kept, unreadable, _ = checked(read_test(tmp_path))
    assert [t.file.stem for t in kept] == ["a"]
    assert len(unreadable) == 1
    Image.fromarray(np.ones((8, 9), np.uint8)).save(tmp_path / "ground_truth/dent/a_mask.png")
    with pytest.raises(InputError, match=r"mask is 9x8, its picture .* is 8x8"):
        checked(read_test(tmp_path))
    (tmp_path / "ground_truth/dent/a_mask.png").write_bytes(b"no mask")
    with pytest.raises(InputError, match=r"a_mask\.png: cannot be decoded"):
        checked(read_test(tmp_path))
    (tmp_path / "test/dent/a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="no test picture can be read"):
        checked(read_test(tmp_path))
