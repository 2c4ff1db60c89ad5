"""The default preset from end to end, on a narrow network that trains for seconds."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from torch import nn

from ssim_ae import Detector, evaluate, train
from ssim_ae.config import ResidualSettings
from ssim_ae.data.chroma import coloured
from ssim_ae.data.split import FOLDS
from ssim_ae.data.synthetic import make_dataset
from ssim_ae.model.core_set import CoreSet
from ssim_ae.runtime.inspect import inspect_pictures
from ssim_ae.training import assemble
from ssim_ae.training.choose import BLUR, CLEARLY
from ssim_ae.training.loop import Interrupted, Progress

pytestmark = pytest.mark.e2e
TINY = ["first_layer_channels=4", "latent=8", "steps=8", "batch_size=4", "resize=null", "seed=3"]


@pytest.fixture(scope="module", autouse=True)
def no_second_start() -> Iterator[None]:
    """After eight steps any network looks collapsed; starting again is tested by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssim_ae.training.train.collapse", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def auto_run(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auto") / "run"
    train(fabric, changes=TINY, output=folder)
    return folder


def test_auto_is_the_default_and_records_what_it_chose(auto_run: Path) -> None:
    record = Detector.load(auto_run).record
    assert record.settings.preset == "auto"
    assert record.settings.network == "joint"
    assert record.settings.color == "grey"
    assert record.settings.precision in ("bf16", "float32")
    choice = json.loads((auto_run / "choice.json").read_text())
    chosen = [c for c in choice["candidates"] if c["chosen"]]
    assert len(chosen) == 1
    best = max(c["aupro_30"] for c in choice["candidates"])
    assert chosen[0]["aupro_30"] >= best - CLEARLY
    weights = {t.kind: t.weight for t in record.settings.residual.terms}
    assert weights == chosen[0]["weights"]
    assert all(t.scale != 1 for t in record.settings.residual.terms)


def test_the_control_is_treated_as_the_map_is(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[ResidualSettings, ResidualSettings]] = []

    def write_files(network: Any, settings: Any, residual: Any, control: Any, *rest: Any) -> None:
        seen.append((residual, control))
        real(network, settings, residual, control, *rest)

    real = assemble.write_files
    monkeypatch.setattr(assemble, "write_files", write_files)
    train(fabric, changes=[*TINY, "steps=2"], output=tmp_path / "run")
    ((residual, control),) = seen
    assert (residual.surround, residual.smooth, residual.mean_beyond) == (0.4, BLUR, 0.075)
    for part in ("surround", "smooth", "smooth_share", "mean_beyond"):
        assert getattr(control, part) == getattr(residual, part)


def test_thresholds_come_from_pictures_that_chose_nothing(auto_run: Path) -> None:
    split = json.loads((auto_run / "split.json").read_text())
    parts = [set(split[name].values()) for name in ("train", "chosen_on", "held_out")]
    assert all(parts)
    assert len(set.union(*parts)) == sum(len(part) for part in parts)
    record = Detector.load(auto_run).record
    assert record.calibration is not None
    assert record.calibration.pictures == len(parts[2])
    assert set(record.trained_on) == parts[0]
    assert set(record.chosen_on) == parts[1]
    assert record.seen == parts[0] | parts[1]  # calibrate leaves these out


def test_units_are_measured_on_fresh_pictures_and_those_trained_on(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[tuple[list[str], list[str], list[int]]] = []
    apart: list[dict[nn.Module, list[Any]]] = []
    cores: list[nn.Module] = []

    def good_pictures(fresh: Any, trained: Any, folds: Any) -> Any:
        names = [[file.name for file in store.files] for store in (fresh, trained)]
        looked_at.append((names[0], names[1], folds))
        return real_pictures(fresh, trained, folds)

    def normalised(network: Any, settings: Any, pictures: Any, without: Any = None) -> Any:
        if without is not None:
            cores.extend(m for m in network.modules() if isinstance(m, CoreSet))
            apart.append(without)
        return real(network, settings, pictures, without)

    real, real_pictures = assemble.normalised, assemble.good_pictures
    monkeypatch.setattr(assemble, "normalised", normalised)
    monkeypatch.setattr(assemble, "good_pictures", good_pictures)
    rolls = tmp_path / "cloth" / "train" / "good"
    rolls.mkdir(parents=True)
    for i, file in enumerate(sorted((fabric / "train" / "good").glob("*.png"))):
        shutil.copy(file, rolls / f"{i % 20:02}-{i // 20}.png")
    changes = [*TINY, "steps=2", r"group=^(\d+)"]
    run = train(rolls.parents[1], changes=changes, output=tmp_path / "run").folder
    split = json.loads((run / "split.json").read_text())
    ((fresh, trained, folds),) = looked_at
    assert set(fresh) == set(split["chosen_on"])
    assert set(trained) == set(split["train"])
    assert len({(name[:2], fold) for name, fold in zip(trained, folds, strict=True)}) == len(
        {name[:2] for name in trained}
    )
    assert len(set(folds)) == FOLDS
    (without,) = apart
    assert set(without) == set(cores) != set()
    assert all(len(centres) == FOLDS for centres in without.values())
    control = Detector.load(run / "no_model.onnx").record  # calibrate leaves these out
    assert control.seen == {*split["train"].values(), *split["chosen_on"].values()}


@pytest.mark.parametrize("preset", ["auto", "autoencoder"])
def test_pictures_may_differ_in_size(preset: str, tmp_path: Path) -> None:
    """Narrow, wide and lying on their side, in training, calibration and evaluation."""
    cloth = tmp_path / "cloth"
    sizes = [(150, 150), (150, 260), (260, 150), (200, 170)]
    for seed, size in enumerate(sizes):
        make_dataset(tmp_path / str(seed), seed, train=8, good=2, per_defect=1, size=size)
        for file in sorted((tmp_path / str(seed)).rglob("*.png")):
            to = cloth / file.relative_to(tmp_path / str(seed))
            to = to.with_name(f"{seed}{file.name}")
            to.parent.mkdir(parents=True, exist_ok=True)
            file.rename(to)
    lying = cloth / "train" / "good" / "1000.png"
    turned = Image.Exif()
    turned[274] = 6
    Image.open(lying).save(lying, exif=turned)
    changes = [*TINY[2:4], "resize=140"]
    run = tmp_path / "run"
    train(cloth, preset=preset, changes=changes, output=run)
    record = Detector.load(run).record
    assert record.calibration is not None
    assert record.calibration.pictures > 1
    metrics = evaluate(run, cloth, output=tmp_path / "evaluation", maps=True).metrics
    assert 0 < metrics["pixel_auroc"] < 1
    maps = {f.name: tifffile.imread(f).shape for f in (tmp_path / "evaluation").rglob("*.tiff")}
    assert set(maps.values()) == set(sizes)


def test_it_inspects_and_evaluates_beside_a_control(auto_run: Path, fabric: Path) -> None:
    metrics = evaluate(auto_run, fabric, output=auto_run / "evaluation").metrics
    control = metrics["baselines"]["no_model"]
    assert 0 <= metrics["pixel_auroc"] <= 1
    assert control["pixel_auroc"] != metrics["pixel_auroc"]
    choice = json.loads((auto_run / "choice.json").read_text())
    page = (auto_run / "evaluation" / "report.html").read_text()
    assert page.count('<tr class="chosen">') == 1
    assert page.count("<tr") - page.count('<tr class="chosen">') >= len(choice["candidates"]) - 1
    assert f"unevenness {choice['unevenness']:.3f}" in page
    settings = Detector.load(auto_run / "no_model.onnx").record.settings
    assert settings.network == "joint"
    # its own maps, which pictures in blocks are scored by
    assert [t.kind for t in settings.residual.terms] == ["gradient", "band"]
    assert settings.residual.unit == 2


def test_pictures_in_another_light_are_told_once(
    auto_run: Path, fabric: Path, tmp_path: Path
) -> None:
    good = sorted((fabric / "test" / "good").iterdir())
    lines: list[str] = []
    every: Any = {"output": None, "kind": "jsonl", "maps": False, "engine": None, "show": str}
    inspect_pictures(auto_run, good, complain=lines.append, **every)
    assert lines == []
    data = tmp_path / "data"
    shutil.copytree(fabric, data)
    for file in (data / "test" / "good").iterdir():
        with Image.open(file) as picture:
            Image.eval(picture, lambda value: value // 8).save(file)
    dark = sorted((data / "test" / "good").iterdir())
    inspect_pictures(auto_run, dark, complain=lines.append, **every)
    (line,) = lines
    assert "of it is darker or brighter than all good pictures" in line
    notes = evaluate(auto_run, data, output=tmp_path / "evaluation").metrics["notes"]
    assert sum(f"({len(good)} test pictures are like that)" in note for note in notes) == 1


def test_a_resumed_training_gives_the_same_detector(fabric: Path, tmp_path: Path) -> None:
    changes = [*TINY, "schedule=constant", "precision=float32"]
    train(fabric, changes=changes, output=tmp_path / "whole")
    half = tmp_path / "half"
    train(fabric, changes=[*changes, "steps=4"], output=half)
    config = (half / "config.yaml").read_text()
    (half / "config.yaml").write_text(config.replace("steps: 4\n", "steps: 8\n"))
    train(fabric, output=half, resume=True)
    picture = next((fabric / "test" / "good").iterdir())
    maps = [Detector.load(tmp_path / n).inspect(picture).anomaly_map for n in ("whole", "half")]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-3)


def test_a_resumed_run_knows_what_the_weights_taken_over_have_seen(
    fabric: Path, tmp_path: Path
) -> None:
    """Some of the pictures are the first run's, and one it has seen is here no more."""
    good = sorted((fabric / "train" / "good").iterdir())
    for name, files in (("old", good[:20]), ("new", good[6:])):
        (tmp_path / name / "train" / "good").mkdir(parents=True)
        for file in files:
            (tmp_path / name / "train" / "good" / file.name).symlink_to(file)
    train(tmp_path / "old", changes=TINY, output=tmp_path / "first")
    first = Detector.load(tmp_path / "first").record.trained_on
    run, new = tmp_path / "run", tmp_path / "new"
    train(new, changes=TINY, output=run, init_from=tmp_path / "first")
    before, split = Detector.load(run).record, (run / "split.json").read_text()
    assert set(first) <= set(before.trained_on)
    assert set(first) - set(json.loads(split)["train"].values())
    assert not set(first) & set(json.loads(split)["held_out"].values())
    (run / "training.json").unlink()  # as if it had been stopped before the end
    train(new, output=run, resume=True)
    assert (run / "split.json").read_text() == split
    assert Detector.load(run).record.trained_on == before.trained_on


def test_a_collapsed_training_starts_again_once(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, float]] = []

    def collapsed_at_first(report: dict[str, float], network: str) -> str | None:
        asked.append(report)
        return "training collapsed: told so" if len(asked) == 1 else None

    monkeypatch.setattr("ssim_ae.training.train.collapse", collapsed_at_first)
    notes: list[str] = []
    run = train(
        fabric, changes=[*TINY, "choose=false"], output=tmp_path / "run", on_note=notes.append
    )
    assert len(asked) == 2
    assert any("told so; starting again" in note for note in notes)
    assert run.record.settings.learning_rate == pytest.approx(1e-3)
    assert run.record.warnings == []
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [8]


def test_interrupted_after_it_started_again_it_goes_on_as_if_it_had_not_been(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It collapses both times: the second one stands, and is not started a third time."""
    monkeypatch.setattr("ssim_ae.training.train.collapse", lambda *_: "training collapsed")
    changes = [*TINY, "choose=false", "precision=float32", "steps=20"]
    train(fabric, changes=changes, output=tmp_path / "whole")
    seen: list[int] = []

    def stop(line: Progress) -> None:
        seen.append(line.step)
        if seen == [10, 20, 10]:  # in the second training
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="step 10 of 20"):
        train(fabric, changes=changes, output=tmp_path / "run", on_progress=stop)
    notes: list[str] = []
    run = train(fabric, output=tmp_path / "run", resume=True, on_note=notes.append)
    assert not any("starting again" in note for note in notes)
    records = [Detector.load(tmp_path / name).record for name in ("whole", "run")]
    assert records[0].fingerprints["weights"] == records[1].fingerprints["weights"]
    assert run.record.settings.learning_rate == pytest.approx(1e-3)
    assert records[0].settings == records[1].settings


def test_colour_is_found_out(fabric: Path, tmp_path: Path) -> None:
    files = sorted((fabric / "train" / "good").iterdir())
    assert not coloured(files)
    values = np.asarray(Image.open(files[0]).convert("RGB")).copy()
    tinted = tmp_path / "tinted.png"
    Image.fromarray((values * [1.0, 0.97, 0.94]).astype(np.uint8)).save(tinted)
    assert not coloured([tinted])  # a warm lamp is no colour
    values[:40, :40] = [200, 30, 30]
    red = tmp_path / "red.png"
    Image.fromarray(values).save(red)
    assert coloured([files[0], red])


LAMP = np.array([1.03, 1.0, 0.98])


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., bool]:
    """Whether such values, with so much noise in each channel, hold colour."""

    def ask(values: np.ndarray, noise: float = 0.5) -> bool:
        noisy = values + np.random.default_rng(0).normal(0, noise, values.shape)
        Image.fromarray(np.round(noisy).clip(0, 255).astype(np.uint8)).save(tmp_path / "p.png")
        return coloured([tmp_path / "p.png"])

    return ask


@pytest.mark.parametrize("lamp", [np.ones(3), LAMP])
def test_colours_of_faint_pictures_are_faint(
    fabric: Path, told: Callable[..., bool], lamp: np.ndarray
) -> None:
    weave = np.asarray(Image.open(next((fabric / "train" / "good").iterdir())), np.float32)
    faint = np.repeat((128 + (weave[..., None] - 128) / 8), 3, 2)
    assert not told(faint * lamp)
    assert not told(faint * lamp, noise=2)
    faint[:40, :40, 0] += 8  # a twentieth of the pixels is a little red
    assert told(faint * lamp)
    full = np.repeat(128 + (weave[..., None] - weave.mean()) * 2.0, 3, 2)
    full[:40, :40, 0] += 8
    assert not told(full * lamp)  # where contrast is full, so little is no colour


@pytest.mark.parametrize("black", [(2, 2, 2), (1, 2, 1), (2, 3, 2), (8, 9, 8)])
@pytest.mark.parametrize("level", [40, 80])
def test_a_grey_object_on_a_dark_ground_holds_none(
    told: Callable[..., bool], black: tuple[int, ...], level: int
) -> None:
    dark = np.tile(np.array(black, np.float32), (160, 160, 1))
    dark[40:112, 40:112] = level * LAMP**2
    assert not told(dark)
    assert not told(dark[:3, :3])  # too small for a block
    dark[60:90, 60:90, 0] *= 1.25
    assert told(dark)
