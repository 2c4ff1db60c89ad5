"""From a trained network to the files of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import ssim_ae
from ssim_ae.config import ResidualSettings, Settings
from ssim_ae.data.contrast import stretched
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.split import folds
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.files import write_atomically
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.build import inspector_of, on_whole_pictures
from ssim_ae.model.core_set import CoreSet
from ssim_ae.model.inspector import Inspector, MedianGrey
from ssim_ae.model.joint import JointNetwork
from ssim_ae.model.weights import WEIGHTS, save_weights
from ssim_ae.runtime.record import Record, sha256, write_detector
from ssim_ae.training.choose import choose, kind_of
from ssim_ae.training.core_set import learned_features, learned_memory
from ssim_ae.training.run_folder import DETECTOR, UNCALIBRATED
from ssim_ae.training.units import ENOUGH, good_pictures, normalised
from ssim_ae.training.zoo_thresholds import zoo_scales

COUNTED_ROWS = 1024  # of a large picture, at a time
AFTER_THE_SUM = ("surround", "smooth", "smooth_share", "mean_beyond")  # the control's as well
# what the control without a model is measured with: the filters beside the head
CONTROL = ResidualSettings.model_validate(
    {"terms": [{"kind": "gradient", "sigma": 3}, {"kind": "band", "sigma": 2}]}
)


@torch.inference_mode()
def count_colors(network: nn.Module, store: PictureStore) -> None:
    """Count the colours of all training pictures, for a network that wants to know them."""
    if not isinstance(network, JointNetwork):
        return
    counts = torch.zeros(network.colors.rarity.numel(), dtype=torch.float64)
    for index in range(len(store)):
        picture = store.picture(index)
        parts = -(-picture.shape[1] // COUNTED_ROWS)  # alike: a single row cannot be mirrored
        for rows in torch.tensor_split(picture, parts, dim=1):
            counts += network.colors.counted(stretched(Inspector.picture(rows), store.stretch))
    network.colors.settle(counts)


def write_run(
    network: nn.Module,
    settings: Settings,
    store: PictureStore,
    fresh: PictureStore,
    groups: Sequence[str],
    run: Path,
    seen_by: dict[str, list[str]],
    warning: str | None,
    on_phase: Callable[[str], None],
) -> str | None:
    """Weights, exported graph (``UNCALIBRATED``) and the control without a model.

    ``store``: pictures trained on, ``groups``: the strip or part of each; ``fresh``: others, on
    which the maps are weighed. Returns "texture" or "object", where that decided something.
    """
    on_phase("weighing the maps")
    kind = None
    residual = control = settings.residual
    joint = network if isinstance(network, JointNetwork) else None
    # of many fresh pictures no other is looked at
    parts = folds(groups) if len(fresh) < ENOUGH else [0] * len(store)
    apart: dict[CoreSet, list[Tensor]] = {}
    if joint and residual.has("memory"):
        memory, without = learned_memory(joint, store, settings.seed, parts)
        joint.memory, apart[memory] = memory, without
    if joint and residual.has("features"):
        features, without = learned_features(store, settings.channels, settings.seed, parts)
        joint.features, apart[features] = features, without
    whole = on_whole_pictures(network, settings)
    if settings.zoo is not None:
        inspector = Inspector(whole, Residual(residual)).eval()
        residual = control = zoo_scales(inspector, residual, settings.zoo, store)
    if settings.network == "joint":
        pictures = good_pictures(fresh, store, parts)
        residual = normalised(whole, residual, pictures, apart)
        if settings.choose:
            all_terms = residual.model_dump()
            kind, uneven = kind_of(store)  # as the patches' light was
            residual, table = choose(whole, residual, fresh, kind, settings.seed)
            shown = {"kind": kind, "unevenness": round(uneven, 4)}
            choice = {**shown, "residual": all_terms, "candidates": table}
            body = json.dumps(choice, indent=1, allow_nan=False) + "\n"
            write_atomically(run / "choice.json", body.encode())
        alike = {k: getattr(residual, k) for k in AFTER_THE_SUM}
        control = normalised(MedianGrey(), CONTROL.model_copy(update=alike), pictures)
        # what was not chosen: the run is that of a network without it
        if joint and not residual.has("memory"):
            joint.memory = None
        if joint and not residual.has("features"):
            joint.features = None
    on_phase("writing the detector")
    write_files(network, settings, residual, control, run, seen_by, warning, UNCALIBRATED)
    return kind


def write_files(
    network: nn.Module,
    settings: Settings,
    residual: ResidualSettings,
    control: ResidualSettings,
    run: Path,
    seen_by: dict[str, list[str]],
    warning: str | None,
    name: str = DETECTOR,
) -> None:
    """Weights, the graph with ``residual``, and the one without a model with ``control``.

    ``name``: of the graph's file. Neither has thresholds yet.
    """
    settings = settings.model_copy(update={"residual": residual})
    inspector = inspector_of(network, settings)
    save_weights(network, run / WEIGHTS)
    record = Record(
        version=ssim_ae.__version__,
        settings=settings,
        reach=inspector.reach,
        fingerprints={
            "data": sha256("".join(seen_by["trained_on"]).encode()),
            "weights": sha256((run / WEIGHTS).read_bytes()),
        },
        trained_on=seen_by["trained_on"],
        chosen_on=seen_by["chosen_on"],
        warnings=[warning] if warning else [],
    )
    graph = graph_bytes(inspector, settings.channels, settings.tile)
    write_detector(graph, record, run / name)
    graph = graph_bytes(
        Inspector(MedianGrey(), Residual(control), settings.stretch).eval(),
        settings.channels,
        settings.tile,
    )
    own = settings.model_copy(update={"residual": control, "choose": False})
    without = {"settings": own, "trained_on": [], "chosen_on": []}
    if settings.network == "joint":  # its maps were measured on them
        without["chosen_on"] = sorted({*seen_by["trained_on"], *seen_by["chosen_on"]})
    write_detector(graph, record.model_copy(update=without), run / "no_model.onnx")
