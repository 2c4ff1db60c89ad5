"""What a training step shows to the network, and what it minimises."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssim_ae.config import Settings
from ssim_ae.data.contrast import clipped
from ssim_ae.data.corruption import TRAINED, corrupt
from ssim_ae.data.patches import batch_seed, draw_patches
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.shapes import draw_masks
from ssim_ae.model.findings import Findings
from ssim_ae.model.ssim import ssim_loss
from ssim_ae.training.choose import kind_of

FOCAL, DICE = 5.0, 0.3  # weights beside the reconstruction's 1 - SSIM
# A lamp's drift: patches are made lighter or darker by up to this. Strips of cloth differ in it
# more than parts do, on which a shade may be the defect.
LIGHT = {"texture": 0.12, "object": 0.05}
PATCHES, DONORS, CHANCE = range(3)  # streams of chance within a step


class Batch(NamedTuple):
    """``shown`` to the network; ``clean``, what it should reconstruct; ``label``, where the two
    differ, ``[n, 1, h, w]`` (None where nothing was generated)."""

    shown: Tensor
    clean: Tensor
    label: Tensor | None

    def to(self, device: torch.device) -> Batch:
        shown = self.shown.to(device, memory_format=torch.channels_last)
        if self.label is None:
            return Batch(shown, shown, None)
        return Batch(shown, self.clean.to(device), self.label.to(device))


class Batches:
    """Every batch of a training; each depends on (seed, step, rank) alone."""

    def __init__(self, store: PictureStore, settings: Settings) -> None:
        self.store, self.settings = store, settings
        joint = settings.network == "joint"
        self.masks = draw_masks(settings.tile, settings.seed) if joint else None
        self.light = LIGHT[kind_of(store)[0]] if joint else 0.0

    def draw(self, step: int, rank: int, count: int) -> Batch:
        """``count`` patches; of the joint network with generated defects."""
        s = self.settings
        if self.masks is None:
            seed = batch_seed(s.seed, step, rank)
            patches = draw_patches(self.store, count, s.tile, s.augment, seed)
            return Batch(patches, patches, None)
        seeds = [batch_seed(s.seed, step, rank, stream) for stream in (PATCHES, DONORS, CHANCE)]
        rng = torch.Generator().manual_seed(seeds[CHANCE])
        pairs = draw_patches(self.store, 2 * count, s.tile, s.augment, seeds[PATCHES])
        within = self.store.stretch
        clean = clipped(_relit(_more_structured(pairs), self.light, rng), within)
        donors = draw_patches(self.store, count, s.tile, s.augment, seeds[DONORS])
        shown, label = corrupt(clean, donors, self.masks, list(TRAINED.values()), rng)
        return Batch(clipped(shown, within), clean, label)


def _more_structured(pairs: Tensor) -> Tensor:
    """Of each pair of patches the one with the larger contrast: objects rather than background."""
    first, second = pairs.chunk(2)
    keep = first.std((1, 2, 3)) >= second.std((1, 2, 3))
    return torch.where(keep.view(-1, 1, 1, 1), first, second)


def _relit(patches: Tensor, light: float, rng: torch.Generator) -> Tensor:
    factor, shift = torch.rand(2, len(patches), 1, 1, 1, generator=rng) * 2 - 1
    lit: Tensor = patches * (1 + light * factor) + 0.4 * light * shift
    return lit


def loss_of(found: Findings, batch: Batch) -> Tensor:
    """1 - SSIM of reconstruction and clean patches, and the head's losses where it has any."""
    loss: Tensor = ssim_loss(found.reconstruction, batch.clean)
    if found.logit is None or batch.label is None:
        return loss
    return loss + segmentation_loss(found.logit.float(), batch.label)


def segmentation_loss(logit: Tensor, label: Tensor) -> Tensor:
    """Focal and Dice loss of log odds ``[n, 1, h/2, w/2]`` against ``label`` ``[n, 1, h, w]``.

    The target of a log odd is the share of its four pixels that is defective. Focal with exponent
    2 (Lin et al., ICCV 2017), for soft targets; Dice over the whole batch (Milletari et al., 3DV
    2016).
    """
    share = F.avg_pool2d(label, 2)
    p = torch.sigmoid(logit)
    entropy = F.binary_cross_entropy_with_logits(logit, share, reduction="none")
    focal = ((p - share) ** 2 * entropy).mean()
    dice = 1 - (2 * (p * share).sum() + 1) / (p.sum() + share.sum() + 1)
    loss: Tensor = FOCAL * focal + DICE * dice
    return loss
