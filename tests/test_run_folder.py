"""What a training may replace, and what it leaves where it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ssim_ae import Detector, train
from ssim_ae.errors import InputError
from ssim_ae.training.loop import Interrupted
from tests.conftest import TINY

pytestmark = pytest.mark.e2e


class Killed(BaseException):
    """The process ends, with nothing put in order."""


def die(*_: Any) -> None:
    raise Killed


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_what_is_no_run_is_not_replaced(fabric: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.yaml").write_text("camera: 1\n")
    (project / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and no run"):
        train(fabric, "autoencoder", changes=TINY, output=project, overwrite=True)
    assert {f.name for f in project.iterdir()} == {"config.yaml", "notes.txt"}


def test_a_run_that_holds_the_pictures_is_not_replaced(fabric: Path, copy: Path) -> None:
    inside = copy / "evaluation" / "good"
    shutil.copytree(fabric / "train" / "good", inside)
    with pytest.raises(InputError, match="lies inside"):
        train(inside, "autoencoder", changes=TINY, output=copy, overwrite=True)
    assert len(list(inside.iterdir())) == 40


def test_the_detector_stays_until_there_is_a_new_one(fabric: Path, copy: Path) -> None:
    old = (copy / "detector.onnx").read_bytes()
    (copy / "notes.txt").write_text("mine")
    (copy / "exports").mkdir()
    (copy / "exports" / "detector.xml").write_text("of the old one")
    changes = [*TINY, "seed=4"]
    with pytest.raises(Killed):
        train(fabric, "autoencoder", changes=changes, output=copy, overwrite=True, on_progress=die)
    assert (copy / "detector.onnx").read_bytes() == old
    assert (copy / "exports").is_dir()
    train(fabric, output=copy, resume=True)  # from a state that was saved before the first step
    assert (copy / "detector.onnx").read_bytes() != old
    assert not (copy / "exports").exists()
    assert (copy / "notes.txt").read_text() == "mine"
    whole = copy.with_name("whole")
    train(fabric, "autoencoder", changes=changes, output=whole)
    weights = [Detector.load(run).record.fingerprints["weights"] for run in (copy, whole)]
    assert weights[0] == weights[1]


def test_stopped_after_the_last_step_it_can_be_finished(fabric: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted, match=r"after the last step.*--resume"):
        train(fabric, "autoencoder", changes=TINY, output=run, on_phase=stop)
    phases: list[str] = []
    train(fabric, output=run, resume=True, on_phase=phases.append)
    assert phases == ["weighing the maps", "writing the detector", "calibrating"]
    assert json.loads((run / "training.json").read_text())["color"] == "grey"
    with pytest.raises(InputError, match="is finished, all 6 steps"):
        train(fabric, output=run, resume=True)
