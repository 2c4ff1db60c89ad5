"""Where a generated defect goes: as often at a patch's border as inside, often on structure."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 8  # pixels to a place that is looked at for structure
STRUCTURED = 0.5  # share of the defects that look for a place with structure


def placed(masks: Tensor, patches: Tensor, rng: torch.Generator) -> Tensor:
    """A random shape for each patch, moved to a place, often one with structure.

    Its middle may lie beyond the patch, as far as it still reaches into it: otherwise defects would
    be half as frequent at the border as in the middle, and the head would learn to trust what it
    sees there less.
    """
    n, side = len(patches), patches.shape[-1]
    shapes = masks[torch.randint(len(masks), (n,), generator=rng)]
    if float(torch.rand((), generator=rng)) < 0.5:
        shapes = shapes.transpose(1, 2)
    beyond = side // CELL // 2  # cells; no shape is larger than the patch
    within = _reaching(shapes, beyond)
    structure = _structure(patches)
    structure = F.pad(structure, (beyond, beyond, beyond, beyond), mode="replicate")[:, 0]
    anywhere = torch.rand(n, 1, 1, generator=rng) >= STRUCTURED
    weight = within * torch.where(anywhere, torch.ones(()), structure + 1e-6)
    cell = torch.multinomial(weight.flatten(1), 1, generator=rng)[:, 0]
    across = weight.shape[2]
    corner = torch.randint(0, CELL, (2, n), generator=rng) - beyond * CELL - side // 2
    top = torch.div(cell, across, rounding_mode="floor") * CELL + corner[0]
    left = cell % across * CELL + corner[1]
    along = torch.arange(side)
    rows, columns = along - top[:, None], along - left[:, None]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[
        :, None, :
    ]
    rows, columns = rows.clamp(0, side - 1), columns.clamp(0, side - 1)
    moved = shapes[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return (moved * inside)[:, None].to(torch.float32) / 255


def _structure(patches: Tensor) -> Tensor:
    """Standard deviation of the grey levels in each cell, ``[n, 1, t / CELL, t / CELL]``."""
    grey = patches.mean(1, keepdim=True)
    mean = F.avg_pool2d(grey, CELL)
    return (F.avg_pool2d(grey * grey, CELL) - mean * mean).clamp(min=0).sqrt()


def _reaching(shapes: Tensor, beyond: int) -> Tensor:
    """1 for cells, also ``beyond`` the patch, from where a shape's box reaches into it, else 0.

    ``[n, t, t]`` about the middle -> ``[n, cells, cells]``, cells ``t / CELL + 2 * beyond``.
    """
    side = shapes.shape[-1]
    cells = torch.arange(-beyond, side // CELL + beyond)
    outside = CELL * torch.maximum(-cells, cells - side // CELL + 1).clamp(min=0)
    from_middle = (torch.arange(side) - side // 2).abs()
    near = []
    for other in (2, 1):
        extent = ((shapes.amax(other) > 127) * from_middle).amax(1, keepdim=True)
        near.append(outside < extent.clamp(min=1))
    return (near[0][:, :, None] & near[1][:, None, :]).to(torch.float32)
