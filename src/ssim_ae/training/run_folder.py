"""The run folder: whether a training may write there, what can be resumed, what goes when."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ssim_ae.config import Settings
from ssim_ae.config_files import HEADER, resolved_settings
from ssim_ae.errors import InputError
from ssim_ae.training.checkpoint import STATE

CONFIG, SPLIT, REPORT = "config.yaml", "split.json", "training.json"
DETECTOR = "detector.onnx"
UNCALIBRATED = "uncalibrated.onnx"  # the new detector, until it has thresholds
BEFORE = "before"  # in SPLIT: fingerprints of what the weights that were taken over have seen
OF_TRAINING = ("checkpoints", "log.jsonl", "choice.json", REPORT, UNCALIBRATED)
# of the detector that was there before: measured, exported, compared with
OF_DETECTOR = ("evaluation", "exports", "sample")


def require_free(run: Path, dataset: Path, overwrite: bool) -> None:
    """Refuse what is there already, and what is no run of ours.

    Raises:
        InputError: a file, a folder with something else in it, a run without ``overwrite``, or one
            that holds the dataset.
    """
    if not run.exists():
        return
    if not run.is_dir():
        raise InputError(f"{run}: is a file: choose another --output")
    if not any(run.iterdir()):
        return
    if not _is_run(run):
        raise InputError(f"{run}: is not empty and no run: choose another --output")
    if not overwrite:
        raise InputError(
            f"{run}: holds a run already: choose another --output, or --overwrite, or --resume"
        )
    if dataset.resolve().is_relative_to(run.resolve()):
        raise InputError(f"{dataset}: lies inside {run}, to be replaced: choose another --output")


def settings_to_resume(run: Path) -> Settings:
    """The settings of an unfinished run.

    Raises:
        InputError: no run, a finished one, or one without a saved state.
    """
    if not (run / CONFIG).is_file() or not (run / STATE).is_file():
        raise InputError(f"{run}: nothing to resume there: train without --resume")
    settings = resolved_settings(run / CONFIG)
    report = run / REPORT
    if report.is_file() and _read_json(report).get("steps", 0) >= settings.steps:
        raise InputError(
            f"{run}: is finished, all {settings.steps} steps: train anew with --overwrite, or "
            f"raise steps in its {CONFIG}"
        )
    return settings


def read_split(run: Path) -> dict[str, Any]:
    """Which pictures a run uses for what: part -> file name -> fingerprint; and what the weights
    that it began with have seen.

    Raises:
        InputError: missing or damaged.
    """
    split = _read_json(run / SPLIT)
    if not isinstance(split.get("train"), dict):
        raise InputError(f"{run / SPLIT}: lists no pictures: train anew with --overwrite")
    return split


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}): train anew with --overwrite") from None
    return content if isinstance(content, dict) else {}


def clear(run: Path, names: tuple[str, ...]) -> None:
    """Remove these files and folders of a run, and nothing else."""
    for name in names:
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        else:
            (run / name).unlink(missing_ok=True)


def _is_run(run: Path) -> bool:
    try:
        with (run / CONFIG).open(encoding="utf-8") as stream:
            return stream.read(len(HEADER)) == HEADER
    except (OSError, ValueError):
        return False
