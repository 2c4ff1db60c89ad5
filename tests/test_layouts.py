from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssim_ae.data.layouts import test_pictures as read_test
from ssim_ae.data.layouts import training_pictures
from ssim_ae.data.synthetic import make_dataset
from ssim_ae.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(file)


def test_mvtec(tmp_path: Path) -> None:
    make_dataset(tmp_path, train=3, good=2, per_defect=1, size=(96, 96))
    assert [f.name for f in training_pictures(tmp_path)] == ["000.png", "001.png", "002.png"]
    found = read_test(tmp_path)
    assert sum(p.is_good for p in found) == 2
    assert {p.defect for p in found if not p.is_good} == {
        "hole", "missing_thread", "scratch", "slub", "smear", "stain",
    }  # fmt: skip
    assert all(p.mask((96, 96)).any() != p.is_good for p in found)


def test_woven(tmp_path: Path) -> None:
    make_dataset(tmp_path, train=2, good=2, per_defect=1, size=(96, 96), layout="woven")
    assert len(training_pictures(tmp_path)) == 2
    found = read_test(tmp_path)
    assert [p.defect for p in found] == ["defective"] * 6 + ["good"] * 2


def test_a_mask_of_no_picture_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "test/0.png", "test/1.png", "ground_truth/defective/0.PNG")
    touch(tmp_path, "ground_truth/defective/._0.png")
    assert [p.defect for p in read_test(tmp_path)] == ["defective", "good"]
    touch(tmp_path, "ground_truth/defective/1-copy.png")
    with pytest.raises(InputError, match=r"1-copy\.png: is no test picture's mask"):
        read_test(tmp_path)


def test_btad_ad2_and_loco_names(tmp_path: Path) -> None:
    btad, ad2, loco = tmp_path / "btad", tmp_path / "ad2", tmp_path / "loco"
    touch(btad, "train/ok/0.bmp", "test/ok/1.bmp", "test/ko/2.bmp", "ground_truth/ko/2.png")
    assert len(training_pictures(btad)) == 1
    assert [(p.defect, len(p.masks)) for p in read_test(btad)] == [("ko", 1), ("good", 0)]
    touch(ad2, "train/good/0.png", "test_public/good/1.png", "test_public/bad/2.png")
    touch(ad2, "test_public/ground_truth/bad/2_mask.png")
    assert [p.defect for p in read_test(ad2)] == ["bad", "good"]
    touch(loco, "test/good/0.png", "test/structural/1.png")
    touch(loco, "ground_truth/structural/1/000.png", "ground_truth/structural/1/001.png")
    structural = read_test(loco)[1]
    assert len(structural.masks) == 2
    assert structural.mask((8, 8)).all()


def test_a_defect_without_any_mask_counts_for_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "test/good/0.png", "test/dent/1.png", "test/dent/2.png", "test/hole/3.png")
    touch(tmp_path, "ground_truth/hole/3_mask.png")
    found = {p.file.stem: (p.is_good, p.has_truth) for p in read_test(tmp_path)}
    assert found == {
        "0": (True, True),
        "1": (False, False),
        "2": (False, False),
        "3": (False, True),
    }
    touch(tmp_path, "ground_truth/dent/1.png")  # now one of two has some
    assert [p.has_truth for p in read_test(tmp_path) if p.defect == "dent"] == [True, False]


def test_plain_folder_trains_but_cannot_be_evaluated(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.JPG")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    assert [f.name for f in training_pictures(tmp_path)] == ["a.JPG", "b.png"]
    with pytest.raises(InputError, match="no test folder"):
        read_test(tmp_path)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        training_pictures(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        training_pictures(tmp_path / "file")
    (tmp_path / "empty" / "test").mkdir(parents=True)
    with pytest.raises(InputError, match="no pictures"):
        training_pictures(tmp_path / "empty")
    with pytest.raises(InputError, match="no pictures"):
        read_test(tmp_path / "empty")


def test_defects_without_masks_and_masks_of_another_size(tmp_path: Path) -> None:
    touch(tmp_path, "test/good/0.png", "test/dent/1.png", "test/dent/2.png")
    touch(tmp_path, "ground_truth/dent/2.png", "ground_truth/dent/l.png")
    with pytest.raises(
        InputError, match=r"l\.png: belongs to no picture.*1\.png there has no mask"
    ):
        read_test(tmp_path)
    touch(tmp_path, "ground_truth/dent/1_mask.png")
    dent = read_test(tmp_path)[0]
    with pytest.raises(InputError, match=r"mask is 8x8, its picture .* is 9x8"):
        dent.mask((8, 9))
    touch(tmp_path / "woven", "test/0.png")
    with pytest.raises(InputError, match=r"ground_truth.defective"):
        read_test(tmp_path / "woven")


def test_good_is_good_in_any_case_and_hidden_folders_are_not_there(tmp_path: Path) -> None:
    touch(tmp_path, "train/Good/0.png", "train/.cache/1.png")
    touch(tmp_path, "test/GOOD/0.png", "test/.ipynb_checkpoints/0.png", "test/hole/0.png")
    touch(tmp_path, "ground_truth/hole/0_mask.png")
    assert [f.parent.name for f in training_pictures(tmp_path)] == ["Good"]
    assert [p.defect for p in read_test(tmp_path)] == ["good", "hole"]


def test_a_picture_beside_the_folders_of_test_pictures_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "test/good/0.png", "test/overview.png")
    with pytest.raises(InputError, match=r"overview\.png: lies beside folders"):
        read_test(tmp_path)


def test_a_link_to_nothing_is_a_picture_that_is_gone(tmp_path: Path) -> None:
    touch(tmp_path, "0.png")
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    assert [f.name for f in training_pictures(tmp_path)] == ["0.png", "1.png"]


def test_masks_that_belong_to_no_picture_of_their_defect_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "test/good/0.png", "test/dent/1.png", "test/hole/3.png")
    touch(tmp_path, "ground_truth/hole/3_mask.png")
    (tmp_path / "ground_truth" / "dent").mkdir()
    assert not read_test(tmp_path)[0].has_truth
    touch(tmp_path, "ground_truth/dent/one.png")
    with pytest.raises(InputError, match=r"one\.png: belongs to no picture.*1_mask\.png"):
        read_test(tmp_path)
    (tmp_path / "ground_truth" / "dent" / "one.png").unlink()
    touch(tmp_path, "ground_truth/dent/7/000.png")
    with pytest.raises(InputError, match=r"dent.7: belongs to no picture"):
        read_test(tmp_path)
