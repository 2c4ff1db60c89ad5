"""What each part of the joint network's training brings: one part changed at a time.

    SSIM_AE_DATA=<folder> python benchmarks/ablation.py [--set NAME] [--steps N] [--work DIR]

Short trainings (400 steps, one seed) with fixed weights of the maps; writes
benchmarks/results/ablation.json after each and does not repeat what is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from machine import load_result, save_result
from quality import SETS
from ssim_ae import evaluate
from ssim_ae.config import Settings
from ssim_ae.model import joint
from ssim_ae.model.findings import Findings
from ssim_ae.model.joint import JointNetwork
from ssim_ae.training import objective
from ssim_ae.training import train as training

RESULT = Path(__file__).parent / "results" / "ablation.json"
KEPT = ("pixel_auroc", "aupro_30", "image_auroc")
WEIGHED = [  # the same for all variants, whatever the presets say
    {"kind": "head"},
    {"kind": "gradient", "sigma": 3, "weight": 0.5},
    {"kind": "band", "sigma": 2, "weight": 0.5},
    {"kind": "rarity", "weight": 0.5},
]
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


# name -> (changed settings, network, whether the more structured of two patches is taken, contrast)
Variant = tuple[dict[str, Any], Callable[[Settings], nn.Module] | None, bool, float]
VARIANTS: dict[str, Variant] = {
    "default": ({}, None, True, 1),
    "no batch normalisation": ({}, without_normalisation, True, 1),
    "head's gradient into the decoder": ({}, attached, True, 1),
    "bottleneck of 16 channels": ({"latent": 16}, None, True, 1),
    "bottleneck of 256 channels": ({"latent": 256}, None, True, 1),
    "learning rate 3e-4": ({"learning_rate": 3e-4}, None, True, 1),
    "flips": (
        {"augment.p_horizontal_flip": 0.5, "augment.p_vertical_flip": 0.5},
        None,
        True,
        1,
    ),
    "patches drawn evenly": ({}, None, False, 1),
    "contrast 1/8": ({}, None, True, FAINT),
    "contrast 1/8, pretrained": ({"pretrained": True}, None, True, FAINT),
    "contrast 1/8, pretrained, stretched": (
        {"pretrained": True, "contrast": "auto"},
        None,
        True,
        FAINT,
    ),
    "contrast 1/8, the reference network": ({"preset": "autoencoder"}, None, True, FAINT),
    "contrast 1/8, the reference network and start": ({"preset": "reference"}, None, True, FAINT),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    data = Path(os.environ["SSIM_AE_DATA"])
    result = load_result(arguments.result)
    for name in arguments.set or ["fabric_01", "metal_plate"]:
        done = result.setdefault("sets", {}).setdefault(name, {})
        for variant in VARIANTS:
            if variant not in done:
                done[variant] = measure(name, variant, arguments.steps, data, arguments.work)
                print(name, variant, done[variant], flush=True)
                save_result(result, arguments.result)


def measure(name: str, variant: str, steps: int, data: Path, work: Path) -> dict[str, Any]:
    changes, network, structured, contrast = VARIANTS[variant]
    folder, options = SETS[name]
    dataset = data / folder
    if contrast != 1:
        dataset = with_contrast(dataset, work / f"{name}_faint", contrast)
    changes = {"steps": steps, **changes}
    if "preset" not in changes:  # each part by itself: from random weights, nothing stretched
        changes = {"pretrained": False, "contrast": "as-is", "residual.terms": WEIGHED, **changes}
    if options:
        changes["group"] = options[1]
    preset = {"autoencoder": "autoencoder", "reference": "reference-texture"}.get(
        changes.pop("preset", ""), "object"
    )
    if preset == "reference-texture":
        changes |= {"batch_size": 32, "device": "cpu"}
    kept = training.new_network, objective._more_structured, training.collapse
    training.collapse = lambda report: None  # a variant that collapses is shown as it is
    training.new_network = network or kept[0]
    objective._more_structured = kept[1] if structured else lambda pairs: pairs.chunk(2)[0]
    try:
        run = training.train(dataset, preset, changes=changes, output=work / "run", overwrite=True)
    finally:
        training.new_network, objective._more_structured, training.collapse = kept
    metrics = evaluate(run, dataset).metrics
    report = {k: round(run.report[k], 4) for k in ("held_out_loss", "contrast")}
    return {**report, **{k: metrics[k] for k in KEPT}, "seconds": run.report["seconds"]}


def with_contrast(dataset: Path, output: Path, contrast: float) -> Path:
    """A copy of a dataset with the contrast of its pictures about middle grey reduced."""
    if not output.exists():
        shutil.copytree(dataset, output)
        for file in [*output.glob("train/*/*.png"), *output.glob("test/*/*.png")]:
            values = np.asarray(Image.open(file)).astype(np.float32)
            Image.fromarray(np.round(128 + (values - 128) * contrast).astype(np.uint8)).save(file)
    return output


if __name__ == "__main__":
    main()
