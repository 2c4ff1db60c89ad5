"""Whole trainings on real pictures (SSIM_AE_DATA); bounds are the prototypes' figures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ssim_ae import Detector, evaluate, train
from ssim_ae.picture_score import picture_score

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def data() -> Path:
    folder = os.environ.get("SSIM_AE_DATA")
    if not folder:
        pytest.fail("the long tier needs SSIM_AE_DATA, the folder with the real pictures")
    return Path(folder)


@pytest.fixture(scope="module")
def fabric_02(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long") / "f02"
    train(data / "aitex_fabric_02", "texture", changes={"group": r"^(\d+)_"}, output=folder)
    return folder


def test_fabric_02_reaches_the_prototype(data: Path, fabric_02: Path) -> None:
    metrics = evaluate(fabric_02, data / "aitex_fabric_02").metrics
    # a prototype got 0.92-0.94 with the plain 11x11 SSIM residual
    assert metrics["pixel_auroc"] >= 0.93
    control = metrics["baselines"]["no_model"]
    assert metrics["pixel_auroc"] > control["pixel_auroc"]
    assert metrics["aupro_30"] > control["aupro_30"]


def test_a_whole_strip_is_inspected(data: Path, fabric_02: Path) -> None:
    strip = next((data / "aitex_fabric_02_strips" / "images").glob("*.png"))
    found = Detector.load(fabric_02).inspect(strip)
    assert found.anomaly_map.shape == (256, 4096)
    highest, mean = np.float64(found.working_map.max()), found.working_map.mean(dtype=np.float64)
    residual = Detector.load(fabric_02).record.settings.residual
    assert found.score == pytest.approx(picture_score(highest, mean, residual), abs=1e-6)


def test_screw_is_better_than_chance(data: Path, tmp_path: Path) -> None:
    run = train(data / "mvtec_screw_512", "object", output=tmp_path / "screw")
    metrics = evaluate(run, data / "mvtec_screw_512").metrics
    assert metrics["pixel_auroc"] >= 0.9
    assert metrics["baselines"]["brightness_image_auroc"] > 0.99  # the set's confounder
