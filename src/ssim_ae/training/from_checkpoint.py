"""A run made of a zoo checkpoint, without training: graph and weights, thresholds still missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ssim_ae
from ssim_ae.config_files import load_settings, save_settings
from ssim_ae.deploy.mindspore_checkpoint import read_checkpoint
from ssim_ae.deploy.zoo_weights import load_zoo_weights, settings_of
from ssim_ae.errors import InputError
from ssim_ae.files import require_writable
from ssim_ae.model.build import network_of
from ssim_ae.model.network import Autoencoder
from ssim_ae.training.assemble import write_files

UNKNOWN = (
    "pictures that these weights were trained on are unknown here: calibrate on others, or the "
    "promised false-reject rate does not hold"
)


def run_from_checkpoint(
    checkpoint: Path,
    run: Path,
    config: str | Path | None = None,
    changes: Sequence[str | tuple[str, Any]] = (),
) -> list[str]:
    """Write a run folder around the weights of a zoo checkpoint; returns lines worth showing.

    The network's shape is read off the checkpoint; everything else comes from ``config`` (ours or
    the zoo's keys), by default from the reference preset of that tile size. Without training
    pictures the zoo's percentile thresholds are unknown, so its rule is left out and the residuals
    keep scale 1; `ssim-ae calibrate` then sets the thresholds.

    Raises:
        InputError: no zoo checkpoint, settings that contradict it, or a run that exists.
    """
    tensors = read_checkpoint(checkpoint)
    try:
        shape = settings_of(tensors)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from None
    preset = None
    if config is None:
        preset = "reference-texture" if shape["tile"] == 128 else "reference-object"
    color = "grey" if shape.pop("channels") == 1 else "rgb"
    own: dict[str, Any] = {**shape, "color": color, "zoo": None}
    settings, notes = load_settings(preset, config, [*own.items(), *changes])
    if run.exists():
        raise InputError(f"{run}: exists already: choose another --output")
    network = network_of(settings)
    if not isinstance(network, Autoencoder):
        raise InputError(f"{checkpoint}: holds the reference network: set network=reference")
    ignored = load_zoo_weights(network, tensors)
    if ignored:
        notes.append(f"{checkpoint}: {len(ignored)} entries that are no weights left out")
    require_writable(run.parent)
    nothing: dict[str, list[str]] = {"trained_on": [], "chosen_on": []}
    residual = settings.residual
    with TemporaryDirectory(dir=run.parent, prefix=".made-") as scratch:  # a whole run, or none
        made = Path(scratch) / "run"
        save_settings(settings, made / "config.yaml", ssim_ae.__version__)
        write_files(network.eval(), settings, residual, residual, made, nothing, UNKNOWN)
        made.replace(run)
    return [*notes, UNKNOWN, f"thresholds are missing: ssim-ae calibrate {run} GOOD_PICTURES"]
