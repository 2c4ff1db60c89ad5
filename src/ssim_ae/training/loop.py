"""The training loop: patches, network, loss, AdamW; an interrupted one can be resumed."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ssim_ae.config import Settings
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.errors import SsimAeError
from ssim_ae.files import write_atomically, writing
from ssim_ae.model.findings import findings
from ssim_ae.training.checkpoint import STATE, load_state, save_state
from ssim_ae.training.devices import any_process
from ssim_ae.training.held_out import held_out_report
from ssim_ae.training.objective import Batches, loss_of

if TYPE_CHECKING:
    from accelerate import Accelerator

LOG_EVERY = 10  # steps
CHECKPOINT_EVERY = 60.0  # seconds


@dataclass(frozen=True)
class Progress:
    """One line of the log: loss and speed over the steps since the line before."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    patches_per_second: float
    seconds: float


class Interrupted(SsimAeError):
    """Stopped by Ctrl-C or SIGTERM; the run can be resumed."""


def learning_rate_at(step: int, settings: Settings) -> float:
    """Learning rate of a step: constant, or one cycle (linear up over 20 %, cosine down to 0)."""
    if settings.schedule == "constant":
        return settings.learning_rate
    rise = max(1, round(0.2 * settings.steps))
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, settings.steps - rise)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2


def fit(
    network: nn.Module,
    store: PictureStore | Batches,
    held_out: PictureStore,
    settings: Settings,
    run: Path,
    accelerator: Accelerator,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    restarted: bool = False,
) -> dict[str, Any]:
    """Train ``network`` in place for ``settings.steps`` steps.

    ``store`` are the pictures, or what draws batches of its own (benchmarks/pretraining);
    ``restarted``: after a collapse, which the state remembers.
    Writes ``log.jsonl`` and a resumable state under ``run``. With several processes each takes
    its share of every batch. Returns steps, seconds, patches per second, final and held-out loss,
    contrast (see ``held_out_report``).

    Raises:
        Interrupted: Ctrl-C; the state has been written.
        SsimAeError: loss or weights are not finite.
    """
    main, world = accelerator.is_main_process, accelerator.num_processes
    convert_conv2d_weight_memory_format(network, torch.channels_last)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    start, seconds, loss_now = 0, 0.0, math.nan
    if resume:
        numbers = load_state(network, optimizer, run / STATE)
        start, seconds = int(numbers["step"]), float(numbers["seconds"])
        loss_now = float(numbers["loss"]) if numbers["loss"] is not None else math.nan
        if accelerator.scaler is not None and numbers["scaler"]:
            accelerator.scaler.load_state_dict(numbers["scaler"])
    prepared, optimizer = accelerator.prepare(network, optimizer)
    share = settings.batch_size // world
    batches = store if isinstance(store, Batches) else Batches(store, settings)

    def save(step: int, elapsed: float) -> None:
        if main:
            if not all(bool(p.isfinite().all()) for p in network.parameters()):
                raise not_finite("weights are", step)  # the step after this loss spoilt them
            numbers = {
                "step": step,
                "seconds": elapsed,
                "loss": loss_now if math.isfinite(loss_now) else None,
                "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
                "restarted": restarted,
            }
            save_state(accelerator.unwrap_model(prepared), optimizer, numbers, run / STATE)

    def mean_loss(step: int) -> float:
        """Since the line before; weights that are not finite must not replace a saved state."""
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise not_finite("loss is", step)
        return mean

    def not_finite(what: str, step: int) -> SsimAeError:
        return SsimAeError(
            f"the {what} not finite at step {step}: lower learning_rate "
            f"({settings.learning_rate}) or set precision=float32"
        )

    if not resume:
        save(0, 0.0)  # killed before the first state is due, the run can be resumed all the same
    began = last_saved = last_logged = time.monotonic()
    losses: list[Tensor] = []
    if main:
        _keep_log(run / "log.jsonl", start)
    network.train()
    with _interrupt() as interrupted:
        for step in range(start, settings.steps):
            rate = learning_rate_at(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = batches.draw(step, accelerator.process_index, share).to(accelerator.device)
            with accelerator.autocast():
                found = findings(prepared(batch.shown))
            loss = loss_of(found, batch)
            optimizer.zero_grad()
            accelerator.backward(loss)
            if settings.clip_gradient is not None:
                accelerator.clip_grad_norm_(prepared.parameters(), settings.clip_gradient)
            optimizer.step()
            losses.append(loss.detach())
            now = time.monotonic()
            if len(losses) == LOG_EVERY or step + 1 == settings.steps:
                loss_now = mean_loss(step + 1)
                speed = len(losses) * settings.batch_size / max(1e-9, now - last_logged)
                line = Progress(
                    step + 1, settings.steps, loss_now, rate, speed, seconds + now - began
                )
                if main:
                    _log(run / "log.jsonl", line)
                    on_progress(line)
                losses.clear()
                last_logged = now
            # several processes must agree, so they ask each other, at every log line
            stop = (
                interrupted()
                if world == 1
                else not losses and any_process(accelerator, interrupted())
            )
            due = now - last_saved > CHECKPOINT_EVERY
            if losses and (stop or due):
                mean_loss(step + 1)
            if stop:
                save(step + 1, seconds + now - began)
                raise Interrupted(
                    f"stopped after step {step + 1} of {settings.steps}: continue with "
                    f"`ssim-ae train DATASET --output {run} --resume`"
                )
            if due:
                save(step + 1, seconds + now - began)
                last_saved = time.monotonic()
    elapsed = seconds + time.monotonic() - began
    save(settings.steps, elapsed)
    # takes autocast off the network again: what is exported computes in float32
    trained = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
    report = held_out_report(trained, held_out, settings)
    return {
        "steps": settings.steps,
        "seconds": round(elapsed, 2),
        "patches_per_second": round(settings.steps * settings.batch_size / max(elapsed, 1e-9), 2),
        "loss": loss_now,
        **report,
    }


def _keep_log(file: Path, start: int) -> None:
    """Keep the log's whole lines up to step ``start``; a new run starts empty."""
    kept = []
    if start and file.exists():
        for line in file.read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError):  # cut off by a crash
                if json.loads(line)["step"] <= start:
                    kept.append(line)
    write_atomically(file, "".join(f"{line}\n" for line in kept).encode())


def _log(file: Path, line: Progress) -> None:
    with writing(file), file.open("a") as stream:
        stream.write(json.dumps(line.__dict__) + "\n")


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM ends the training after the step it falls into; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
