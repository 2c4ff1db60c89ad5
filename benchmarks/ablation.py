"""What each part of the joint network's training brings: one part changed at a time.

    SSIM_AE_DATA=<folder> python benchmarks/ablation.py [--set NAME] [--steps N] [--work DIR]
    SSIM_AE_DATA=<folder> python benchmarks/ablation.py --repeated [...]

Short trainings (280 steps, one seed) from random weights, weighed as the preset of the set's kind
does; with --repeated a few of the variants from the package's weights, with three seeds. Writes
benchmarks/results/ablation.json after each and does not repeat what is there.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from machine import load_result, save_result
from quality import SETS
from real_data import folder_of_sets
from ssim_ae import evaluate
from ssim_ae.config import Settings
from ssim_ae.model import joint
from ssim_ae.model.findings import Findings
from ssim_ae.model.joint import JointNetwork
from ssim_ae.training import loop, objective
from ssim_ae.training import train as training

RESULT = Path(__file__).parent / "results" / "ablation.json"
KEPT = ("pixel_auroc", "aupro_30", "image_auroc")
FAINT = 1 / 8  # contrast of the low-contrast variants, about middle grey


class Attached(JointNetwork):
    """The head's gradient goes on into the decoder."""

    def forward(self, picture: torch.Tensor) -> Findings:
        if not self.training:
            return super().forward(picture)
        seen: list[torch.Tensor] = []
        hook = self.decode.register_forward_hook(lambda module, inputs, out: seen.append(out))
        compared, joint.compared = (
            joint.compared,
            lambda x, detached: compared(x, seen[0].float()),
        )
        try:
            return super().forward(picture)
        finally:
            joint.compared = compared
            hook.remove()


def without_normalisation(settings: Settings) -> nn.Module:
    network = JointNetwork(settings.channels, settings.latent, settings.first_layer_channels)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return network


def attached(settings: Settings) -> nn.Module:
    return Attached(settings.channels, settings.latent, settings.first_layer_channels)


@dataclass(frozen=True)
class Variant:
    """What is changed: settings, the network, which of two patches is taken (the more structured
    one), whether the autoencoder's target is the picture without defects, the pictures' contrast,
    the preset (None: that of the set's kind)."""

    changes: dict[str, Any] = field(default_factory=dict)
    network: Callable[[Settings], nn.Module] | None = None
    structured: bool = True
    denoising: bool = True
    contrast: float = 1
    preset: str | None = None


VARIANTS: dict[str, Variant] = {
    "default": Variant(),
    "no batch normalisation": Variant(network=without_normalisation),
    "no denoising": Variant(denoising=False),
    "head's gradient into the decoder": Variant(network=attached),
    "bottleneck of 16 channels": Variant({"latent": 16}),
    "bottleneck of 256 channels": Variant({"latent": 256}),
    "learning rate 3e-4": Variant({"learning_rate": 3e-4}),
    "flips": Variant({"augment.p_horizontal_flip": 0.5, "augment.p_vertical_flip": 0.5}),
    "patches drawn evenly": Variant(structured=False),
    "pretrained": Variant({"pretrained": True}),
    "contrast 1/8": Variant(contrast=FAINT),
    "contrast 1/8, pretrained": Variant({"pretrained": True}, contrast=FAINT),
    "contrast 1/8, pretrained, stretched": Variant(
        {"pretrained": True, "contrast": "auto"}, contrast=FAINT
    ),
    "contrast 1/8, the reference network": Variant(contrast=FAINT, preset="autoencoder"),
    "contrast 1/8, the reference network and start": Variant(
        {"batch_size": 32, "device": "cpu"}, contrast=FAINT, preset="reference-texture"
    ),
}

# from the package's weights, on objects, with each seed: what one seed did not settle
REPEATED: dict[str, Variant] = {
    "default": Variant({"pretrained": True}),
    "patches drawn evenly": Variant({"pretrained": True}, structured=False),
}
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--steps", type=int, default=280)
    parser.add_argument("--repeated", action="store_true", help="three seeds of a few variants")
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    data = folder_of_sets()
    result = load_result(arguments.result)
    if arguments.repeated:
        plan = [
            ("repeated", name, f"{variant}, seed {seed}", with_seed(REPEATED[variant], seed))
            for name in arguments.set or ["screw", "metal_plate"]
            for seed in SEEDS
            for variant in REPEATED
        ]
    else:
        plan = [
            ("sets", name, variant, VARIANTS[variant])
            for name in arguments.set or ["fabric_01", "metal_plate"]
            for variant in VARIANTS
        ]
    for table, name, variant, changed in plan:
        done = result.setdefault(table, {}).setdefault(name, {})
        if variant not in done:
            done[variant] = measure(name, changed, arguments.steps, data, arguments.work)
            print(name, variant, done[variant], flush=True)
            save_result(result, arguments.result)


def with_seed(variant: Variant, seed: int) -> Variant:
    return replace(variant, changes={**variant.changes, "seed": seed})


def measure(name: str, variant: Variant, steps: int, data: Path, work: Path) -> dict[str, Any]:
    folder, options = SETS[name]
    dataset = data / folder
    if variant.contrast != 1:
        dataset = with_contrast(dataset, work / f"{name}_faint", variant.contrast)
    changes = {"steps": steps}
    preset = variant.preset or ("texture" if options else "object")
    if variant.preset is None:  # each part by itself: from random weights, nothing stretched
        changes |= {"pretrained": False, "contrast": "as-is"}
    changes |= variant.changes
    if options:
        changes["group"] = options[1]
    run_folder = work / f"{name}_run"
    with replaced(variant):
        run = training.train(dataset, preset, changes=changes, output=run_folder, overwrite=True)
    metrics = evaluate(run, dataset).metrics
    report = {k: round(run.report[k], 4) for k in ("held_out_loss", "contrast")}
    return {**report, **{k: metrics[k] for k in KEPT}, "seconds": run.report["seconds"]}


@contextmanager
def replaced(variant: Variant) -> Iterator[None]:
    """The package with what the variant changes beyond settings."""
    kept = training.new_network, objective._more_structured, training.collapse, loop.loss_of
    training.collapse = lambda *_: None  # a variant that collapses is shown as it is
    if variant.network:
        training.new_network = lambda settings, *_: variant.network(settings)
    if not variant.structured:
        objective._more_structured = lambda pairs: pairs.chunk(2)[0]
    if not variant.denoising:
        loop.loss_of = lambda found, batch: kept[3](found, batch._replace(clean=batch.shown))
    try:
        yield
    finally:
        training.new_network, objective._more_structured, training.collapse, loop.loss_of = kept


def with_contrast(dataset: Path, output: Path, contrast: float) -> Path:
    """A copy of a dataset with the contrast of its pictures about middle grey reduced."""
    if not output.exists():
        half = output.with_name(f"{output.name}.half")  # an interrupted one is begun anew
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(dataset, half)
        for file in [*half.glob("train/*/*.png"), *half.glob("test/*/*.png")]:
            values = np.asarray(Image.open(file)).astype(np.float32)
            Image.fromarray(np.round(128 + (values - 128) * contrast).astype(np.uint8)).save(file)
        half.rename(output)
    return output


if __name__ == "__main__":
    main()
