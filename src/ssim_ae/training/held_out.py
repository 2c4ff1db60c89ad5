"""How a trained network does on unseen good pictures, and whether it learned anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ssim_ae.config import PLAIN, Settings
from ssim_ae.data.patches import batch_seed, draw_patches
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.model.findings import findings
from ssim_ae.model.ssim import ssim_loss

HELD_OUT_PATCHES = 32


@torch.inference_mode()
def held_out_report(
    network: nn.Module, held_out: PictureStore, settings: Settings
) -> dict[str, float]:
    """How the network does on patches of held-out good pictures, always the same ones.

    ``held_out_loss``: 1 - SSIM. ``contrast``: standard deviation of the reconstructions' pixels
    within a patch over that of the patches; near 0 when everything comes out as plain grey.
    """
    network.eval()
    seed = batch_seed(settings.seed, -1 & 0xFFFFFFFF, 0)
    patches = draw_patches(held_out, HELD_OUT_PATCHES, settings.tile, PLAIN, seed)
    device = next(network.parameters()).device
    patches = patches.to(device, memory_format=torch.channels_last)
    reconstruction = findings(network(patches)).reconstruction.float()
    spread = reconstruction.std(dim=(2, 3)).mean() / patches.std(dim=(2, 3)).mean().clamp(min=1e-6)
    loss = ssim_loss(reconstruction, patches)
    network.train()
    return {"held_out_loss": float(loss), "contrast": float(spread)}


def collapse(report: dict[str, Any], network: str) -> str | None:
    """One line when the network (``reference`` or ``joint``) learned nothing, else None."""
    if report["contrast"] < 0.1:
        what = f"reconstructions are almost plain grey (contrast {report['contrast']:.3f})"
    elif report["held_out_loss"] > 0.9:
        what = f"the loss did not fall (held-out 1 - SSIM {report['held_out_loss']:.2f})"
    else:
        return None
    cure = "raise steps or change learning_rate" + (
        ", or use --preset auto" if network == "reference" else ""
    )
    return f"training collapsed: {what}: {cure}"
