"""The benchmark scripts run on generated pictures, so that they do not rot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ablation
import in_turn
import inspect_latency
import preset_choice
import quality
import shared_machine
import start_and_memory
import time_to_quality
import train_step
from ssim_ae import Detector, evaluate
from ssim_ae.config_files import resolved_settings, save_settings
from ssim_ae.data.synthetic import make_dataset
from ssim_ae.model.findings import Findings
from ssim_ae.model.ssim import ssim_loss
from ssim_ae.training import loop, objective
from ssim_ae.training.choose import GRID
from tables import DOCUMENTS, with_tables

pytestmark = pytest.mark.e2e
SCRIPTS = Path(__file__).parents[1] / "benchmarks"


LAYOUTS = {"texture_1": "woven", "texture_2": "woven", "metal_nut": "mvtec", "cable": "mvtec"}
SMALL = ["first_layer_channels=2", "latent=4", "batch_size=2"]


def reference(tmp_path: Path, names: list[str], *words: str) -> dict[str, Any]:
    data = tmp_path / "data"
    for name in names:
        layout = LAYOUTS[name]
        make_dataset(data / name, train=24, good=2, per_defect=1, size=(266, 266), layout=layout)
    changes = [x for s in SMALL for x in ("--set", s)]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "reference.py", "--data", data, "--work", tmp_path / "runs",
         "--json", *changes, *words],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["sets"]
    return found


def test_reference_runs_on_the_zoo_s_layouts(tmp_path: Path) -> None:
    sets = reference(tmp_path, list(LAYOUTS), "--set", "steps=2")
    assert set(sets) == set(LAYOUTS)
    for result in sets.values():
        assert set(result["by_the_zoo_s_rule"]) == {"pixel_auc", "ok", "nok", "acc"}
        assert 0 <= result["by_ours"]["pixel_auroc"] <= 1
    assert sets["metal_nut"]["published"]["acc"] == 0.741


def test_an_epoch_is_what_it_is_in_the_zoo(tmp_path: Path) -> None:
    sets = reference(tmp_path, ["texture_1"], "--epochs", "1")
    assert sets["texture_1"]["training"]["steps"] == 10000 // 128


def test_reference_says_which_folders_it_wants(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "reference.py", "--data", tmp_path],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "texture_1, texture_2, metal_nut, cable" in done.stderr


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.stem)
def test_tables_are_the_committed_results(file: Path) -> None:
    text = file.read_text()
    assert with_tables(text) == text, "run python benchmarks/tables.py"


def test_train_step_measures_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step, "ROUNDS", 1)
    monkeypatch.setattr(train_step, "PATIENCE", 0)
    found = train_step.compare(128, 1, 4, 32, ["ours", "plain", "bf16"])
    assert 0 < found["fraction_of_roof"] < 2
    # 0.7234 for d = 100; a latent less saves 2 * 2048 FLOP in two layers, forward and twice back
    assert found["gflop_per_patch"] == pytest.approx(0.7234 - 96 * 2 * 2048 * 6 / 1e9, abs=1e-4)
    for other in ("plain", "bf16"):
        assert found[f"{other}_patches_per_second"] > 0
        assert found[f"speedup_over_{other}"] > 0


def test_a_timing_is_taken_anew_when_the_cores_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = iter([False, True, False, True, True, True, True])  # waits, times, times anew; times
    monkeypatch.setattr(in_turn, "cores_share_a_cache", lambda: next(shared))
    monkeypatch.setattr(in_turn.time, "sleep", lambda seconds: None)
    calls: list[str] = []
    ms, cores = in_turn.in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=1
    )
    assert calls == ["a", "a", "a", "a", "b", "b"]  # each once unmeasured, once measured
    assert ms.keys() == {"a", "b"}
    assert cores == {"timings": 2, "on_one_cache": 2}


def test_timings_are_taken_as_they_come_when_the_cores_never_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_turn, "cores_share_a_cache", lambda: False)
    monkeypatch.setattr(in_turn, "PATIENCE", 0)
    _, cores = in_turn.in_turn({"a": lambda: None}, rounds=2)
    assert cores == {"timings": 2, "on_one_cache": 0}
    _, cores = in_turn.in_turn({"a": lambda: None}, rounds=2, one_cache=False)
    assert cores == {"timings": 2, "on_two_caches": 2}


def test_one_thread_shares_a_cache_with_itself() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert in_turn.cores_share_a_cache(repeats=1)
    finally:
        torch.set_num_threads(threads)


def test_trainings_at_once_are_separate_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dataset(tmp_path, train=8, good=0, per_defect=0)
    monkeypatch.setattr(shared_machine, "SECONDS", 0.1)
    speeds = shared_machine.trainings(tmp_path, 2, shared_machine.WAYS["sleeping"])
    assert len(speeds) == 2
    assert min(speeds) > 0


def test_a_training_is_close_to_one_ten_times_as_long() -> None:
    points = [(10, 0.80), (20, 0.896), (100, 0.90), (200, 0.9), (400, 0.93)]
    curve = [{"steps": s, "seconds": s / 10, "pixel_auroc": a} for s, a in points]
    found = time_to_quality.summary(curve)
    assert found["close_to_ten_times_as_long"] == curve[1]  # 10 is far below 100
    assert found["that_training"] == curve[3]
    assert found["longest"] == curve[4]
    assert time_to_quality.summary(curve[:2])["close_to_ten_times_as_long"] is None


def test_the_memory_of_a_command_is_its_own() -> None:
    code = ("-c", "import sys; block = bytearray(int(sys.argv[1]) << 20)")
    small, large = (
        start_and_memory.command(n, python=code)["peak_mib"] for n in (1, 200)
    )  # fmt: skip
    assert small < 60
    assert 180 < large - small < 220


def test_engines_and_the_plain_network_find_the_same(
    run: Path, fabric: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_turn, "REST", 0.0)
    monkeypatch.setattr(in_turn, "PATIENCE", 0)
    picture = inspect_latency.first_picture(run, fabric)
    found = inspect_latency.latency(run, picture, 2)
    half = inspect_latency.bf16()  # where the processor has it
    assert set(found["ms"]) == {
        "torch_plain", "torch_eager", "torch_channels_last", "onnxruntime", "openvino", *half
    }  # fmt: skip
    difference = found["largest_difference_of_the_map"]
    assert max(d for name, d in difference.items() if name not in half) < 1e-4
    assert all(1e-4 < difference[name] < 0.5 for name in half)
    for yardstick in ("torch_plain", "torch_eager"):
        assert found[f"times_faster_than_{yardstick}"][yardstick] == 1


def test_residuals_are_compared_on_one_trained_network(run: Path, fabric: Path) -> None:
    found = preset_choice.by_residual(run, fabric)
    assert list(found) == list(preset_choice.RESIDUALS)
    assert len({row["pixel_auroc"] for row in found.values()}) == len(found)
    record = Detector.load(run).record
    (term,) = record.settings.residual.terms
    shipped = evaluate(run, fabric).metrics  # the preset's own residual, by the exported graph
    assert found[f"ssim, sigma {term.sigma:g}"]["pixel_auroc"] == pytest.approx(
        shipped["pixel_auroc"], abs=2e-3
    )


def test_quality_ranks_what_was_shipped(tmp_path: Path) -> None:
    make_dataset(tmp_path / "set", train=30, good=3, per_defect=1, size=(160, 160))
    tiny = ["first_layer_channels=4", "latent=8", "steps=8", "batch_size=4", "resize=none"]
    options = [x for s in [*tiny, "precision=float32"] for x in ("--set", s)]
    row = quality.measure("set", options, tmp_path, tmp_path / "run")
    assert row["chosen"]["chosen"]
    assert (tmp_path / "run" / "evaluation" / "maps" / "set" / "test").is_dir()
    candidates, parts = quality.true_results(tmp_path / "run", tmp_path / "set")
    memory = "memory" in row["chosen"]["weights"]
    assert len(candidates) == len(GRID) // (1 if memory else 2)
    (chosen,) = (c for c in candidates if c["chosen"])
    # recomputed from weights and the choice's table, it is the exported detector
    for key, value in chosen["test"].items():
        assert value == pytest.approx(row["metrics"][key], abs=2e-3)
    (usual,) = (c for c in candidates if c["usual"])
    alone = quality.filters_alone(tmp_path / "run", tmp_path / "set")
    control = row["metrics"]["baselines"]["no_model"]
    assert alone.keys() == control.keys()
    assert alone != control
    assert all(value > 0.5 for value in alone.values())  # of what is that easily seen
    assert set(parts) == {"surround", "smoothed", "clipped"}
    for found in parts.values():
        assert found["with"] == usual["test"] != found["without"]
    # from the last state, once the preset says something else of the maps, the same comes out
    run = tmp_path / "run"
    assert quality.is_finished(run, row)
    settings = resolved_settings(run / "config.yaml")
    other = settings.residual.model_copy(update={"surround": None})
    save_settings(settings.model_copy(update={"residual": other}), run / "config.yaml", "0")
    assert not quality.is_finished(run, row)
    again = quality.finished_again("set", row, tmp_path, run)
    assert quality.is_finished(run, again)
    assert not quality.is_finished(run, {"metrics": {"detector_sha256": "another"}})
    for key in ("command", "seconds", "steps", "precision", "chosen"):
        assert again[key] == row[key]
    for key in ("pixel_auroc", "aupro_30", "image_auroc", "at_threshold", "baselines"):
        assert again["metrics"][key] == row["metrics"][key]


def test_ranks_are_of_the_default_trainings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--precision", "float32"], ["--steps", "280"], ["--finish"]):
        monkeypatch.setattr(sys, "argv", ["quality.py", "--ranks", *option])
        with pytest.raises(SystemExit):
            quality.main()
        assert "--ranks and --latency are of the default trainings" in capsys.readouterr().err


def test_an_attached_head_changes_the_decoder_s_gradient_alone() -> None:
    torch.manual_seed(0)
    attached = ablation.Attached(1, 4, 2).train()
    attached(torch.rand(2, 1, 64, 64)).logit.sum().backward()
    assert all(p.grad is not None for p in attached.decode.parameters())


def test_without_denoising_the_target_is_what_is_shown() -> None:
    torch.manual_seed(0)
    shown, clean, label = (
        torch.rand(2, 1, 64, 64),
        torch.rand(2, 1, 64, 64),
        torch.zeros(2, 1, 64, 64),
    )
    found = Findings(shown, torch.full((2, 1, 32, 32), -20.0))
    batch = objective.Batch(shown, clean, label)
    usual = float(loop.loss_of(found, batch))
    with ablation.replaced(ablation.VARIANTS["no denoising"]):
        against_shown = float(loop.loss_of(found, batch))
    assert usual - against_shown == pytest.approx(float(ssim_loss(shown, clean)), abs=1e-5)
    assert float(loop.loss_of(found, batch)) == usual
