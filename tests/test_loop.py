import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ssim_ae.config import Settings
from ssim_ae.config_files import load_settings
from ssim_ae.data.layouts import training_pictures
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.working_size import Preparation
from ssim_ae.errors import InputError, SsimAeError
from ssim_ae.model.network import Autoencoder
from ssim_ae.training import objective
from ssim_ae.training.checkpoint import STATE, read_numbers
from ssim_ae.training.devices import start_accelerator
from ssim_ae.training.held_out import collapse
from ssim_ae.training.loop import Interrupted, fit, learning_rate_at

TINY = ["steps=20", "batch_size=4", "first_layer_channels=2", "latent=4", "resize=null"]


def settings(*changes: str) -> Settings:
    return load_settings("autoencoder", changes=[*TINY, *changes])[0]


def fitted(
    fabric: Path, run: Path, s: Settings, stop_at: int | None = None, resume: bool = False
) -> tuple[Autoencoder, dict[str, Any]]:
    store = PictureStore(
        training_pictures(fabric)[:8], Preparation("grey", None, None), 128, 1 << 30
    )
    torch.manual_seed(s.seed)
    network = Autoencoder(128, 1, s.latent, s.first_layer_channels)

    def on_progress(line: Any) -> None:
        if line.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    run.mkdir(exist_ok=True)
    report = fit(network, store, store, s, run, start_accelerator(s), resume, on_progress)
    return network, report


def equal(a: Autoencoder, b: Autoencoder) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_two_runs_and_an_interrupted_one_are_equal_bit_for_bit(
    fabric: Path, tmp_path: Path
) -> None:
    s = settings()
    whole, report = fitted(fabric, tmp_path / "a", s)
    again, _ = fitted(fabric, tmp_path / "b", s)
    assert equal(whole, again)
    with pytest.raises(Interrupted, match=r"step 10 of 20.*--resume"):
        fitted(fabric, tmp_path / "c", s, stop_at=10)
    resumed, resumed_report = fitted(fabric, tmp_path / "c", s, resume=True)
    assert equal(whole, resumed)
    assert report["loss"] == resumed_report["loss"]
    assert steps(tmp_path / "c") == steps(tmp_path / "a") == [10, 20]
    _, finished = fitted(fabric, tmp_path / "c", s, resume=True)  # nothing left to do
    assert finished["loss"] == report["loss"]
    other, _ = fitted(fabric, tmp_path / "d", settings("seed=1"))
    assert not equal(whole, other)


def test_bf16_trains_with_a_finite_loss(fabric: Path, tmp_path: Path) -> None:
    network, report = fitted(fabric, tmp_path / "a", settings("precision=bf16", "steps=3"))
    plain, plain_report = fitted(fabric, tmp_path / "b", settings("steps=3"))
    assert next(network.parameters()).dtype == torch.float32
    assert not equal(network, plain)  # it does compute in bf16
    assert report["loss"] == pytest.approx(plain_report["loss"], abs=0.02)


def test_weights_that_are_not_finite_are_not_trained(fabric: Path, tmp_path: Path) -> None:
    store = PictureStore(
        training_pictures(fabric)[:2], Preparation("grey", None, None), 128, 1 << 30
    )
    s = settings("steps=2")
    network = Autoencoder(128, 1, s.latent, s.first_layer_channels)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(SsimAeError, match="weights are not finite at step 0"):
        fit(network, store, store, s, tmp_path, start_accelerator(s))


def test_a_last_step_that_spoils_the_weights_stops_the_run(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from ssim_ae.training import loop

    class Endless(torch.autograd.Function):
        """The loss as it is; its gradient is not finite."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * float("inf")

    steps: list[int] = []

    def spoiling(found: Any, batch: Any) -> torch.Tensor:
        steps.append(1)
        loss = objective.loss_of(found, batch)
        return Endless.apply(loss) if len(steps) == 3 else loss

    monkeypatch.setattr(loop, "loss_of", spoiling)
    with pytest.raises(SsimAeError, match="weights are not finite at step 3: lower"):
        fitted(fabric, tmp_path, settings("steps=3"))
    state = load_file(tmp_path / "checkpoints" / "state.safetensors")
    assert all(bool(t.isfinite().all()) for t in state.values())


def test_weights_that_are_not_finite_replace_no_state(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from ssim_ae.training import loop

    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    losses: list[torch.Tensor] = []

    def spoiled(found: Any, batch: Any) -> torch.Tensor:
        losses.append(torch.zeros(()))
        return objective.loss_of(found, batch) * (float("nan") if len(losses) > 3 else 1)

    monkeypatch.setattr(loop, "loss_of", spoiled)
    with pytest.raises(SsimAeError, match="not finite at step 4: lower"):
        fitted(fabric, tmp_path / "a", settings())
    state = load_file(tmp_path / "a" / STATE)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
    assert read_numbers(tmp_path / "a" / STATE)["step"] == 3
    monkeypatch.undo()
    resumed, _ = fitted(fabric, tmp_path / "a", settings(), resume=True)
    assert equal(resumed, fitted(fabric, tmp_path / "b", settings())[0])


def test_a_signal_in_the_last_step_stops_too(fabric: Path, tmp_path: Path) -> None:
    s = settings()
    with pytest.raises(Interrupted, match=r"step 20 of 20.*--resume"):
        fitted(fabric, tmp_path / "a", s, stop_at=20)
    resumed, _ = fitted(fabric, tmp_path / "a", s, resume=True)
    assert equal(resumed, fitted(fabric, tmp_path / "b", s)[0])


def test_learning_rate_schedules() -> None:
    one_cycle = settings("steps=100", "learning_rate=0.1")
    rates = [learning_rate_at(i, one_cycle) for i in range(100)]
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) in (19, 20)
    assert rates[0] == pytest.approx(0.005)
    assert rates[-1] < 1e-4
    assert rates[20:] == sorted(rates[20:], reverse=True)
    constant = settings("schedule=constant")
    assert {learning_rate_at(i, constant) for i in range(20)} == {constant.learning_rate}
    assert learning_rate_at(0, settings("steps=1")) > 0


def test_collapse_is_told() -> None:
    assert collapse({"contrast": 0.9, "held_out_loss": 0.2}, "joint") is None
    flat = {"contrast": 0.02, "held_out_loss": 0.5}
    assert "plain grey" in (collapse(flat, "joint") or "")
    assert "did not fall" in (collapse({"contrast": 0.5, "held_out_loss": 0.95}, "joint") or "")
    assert (collapse(flat, "reference") or "").endswith("or use --preset auto")
    assert "auto" not in (collapse(flat, "joint") or "")  # it is auto, or one of its kind


def test_batch_size_must_divide_among_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s = settings("batch_size=5")
    accelerator = start_accelerator(s)
    monkeypatch.setattr(type(accelerator), "num_processes", property(lambda _: 2))
    with pytest.raises(InputError, match="multiple of 2"):
        start_accelerator(s)


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(InputError, match="fp16 is not to be had on this device"):
        start_accelerator(settings("device=cpu").model_copy(update={"precision": "fp16"}))


def test_clipping_changes_a_training_only_when_set(fabric: Path, tmp_path: Path) -> None:
    plain, _ = fitted(fabric, tmp_path / "a", settings("steps=3", "clip_gradient=none"))
    loose, _ = fitted(fabric, tmp_path / "b", settings("steps=3", "clip_gradient=1000"))
    tight, report = fitted(fabric, tmp_path / "c", settings("steps=3", "clip_gradient=0.001"))
    assert equal(plain, loose)
    assert not equal(plain, tight)
    assert 0 < report["loss"] < 2
