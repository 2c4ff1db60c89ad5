"""Generated defects on good pictures: what the joint network learns from and is chosen by.

A defect is a soft mask, a place, and something to put there. Masks are drawn once; the rest happens
for a whole batch of patches at a time, so that it stays a small part of a training step. Everything
depends on the seed alone.

Sources of the ideas: Perlin-like masks and texture fills, DRAEM (Zavrtanik et al., ICCV 2021);
pasted patches and scars, CutPaste (Li et al., CVPR 2021); pastes fitted to their surroundings, NSA
(Schlueter et al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssim_ae.data.placement import placed

DEFECTS = (0.75, 0.25, 0.1)  # chance of a first, second, third defect on a patch
NOTICEABLE = 0.02  # a change of the 3x3 mean below this is no defect

Fill = Callable[["Site"], Tensor]


def box_mean(maps: Tensor, height: int, width: int) -> Tensor:
    """Mean of the pixels of an odd-sided window that lie inside; same shape ``[n, c, h, w]``."""
    rows = F.avg_pool2d(
        maps.contiguous(), (height, 1), 1, (height // 2, 0), count_include_pad=False
    )
    return F.avg_pool2d(rows, (1, width), 1, (0, width // 2), count_include_pad=False)


class Site(NamedTuple):
    """Where defects of one kind go: patches ``[n, c, t, t]``, others to paste from, masks."""

    patches: Tensor
    donors: Tensor
    masks: Tensor  # [n, 1, t, t]
    rng: torch.Generator

    def uniform(self, low: float, high: float, channels: int = 1) -> Tensor:
        n = len(self.patches)
        return torch.rand(n, channels, 1, 1, generator=self.rng) * (high - low) + low

    def mean(self) -> Tensor:
        """Mean of each patch under its mask, ``[n, c, 1, 1]``."""
        return self.under(self.patches)

    def under(self, pictures: Tensor) -> Tensor:
        """Mean under the masks, ``[n, c, h, w]`` -> ``[n, c, 1, 1]``."""
        size = self.masks.sum((2, 3), keepdim=True).clamp(min=1e-3)
        return (pictures * self.masks).sum((2, 3), keepdim=True) / size


def _paste(s: Site) -> Tensor:
    """A piece of another place, turned."""
    return s.donors


def _blend(s: Site) -> Tensor:
    """The same, brought to the brightness of its new surroundings."""
    return s.donors - s.under(s.donors) + s.mean()


def _brightness(s: Site) -> Tensor:
    """Lighter or darker, from barely to plainly; in colour, channel by channel half of the time."""
    c = s.patches.shape[1]
    change = 0.03 * (0.5 / 0.03) ** s.uniform(0, 1)  # log-uniform: faint defects are frequent
    change = change * torch.where(s.uniform(-1, 1) < 0, -1.0, 1.0)
    tint = torch.where(s.uniform(0, 1) < 0.5, s.uniform(-1, 1, c), torch.ones(1, c, 1, 1))
    contrast = torch.where(s.uniform(0, 1) < 0.5, s.uniform(0.6, 1.4), torch.ones(1, 1, 1, 1))
    return s.mean() + (s.patches - s.mean()) * contrast + change * tint


def _flat(s: Site) -> Tensor:
    """One grey or colour with a little noise: foreign matter, flash, missing coating."""
    noise = torch.randn(s.patches.shape, generator=s.rng)
    return s.uniform(0, 1, s.patches.shape[1]) + 0.03 * noise


def _noise(s: Site) -> Tensor:
    """Coloured noise about the local mean: corrosion, lint."""
    n, c, t, _ = s.patches.shape
    coarse = 2 ** int(torch.randint(0, 4, (), generator=s.rng))
    side = t // coarse + 2
    noise = torch.randn(n, 1, side, side, generator=s.rng)
    noise = F.interpolate(noise, scale_factor=float(coarse), mode="bilinear")[..., :t, :t]
    return s.mean() + s.uniform(-0.2, 0.2, c) + s.uniform(0.03, 0.2) * noise


def _warp(s: Site) -> Tensor:
    """Shifted by some pixels, most in the middle of the mask: bent, displaced."""
    n, _, t, _ = s.patches.shape
    shift = torch.rand(n, 2, 1, 1, generator=s.rng) * 16 - 8
    y, x = torch.meshgrid(torch.arange(t), torch.arange(t), indexing="ij")
    moved = torch.stack([x, y]) + shift * s.masks
    grid = (moved.permute(0, 2, 3, 1) + 0.5) * (2 / t) - 1
    return F.grid_sample(s.patches, grid, padding_mode="reflection", align_corners=False)


def _soften(s: Site) -> Tensor:
    """Blurred, or contrast lost or raised about the local mean: worn, polished."""
    blurred = box_mean(s.patches, 7, 7)
    contrast = torch.where(s.uniform(0, 1) < 0.5, s.uniform(0.1, 0.6), s.uniform(1.6, 2.4))
    about_mean = s.mean() + (s.patches - s.mean()) * contrast
    return torch.where(s.uniform(0, 1) < 0.5, blurred, about_mean)


def _missing(s: Site) -> Tensor:
    """Structure gone: what is left is the mean of the wide surroundings."""
    return box_mean(s.patches, 31, 31)


# Kinds below are for choosing among recipes; the network never trains on them.


def _smear(s: Site) -> Tensor:
    """Dragged along one axis."""
    return torch.where(
        s.uniform(0, 1) < 0.5, box_mean(s.patches, 1, 25), box_mean(s.patches, 25, 1)
    )


def _dent(s: Site) -> Tensor:
    """Shaded like a dent or a bump under light from one side."""
    soft = box_mean(box_mean(s.masks, 9, 9), 9, 9)
    slope = F.pad(soft[..., 4:, 4:] - soft[..., :-4, :-4], (2, 2, 2, 2))
    slope = slope / slope.abs().amax((2, 3), keepdim=True).clamp(min=1e-3)
    return s.patches + slope * s.uniform(-0.35, 0.35)


def _stain(s: Site) -> Tensor:
    """Darker or lighter by a factor, in proportion to what is there: oil, water."""
    c = s.patches.shape[1]
    factor = torch.where(s.uniform(0, 1) < 0.5, s.uniform(0.4, 0.85, c), s.uniform(1.15, 1.6, c))
    return s.patches * factor


def _speckle(s: Site) -> Tensor:
    """Scattered bright or dark grains: dust, pores."""
    n, _, t, _ = s.patches.shape
    grains = (torch.rand(n, 1, t, t, generator=s.rng) < s.uniform(0.15, 0.5)).to(torch.float32)
    grains = F.max_pool2d(grains, 2, 1, 0)
    grains = F.pad(grains, (0, 1, 0, 1))
    return s.patches + grains * s.uniform(0.15, 0.5) * torch.where(s.uniform(-1, 1) < 0, -1.0, 1.0)


TRAINED: dict[str, Fill] = {
    "paste": _paste,
    "blend": _blend,
    "brightness": _brightness,
    "flat": _flat,
    "noise": _noise,
    "warp": _warp,
    "soften": _soften,
    "missing": _missing,
}
WHOLLY = (_warp,)  # put in at full strength: fades out towards the mask's edge by itself
UNSEEN: dict[str, Fill] = {
    "smear": _smear,
    "dent": _dent,
    "stain": _stain,
    "speckle": _speckle,
}


def corrupt(
    clean: Tensor, donors: Tensor, masks: Tensor, kinds: Sequence[Fill], rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Put defects on patches.

    Args:
        clean: float32 ``[n, c, t, t]`` in 0..1.
        donors: as many patches of other places, to paste from.
        masks: from ``shapes.draw_masks``, of the same side.
        kinds: what to put there, each as likely.
        rng: all of the chance.

    Returns the patches with 0 to 3 defects each, and where they differ noticeably from the clean
    ones, float32 0 or 1 ``[n, 1, t, t]``.
    """
    out = clean.clone()
    donors = donors.flip(3) if float(torch.rand((), generator=rng)) < 0.5 else donors
    for chance in DEFECTS:
        struck = torch.rand(len(clean), generator=rng) < chance
        kind = torch.randint(len(kinds), (len(clean),), generator=rng)
        for number, fill in enumerate(kinds):
            chosen = (struck & (kind == number)).nonzero()[:, 0]
            if len(chosen) == 0:
                continue
            shapes = placed(masks, clean[chosen], rng)
            # a quarter turn: a texture pasted upright, or upside down, could not be told apart
            turn = 1 + 2 * int(torch.randint(0, 2, (), generator=rng))
            pieces = torch.rot90(donors[chosen], turn, (2, 3))
            site = Site(out[chosen], pieces, shapes, rng)
            strength = shapes * site.uniform(0.5, 1.0)
            filled = fill(site)
            if fill in WHOLLY:
                strength = (shapes > 0).to(torch.float32)
            out[chosen] = (site.patches + (filled - site.patches) * strength).clamp(0, 1)
    change = F.avg_pool2d((out - clean).abs().amax(1, keepdim=True), 3, 1, 1)
    return out, (change > NOTICEABLE).to(torch.float32)
