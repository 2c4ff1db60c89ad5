"""From a folder of good pictures to a calibrated detector: split, train, export, calibrate."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch

import ssim_ae
from ssim_ae.config import PLAIN, Settings
from ssim_ae.config_files import load_settings, save_settings
from ssim_ae.data.chroma import coloured
from ssim_ae.data.contrast import stretch_of
from ssim_ae.data.groups import group_names
from ssim_ae.data.patches import draw_patches
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.errors import InputError, PictureError
from ssim_ae.files import require_writable, write_atomically
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.record import Record, write_detector
from ssim_ae.training.allocator import keep_freed_memory
from ssim_ae.training.assemble import count_colors, write_run
from ssim_ae.training.calibrate import calibrated
from ssim_ae.training.checkpoint import STATE, read_numbers
from ssim_ae.training.devices import any_process, has_fast_bf16, start_accelerator
from ssim_ae.training.held_out import collapse
from ssim_ae.training.imagenet import imagenet_weights
from ssim_ae.training.loop import Interrupted, Progress, fit
from ssim_ae.training.pictures import Note, Parts, divide, stores
from ssim_ae.training.run_folder import (
    BEFORE,
    CONFIG,
    DETECTOR,
    OF_DETECTOR,
    OF_TRAINING,
    REPORT,
    SPLIT,
    UNCALIBRATED,
    clear,
    read_split,
    require_free,
    settings_to_resume,
)
from ssim_ae.training.sample import write_sample
from ssim_ae.training.start import new_network, pictures_behind, take_over

CALMER = 3.0  # by how much the learning rate falls when a collapsed training starts again
STRETCHED_BY = 256  # patches that say how faint a data set is


@dataclass
class Run:
    """A finished training: its folder, the detector's record, what the loop reported, lines worth
    showing, pictures that could not be read."""

    folder: Path
    record: Record
    report: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def __fspath__(self) -> str:
        return str(self.folder)


def train(
    dataset: str | Path,
    preset: str | None = None,
    *,
    config: str | Path | None = None,
    changes: Sequence[str | tuple[str, Any]] | Mapping[str, Any] = (),
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    init_from: str | PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Run:
    """Train on a dataset's good pictures and write a calibrated detector.

    Args:
        dataset: folder in one of the layouts of ``data.layouts``.
        preset, config, changes: the settings, see ``config_files.load_settings``.
        output: run folder; ``runs/<dataset's name>`` by default.
        overwrite: replace an existing run; its detector stays until the new one is written.
        resume: continue the run in ``output`` where it stopped, with its own settings.
        init_from: another run, its model.safetensors or a zoo's .ckpt, whose weights to start from.
        on_progress, on_note: called with each line of the log, and with lines worth showing.
        on_phase: called with what comes after the last step, as it begins.

    Raises:
        InputError: bad settings, pictures or folders; found before anything is written.
        Interrupted: Ctrl-C; the run can be resumed.
    """
    if int(os.environ.get("RANK", "0")) > 0:  # of several processes only the first speaks
        on_note, on_progress, on_phase = (lambda _: None), (lambda _: None), (lambda _: None)
    dataset = Path(dataset)
    run = Path(output) if output is not None else Path("runs") / dataset.resolve().name
    if resume:
        settings = settings_to_resume(run)
    else:
        settings, notes = load_settings(preset, config, changes)
        for note in notes:
            on_note(note)
        require_free(run, dataset, overwrite)
    if settings.residual.has("features"):
        imagenet_weights()  # missing or damaged is found now, not after the training
    started = read_split(run) if resume else {}
    before = set(started.get(BEFORE, ())) or pictures_behind(init_from)
    parts = divide(dataset, settings, before, on_note, resume)
    if resume and parts.split != {name: part for name, part in started.items() if name != BEFORE}:
        raise InputError(
            f"{dataset}: its pictures are not those that {run} was started with ({SPLIT} there "
            "lists them): name the same dataset, or start a new run"
        )
    on_note(str(parts))
    settings = _settled(settings, parts)
    store, judge = stores(parts, settings, on_note)
    settings = _stretched(settings, store, resume, on_note)
    store.stretch = judge.stretch = settings.stretch

    keep_freed_memory()
    torch.manual_seed(settings.seed)
    anew = init_from is None and not resume
    network = new_network(settings, on_note if anew else lambda _: None)
    if init_from is not None:
        for line in take_over(network, Path(init_from)):
            on_note(line)
        if not before:
            on_note(f"{init_from}: the pictures behind these weights are unknown: hold out others")
    count_colors(network, store)  # these pictures' colours, whatever weights were taken over
    accelerator = start_accelerator(settings)
    if (processes := accelerator.num_processes) > 1:
        on_note(f"{processes} processes, {settings.batch_size // processes} patches a step each")
    if accelerator.is_main_process:
        if not resume:
            require_free(run, dataset, overwrite)  # again: another one may have begun by now
        if overwrite and not resume:
            clear(run, OF_TRAINING)  # the detector stays until the new one is written
        require_writable(run)
        save_settings(settings, run / CONFIG, ssim_ae.__version__)
        written = {**parts.split, BEFORE: sorted(before)} if before else parts.split
        write_atomically(run / SPLIT, (json.dumps(written, indent=1) + "\n").encode())
    accelerator.wait_for_everyone()
    # the run's config keeps the rate that was asked for; its state knows of the restart
    restarted = resume and bool(read_numbers(run / STATE).get("restarted"))
    calmer = settings.model_copy(update={"learning_rate": settings.learning_rate / CALMER})
    settings = calmer if restarted else settings
    report = fit(network, store, judge, settings, run, accelerator, resume, on_progress, restarted)
    warning = collapse(report, settings.network)
    # the reference presets stay what they are; all processes must decide alike
    again = settings.network == "joint" and not restarted
    if again and any_process(accelerator, warning is not None):
        settings = calmer
        on_note(
            f"{warning}; starting again once, from new weights, at learning_rate "
            f"{settings.learning_rate:.1e}"
        )
        accelerator.free_memory()
        network = new_network(settings)
        count_colors(network, store)
        report = fit(network, store, judge, settings, run, accelerator, False, on_progress, True)
        warning = collapse(report, settings.network)
    if not accelerator.is_main_process:
        return Run(run, Record(version=ssim_ae.__version__, settings=settings, reach=0), report)

    if warning:
        on_note(warning)
    seen_by = {
        "trained_on": sorted({*parts.split["train"].values(), *before}),
        "chosen_on": sorted(parts.split.get("chosen_on", {}).values()),
    }
    try:
        network = network.cpu().eval()
        groups = group_names(parts.train, parts.group)
        kind = write_run(network, settings, store, judge, groups, run, seen_by, warning, on_phase)
        on_phase("calibrating")
        record, notes = _calibrate(run, parts, settings)
        for note in notes:
            on_note(note)
        report |= {"color": settings.color, "kind": kind}
        body = json.dumps(report, indent=1, allow_nan=False) + "\n"
        write_atomically(run / REPORT, body.encode())
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped after the last step, before the detector was ready: finish it with "
            f"`ssim-ae train DATASET --output {run} --resume`"
        ) from None
    return Run(run, record, report, notes, parts.unreadable)


def _settled(settings: Settings, parts: Parts) -> Settings:
    """Colour and precision, where they are left to the pictures and the machine.

    Raises:
        InputError: a picture cannot be read.
    """
    found = {}
    if settings.color == "auto":
        try:
            found["color"] = "rgb" if coloured(parts.train) else "grey"
        except PictureError as error:
            raise InputError(str(error)) from None
    if settings.precision == "auto":
        found["precision"] = "bf16" if has_fast_bf16(settings.device) else "float32"
    return settings.model_copy(update=found)


def _stretched(settings: Settings, store: PictureStore, resumed: bool, on_note: Note) -> Settings:
    """With the range that good pictures have and the gain that faint ones need, unless given."""
    given = settings.stretch
    if given is not None and isinstance(given.level, list) and settings.color == "grey":
        raise InputError("stretch.level has three values, but grey pictures one: give one")
    if settings.contrast != "auto":
        return settings
    if given is not None:
        if not resumed:
            on_note("stretch is given, so these pictures' own range is not looked at")
        return settings
    found = stretch_of(draw_patches(store, STRETCHED_BY, settings.tile, PLAIN, settings.seed))
    if found.gain > 1:
        on_note(f"faint pictures: contrast is raised {found.gain:.1f} times, inside the detector")
    return settings.model_copy(update={"stretch": found})


def _calibrate(run: Path, parts: Parts, settings: Settings) -> tuple[Record, list[str]]:
    """The run's detector, now with thresholds, and the pictures that exports are compared on.

    What was there before is replaced only now, so that there is a detector at any time.
    """
    detector = Detector.load(run / UNCALIBRATED)
    groups = group_names(parts.held_out, parts.group)
    record, notes = calibrated(
        detector, parts.held_out, groups, settings.false_reject_rate, "held out of training"
    )
    clear(run, OF_DETECTOR)
    write_detector(detector.file.read_bytes(), record, run / DETECTOR)
    detector.file.unlink()
    write_sample(parts.held_out, record.preparation, run, settings.seed)
    return record, notes
