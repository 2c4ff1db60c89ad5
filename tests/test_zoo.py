from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.morphology import disk, opening

from ssim_ae.config import ResidualSettings, ZooSettings
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.working_size import Preparation
from ssim_ae.evaluation.zoo import PixelTally, verdict_numbers, zoo_mask
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.inspector import Inspector, MedianGrey
from ssim_ae.training.zoo_thresholds import zoo_scales


def test_border_is_weighted_down() -> None:
    mask = zoo_mask(np.ones((30, 40), np.float32), 0.5, np.zeros((30, 40)), ZooSettings(opening=0))
    expected = np.zeros((30, 40), bool)
    expected[5:-5, 5:-5] = True  # 0.2 in the frame stays below the threshold
    assert np.array_equal(mask, expected)
    whole = zoo_mask(np.ones((9, 9), np.float32), 0.5, np.zeros((9, 9)), ZooSettings(border=0))
    assert whole[4, 4]


def test_opening_equals_scikit_image() -> None:
    rng = np.random.default_rng(0)
    anomaly_map = (rng.random((80, 80)) < 0.95).astype(np.float32)
    zoo = ZooSettings(border=0, opening=4)
    ours = zoo_mask(anomaly_map, 0.5, np.zeros((80, 80)), zoo)
    theirs = opening(anomaly_map > 0.5, disk(4), mode="min")
    assert np.array_equal(ours[8:-8, 8:-8], theirs[8:-8, 8:-8])


@pytest.mark.parametrize(("kind", "level", "part"), [("B", 200, 0), ("W", 100, 255)])
def test_background_is_left_out_but_holes_in_the_object_are_not(
    kind: str, level: int, part: int
) -> None:
    picture = np.full((40, 40), part, np.uint8)
    picture[8:32, 8:32] = level
    picture[18:22, 18:22] = part  # a hole
    zoo = ZooSettings.model_validate({"bg_mask": kind, "border": 0, "opening": 0})
    mask = zoo_mask(np.ones((40, 40), np.float32), 0.5, picture, zoo)
    expected = np.zeros((40, 40), bool)
    expected[8:32, 8:32] = True
    assert np.array_equal(mask, expected)


def test_scales_are_percentiles_of_training_residuals(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(file)
    store = PictureStore(files, Preparation("grey", None, None), 16, 1 << 30)
    settings = ResidualSettings.model_validate({"combine": "max", "terms": [
        {"kind": "ssim", "sigma": 1.5}, {"kind": "l1"}]})  # fmt: skip
    inspector = Inspector(MedianGrey(), Residual(settings))
    found = zoo_scales(inspector, settings, ZooSettings(percent=75, ssim_threshold=0.4), store)
    pixels = np.stack([np.array(Image.open(f)) for f in files]).astype(np.float64) / 255
    median = np.stack([np.sort(p.ravel())[(p.size + 1) // 2 - 1] for p in pixels])
    l1 = np.abs(pixels - median[:, None, None])
    assert found.terms[0].scale == 0.4
    assert found.terms[1].scale == pytest.approx(np.quantile(l1, 0.75), rel=5e-3)
    assert found.terms[1].kind == "l1"


def test_residuals_the_zoo_has_not_take_their_percentile(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    store = PictureStore([tmp_path / "0.png"], Preparation("grey", None, None), 16, 1 << 30)
    settings = ResidualSettings.model_validate({"terms": [{"kind": "gradient", "sigma": 3}]})
    inspector = Inspector(MedianGrey(), Residual(settings))
    found = zoo_scales(inspector, settings, ZooSettings(percent=75), store)
    picture = Inspector.picture(store.picture(0))
    (residual,) = inspector.residual.terms(picture, inspector.find(picture))
    expected = np.quantile(residual.numpy(), 0.75)
    assert found.terms[0].scale == pytest.approx(expected, rel=5e-3)


def test_numbers() -> None:
    tally = PixelTally()
    tally.add(np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool))
    tally.add(np.array([[0, 0]], bool), np.array([[0, 0]], bool))
    assert tally.numbers() == {"ok": 0.5, "nok": 0.75, "acc": pytest.approx(4 / 6)}
    assert tally.auc() == pytest.approx(0.625)
    assert PixelTally().numbers() == {"ok": None, "nok": None, "acc": None}
    rejected, defective = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 0, 0, 1], bool)
    assert verdict_numbers(rejected, defective) == {
        "ok": pytest.approx(2 / 3), "nok": 0.5, "acc": 0.6,
    }  # fmt: skip
