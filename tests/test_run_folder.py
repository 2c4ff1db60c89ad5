"""What a training may replace, and what it leaves where it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ssim_ae import Detector, train
from ssim_ae.errors import InputError
from ssim_ae.training import calibrate as calibrating
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


def test_damaged_files_of_a_run_are_told(fabric: Path, copy: Path) -> None:
    for name in ("training.json", "split.json"):
        (copy / name).write_text((copy / name).read_text()[:20])
        with pytest.raises(InputError, match=rf"{name}: cannot be read .*--overwrite"):
            train(fabric, output=copy, resume=True)
        (copy / "training.json").unlink(missing_ok=True)
    (copy / "split.json").write_text("{}")
    with pytest.raises(InputError, match="lists no pictures"):
        train(fabric, output=copy, resume=True)


def test_a_run_that_began_meanwhile_is_not_replaced(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def meanwhile(*_: Any) -> None:
        run.mkdir()
        (run / "config.yaml").write_text("# ssim-ae 0; of another process\n")

    monkeypatch.setattr("ssim_ae.training.train.count_colors", meanwhile)
    with pytest.raises(InputError, match="holds a run already"):
        train(fabric, "autoencoder", changes=TINY, output=run)
    assert [f.name for f in run.iterdir()] == ["config.yaml"]


def test_what_weights_have_seen_is_known_without_their_detector(
    fabric: Path, copy: Path, tmp_path: Path
) -> None:
    """As after a training that was killed while its detector was written."""
    (copy / "detector.onnx").unlink()
    seen = set(json.loads((copy / "split.json").read_text())["train"].values())
    notes: list[str] = []
    changes = [*TINY, "seed=9"]
    for name, source in (("new", copy / "model.safetensors"), ("copied", tmp_path / "alone.st")):
        if name == "copied":
            shutil.copy(copy / "model.safetensors", source)
        run = tmp_path / name
        train(
            fabric, "autoencoder", changes=changes, output=run, init_from=source,
            on_note=notes.append,
        )  # fmt: skip
        held_out = set(json.loads((run / "split.json").read_text())["held_out"].values())
        assert bool(held_out & seen) == (name == "copied")
        assert any("are unknown" in note for note in notes) == (name == "copied")


def test_the_old_detector_stays_until_the_new_one_has_thresholds(fabric: Path, copy: Path) -> None:
    old = (copy / "detector.onnx").read_bytes()
    (copy / "exports").mkdir()

    def die_last(phase: str) -> None:
        if phase == "calibrating":
            raise Killed

    changes = [*TINY, "seed=4"]
    with pytest.raises(Killed):
        train(
            fabric, "autoencoder", changes=changes, output=copy, overwrite=True, on_phase=die_last
        )
    assert (copy / "detector.onnx").read_bytes() == old
    assert (copy / "exports").is_dir()
    train(fabric, output=copy, resume=True)
    assert Detector.load(copy).record.settings.seed == 4
    assert Detector.load(copy).thresholds
    assert not (copy / "exports").exists()
    assert [f.name for f in copy.glob("*.onnx")].count("detector.onnx") == 1
    assert not (copy / "uncalibrated.onnx").exists()


def test_a_detector_replaced_while_it_is_calibrated_is_left_alone(
    fabric: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, file = calibrating.calibrated, copy / "detector.onnx"
    shutil.rmtree(copy / "evaluation", ignore_errors=True)

    def replaced(*args: Any) -> Any:
        file.write_bytes(file.read_bytes() + b" ")
        return measured(*args)

    notes = calibrating.calibrate(copy, fabric / "test" / "good", 0.2)[2]
    assert not any("evaluate again" in note for note in notes)
    (copy / "evaluation").mkdir()
    notes = calibrating.calibrate(copy, fabric / "test" / "good", 0.2)[2]
    assert any("evaluate again" in note for note in notes)
    monkeypatch.setattr(calibrating, "calibrated", replaced)
    before = file.read_bytes()
    with pytest.raises(InputError, match="was replaced meanwhile"):
        calibrating.calibrate(copy, fabric / "test" / "good", 0.2)
    assert file.read_bytes() == before + b" "
