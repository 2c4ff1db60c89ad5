"""Detectors of earlier formats keep loading: one file of each, as its version wrote it.

format_<n>.onnx were trained for six steps on the generated fabric (seed 5, 40 pictures of 160x176)
by the last version that wrote format n; of the graphs only the exporter's stack traces were taken
out. Maps and scores are not golden numbers of quality: what matters is that they can be had.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ssim_ae import Detector
from ssim_ae.runtime.constants import read_constants
from ssim_ae.runtime.record import FORMAT, WITH_CONSTANTS, read_record
from ssim_ae.training.calibrate import calibrate

FOLDER = Path(__file__).parent / "detectors"


def test_there_is_one_of_each_earlier_format() -> None:
    assert [f.stem for f in sorted(FOLDER.iterdir())] == [f"format_{n}" for n in range(1, FORMAT)]


@pytest.mark.parametrize("number", range(1, FORMAT))
def test_an_old_detector_inspects_and_is_calibrated(
    number: int, fabric: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(FOLDER / f"format_{number}.onnx", tmp_path))
    data = file.read_bytes()
    record = read_record(data, file)
    assert record.format == number
    assert record.calibration is not None
    assert bool(read_constants(data)) == (number >= WITH_CONSTANTS)
    picture = next((fabric / "test" / "hole").glob("*.png"))
    before = Detector.load(file).inspect(picture)
    assert before.working_map.shape == (160, 176)
    assert before.score == before.working_map.max()
    calibrate(file, fabric / "test" / "good", 0.2)
    after = Detector.load(file)
    # what it holds now, an older version could not read
    assert after.record.format == (FORMAT if number >= WITH_CONSTANTS else number)
    assert after.record.calibration.pictures == 4
    np.testing.assert_array_equal(after.inspect(picture).working_map, before.working_map)
