"""From a folder of good pictures to a calibrated detector: split, train, export, calibrate."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

import ssim_ae
from ssim_ae.config import ResidualSettings, Settings, load_settings, save_settings
from ssim_ae.data.images import Preparation, coloured
from ssim_ae.data.layouts import training_pictures
from ssim_ae.data.patches import PictureStore
from ssim_ae.data.split import group_names, hold_out
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.errors import InputError
from ssim_ae.files import require_writable, write_atomically
from ssim_ae.model.inspector import Inspector, MedianGrey
from ssim_ae.model.joint import JointNetwork, WholePicture
from ssim_ae.model.network import Autoencoder, initialize
from ssim_ae.model.residuals import Residual
from ssim_ae.model.tiling import BlendedFeatures, TiledReconstruction
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.record import (
    Record,
    picture_fingerprint,
    sha256,
    write_detector,
)
from ssim_ae.training.allocator import keep_freed_memory
from ssim_ae.training.calibrate import calibrated
from ssim_ae.training.checkpoint import STATE, WEIGHTS, load_weights, save_weights
from ssim_ae.training.choose import choose, normalised
from ssim_ae.training.loop import Progress, collapse, fit, has_fast_bf16, start_accelerator
from ssim_ae.training.zoo_thresholds import zoo_scales

CALMER = 3.0  # by how much the learning rate falls when a collapsed training starts again
CHOSEN_ON = 0.12  # share of the pictures left for training
# what the control without a model is measured with: the filters beside the head
CONTROL = ResidualSettings.model_validate(
    {"terms": [{"kind": "gradient", "sigma": 3}, {"kind": "band", "sigma": 2}]}
)
SPLIT = "split.json"  # which pictures were trained on, which held out


@dataclass
class Run:
    """A finished training: its folder, the detector's record, what the loop reported."""

    folder: Path
    record: Record
    report: dict[str, Any]
    notes: list[str] = field(default_factory=list)

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
    init_from: str | Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Run:
    """Train on a dataset's good pictures and write a calibrated detector.

    Args:
        dataset: folder in one of the layouts of ``data.layouts``.
        preset, config, changes: the settings, see ``config.load_settings``.
        output: run folder; ``runs/<dataset's name>`` by default.
        overwrite: replace an existing run.
        resume: continue the run in ``output`` where it stopped, with its own settings.
        init_from: another run, or its model.safetensors, whose weights to start from.
        on_progress, on_note: called with each line of the log, and with lines worth showing.

    Raises:
        InputError: bad settings, pictures or folders; found before anything is written.
        Interrupted: Ctrl-C; the run can be resumed.
    """
    if int(os.environ.get("RANK", "0")) > 0:  # of several processes only the first speaks
        on_note, on_progress = (lambda _: None), (lambda _: None)
    dataset = Path(dataset)
    run = Path(output) if output is not None else Path("runs") / dataset.resolve().name
    if resume:
        settings = _settings_of(run)
    else:
        settings, notes = load_settings(preset, config, changes)
        for note in notes:
            on_note(note)
        _require_free(run, overwrite)
    files = training_pictures(dataset)
    groups = group_names(files, settings.group)
    before = _trained_by(init_from)
    seen = {f for f in files if before and picture_fingerprint(f) in before}
    train_files, held_files = hold_out(
        files, settings.held_out, settings.false_reject_rate, groups, settings.seed, seen
    )
    parts = {"train": train_files, "held_out": held_files}
    if settings.network == "joint":  # a third part says what good maps are like
        rest = group_names(train_files, settings.group)
        parts["train"], parts["chosen_on"] = hold_out(
            train_files, CHOSEN_ON, 0.5, rest, settings.seed, seen
        )
    split = {name: {f.name: picture_fingerprint(f) for f in part} for name, part in parts.items()}
    if resume and split != json.loads((run / SPLIT).read_text()):
        raise InputError(
            f"{dataset}: its pictures are not those that {run} was started with ({SPLIT} there "
            "lists them): name the same dataset, or start a new run"
        )
    on_note(
        f"{len(files)} good pictures: training on {len(parts['train'])}, "
        f"{len(held_files)} held out for the thresholds"
        + (f", {len(parts['chosen_on'])} for the maps' weights" if "chosen_on" in parts else "")
    )
    if settings.color == "auto":
        color = "rgb" if coloured(parts["train"]) else "grey"
        settings = settings.model_copy(update={"color": color})
    if settings.precision == "auto":
        precision = "bf16" if has_fast_bf16(settings.device) else "float32"
        settings = settings.model_copy(update={"precision": precision})
    # patches come from the whole picture; the centre crop is for inspection
    preparation = Preparation(settings.color, settings.resize, None)
    memory = psutil.virtual_memory().available // 2
    store = PictureStore(parts["train"], preparation, settings.tile, memory)
    if not store.in_memory:
        on_note(
            f"the pictures take {store.bytes / 2**30:.1f} GiB, over half of the free memory: "
            "they are decoded anew for every batch, which is slower"
        )
    watched = parts.get("chosen_on", held_files)
    held_out = PictureStore(watched, preparation, settings.tile, memory // 4)

    keep_freed_memory()
    torch.manual_seed(settings.seed)
    network = network_of(settings)
    if init_from is not None:
        source = Path(init_from)
        for layer in load_weights(network, source / WEIGHTS if source.is_dir() else source):
            on_note(f"layer starts anew, it does not fit: {layer}")
    count_colors(network, store)  # these pictures' colours, whatever weights were taken over
    accelerator = start_accelerator(settings)
    if accelerator.is_main_process:
        if overwrite and not resume:
            _remove(run)
        require_writable(run)
        save_settings(settings, run / "config.yaml", ssim_ae.__version__)
        write_atomically(run / SPLIT, (json.dumps(split, indent=1) + "\n").encode())
    accelerator.wait_for_everyone()
    report = fit(network, store, held_out, settings, run, accelerator, resume, on_progress)
    warning = collapse(report)
    if warning and settings.network == "joint":  # the reference presets stay what they are
        rate = settings.learning_rate / CALMER
        on_note(f"{warning}; starting again once with learning_rate {rate:.1e}")
        settings = settings.model_copy(update={"learning_rate": rate})
        if accelerator.is_main_process:
            save_settings(settings, run / "config.yaml", ssim_ae.__version__)
        network = network_of(settings)
        count_colors(network, store)
        report = fit(network, store, held_out, settings, run, accelerator, False, on_progress)
        warning = collapse(report)
    if not accelerator.is_main_process:
        return Run(run, Record(version=ssim_ae.__version__, settings=settings, reach=0), report)

    if warning:
        on_note(warning)
    trained = sorted({*split["train"].values(), *before})
    record = _write_run(network.cpu().eval(), settings, store, held_out, run, trained, warning)
    detector = Detector.load(run)
    held_groups = group_names(held_files, settings.group)
    record, notes = calibrated(
        detector, held_files, held_groups, settings.false_reject_rate, "held out of training"
    )
    write_detector(detector.file.read_bytes(), record, detector.file)
    for note in notes:
        on_note(note)
    write_atomically(
        run / "training.json", (json.dumps(report, indent=1, allow_nan=False) + "\n").encode()
    )
    return Run(run, record, report, notes)


def network_of(settings: Settings) -> nn.Module:
    """The network of the settings, its weights not yet trained."""
    channels, latent, width = settings.channels, settings.latent, settings.first_layer_channels
    if settings.network == "joint":
        return JointNetwork(channels, latent, width)
    network = Autoencoder(settings.tile, channels, latent, width)
    initialize(network, settings.initialization)
    return network


@torch.inference_mode()
def count_colors(network: nn.Module, store: PictureStore) -> None:
    """Count the colours of all training pictures, for a network that wants to know them."""
    if not isinstance(network, JointNetwork):
        return
    counts = torch.zeros(network.colors.rarity.numel(), dtype=torch.float64)
    for index in range(len(store)):
        pictures, where = store.take(torch.tensor([index]))
        counts += network.colors.counted(Inspector.picture(pictures[where]))
    network.colors.settle(counts)


def on_whole_pictures(network: nn.Module, settings: Settings) -> nn.Module:
    """A trained network as a module that takes pictures of any size."""
    if isinstance(network, JointNetwork):
        return WholePicture(network)
    assert isinstance(network, Autoencoder)
    if settings.blend == "features":
        return BlendedFeatures(network, settings.stride)
    return TiledReconstruction(network, settings.tile, settings.stride)


def inspector_of(network: nn.Module, settings: Settings) -> Inspector:
    """The one inspection graph of a trained network."""
    return Inspector(on_whole_pictures(network, settings), Residual(settings.residual)).eval()


def _write_run(
    network: nn.Module,
    settings: Settings,
    store: PictureStore,
    held_out: PictureStore,
    run: Path,
    trained: list[str],
    warning: str | None,
) -> Record:
    """Weights, exported graph and the control without a model; thresholds still missing."""
    residual = control = settings.residual
    whole = on_whole_pictures(network, settings)
    if settings.zoo is not None:
        inspector = Inspector(whole, Residual(residual)).eval()
        residual = control = zoo_scales(inspector, residual, settings.zoo, store)
    if settings.network == "joint":
        control = normalised(MedianGrey(), CONTROL, held_out)
        residual = normalised(whole, residual, held_out)
        if settings.choose:
            all_terms = residual.model_dump()
            residual, table = choose(whole, residual, held_out, settings.seed)
            choice = {"residual": all_terms, "candidates": table}
            body = json.dumps(choice, indent=1, allow_nan=False) + "\n"
            write_atomically(run / "choice.json", body.encode())
    settings = settings.model_copy(update={"residual": residual})
    inspector = inspector_of(network, settings)
    save_weights(network, run / WEIGHTS)
    record = Record(
        version=ssim_ae.__version__,
        settings=settings,
        reach=inspector.reach,
        fingerprints={
            "data": sha256("".join(trained).encode()),
            "weights": sha256((run / WEIGHTS).read_bytes()),
        },
        trained_on=trained,
        warnings=[warning] if warning else [],
    )
    graph = graph_bytes(inspector, settings.channels, settings.tile)
    write_detector(graph, record, run / "detector.onnx")
    graph = graph_bytes(
        Inspector(MedianGrey(), Residual(control)).eval(), settings.channels, settings.tile
    )
    write_detector(graph, record.model_copy(update={"trained_on": []}), run / "no_model.onnx")
    return record


def _trained_by(init_from: str | Path | None) -> set[str]:
    """Fingerprints of the pictures behind the weights that are taken over."""
    if init_from is None:
        return set()
    folder = Path(init_from) if Path(init_from).is_dir() else Path(init_from).parent
    if not (folder / "detector.onnx").is_file():
        return set()
    return set(Detector.load(folder).record.trained_on)


def _settings_of(run: Path) -> Settings:
    if not (run / "config.yaml").is_file() or not (run / STATE).is_file():
        raise InputError(f"{run}: nothing to resume there: train without --resume")
    settings, _ = load_settings(file=run / "config.yaml")
    return settings


def _require_free(run: Path, overwrite: bool) -> None:
    if not run.exists():
        return
    if not run.is_dir():
        raise InputError(f"{run}: is a file: choose another --output")
    if not any(run.iterdir()):
        return
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: is not empty and no run: choose another --output")
    if not overwrite:
        raise InputError(
            f"{run}: holds a run already: choose another --output, or --overwrite, or --resume"
        )


def _remove(run: Path) -> None:
    if run.is_dir():
        shutil.rmtree(run)
