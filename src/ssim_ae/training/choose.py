"""What the residual's terms weigh, decided without test pictures.

Good pictures that were neither trained on nor kept for the thresholds, with generated defects of
kinds that the network never saw, say which weights and smoothing find most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssim_ae.config import PLAIN, ResidualSettings
from ssim_ae.data.contrast import clipped
from ssim_ae.data.corruption import UNSEEN, corrupt
from ssim_ae.data.evenness import TEXTURE, unevenness
from ssim_ae.data.patches import batch_seed, draw_patches
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.shapes import draw_masks
from ssim_ae.evaluation.metrics import PixelCounts, auroc, per_score
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.findings import findings
from ssim_ae.training.window import SIDE, window

PICTURES = 64  # half of them get defects
MASKS = 256
BLUR = 3.0  # sigma of the last blur, pixels
# share of the blurred map: what is wide gains on a speck as high, which keeps most of its height
BLURRED = 0.33
CLEARLY = 0.15  # of AU-PRO: less says nothing, see docs/quality.md


class Point(NamedTuple):
    """Weights beside the head's 1: of each of the two filters, the colour's rarity, the encoder's
    memory and ImageNet's features; and the share of the last blur."""

    filters: float
    rarity: float
    memory: float
    blurred: float = BLURRED
    features: float = 0.0


GRID = [
    Point(*point)
    for point in product((0.0, 0.25, 0.5, 1.0), (0.0, 0.25), (0.0, 1.0), (BLURRED, 1.0))
]
# taken unless generated defects speak clearly for another: on textures the filters weigh more, and
# a memory says little of what never repeats exactly
USUAL = {"texture": Point(0.5, 0.25, 0.0), "object": Point(0.25, 0.25, 1.0)}


@torch.inference_mode()
def choose(
    network: nn.Module, settings: ResidualSettings, store: PictureStore, kind: str, seed: int
) -> tuple[ResidualSettings, list[dict[str, Any]]]:
    """The candidate to take, going by generated defects, and the table of all candidates.

    Args:
        network: takes whole pictures.
        settings: normalised terms; the first is the head.
        store: good pictures that the network was not trained on.
        kind: "texture" or "object", which says what the usual weights are.
        seed: decides pictures and defects.

    A candidate is worth its AU-PRO (30 %) on them. Generated defects flatter the head, which was
    trained on others of their kind; so of the candidates that are clearly not worse than the best,
    the one nearest to the usual weights is taken. ImageNet features were never shown generated
    defects: they are taken if the usual weights are worth more with them.
    """
    found = [
        (Residual(settings).terms(picture, findings(network(picture))), label.numpy() > 0.5)
        for picture, label in _generated(store, seed)
    ]
    usual, grid = USUAL[kind], GRID
    if not settings.has("memory"):
        usual, grid = usual._replace(memory=0.0), [p for p in GRID if not p.memory]
    table: list[dict[str, Any]] = []
    if settings.has("features"):
        without, with_them = (
            tried(candidate(settings, usual._replace(features=weight)), settings, found)
            for weight in (0.0, 1.0)
        )
        better = with_them["aupro_30"] > without["aupro_30"]
        table = [without if better else with_them]  # the grid holds the other one
        usual = usual._replace(features=float(better))
        grid = [point._replace(features=float(better)) for point in grid]
    candidates = [candidate(settings, point) for point in grid]
    rows = [tried(c, settings, found) for c in candidates]
    best = max(row["aupro_30"] for row in rows)
    near = [i for i, row in enumerate(rows) if row["aupro_30"] >= best - CLEARLY]
    chosen = min(near, key=lambda i: (distance(grid[i], usual), -rows[i]["aupro_30"]))
    table += rows
    for row in table:
        row["chosen"] = row is rows[chosen]
        row["usual"] = row is rows[grid.index(usual)]
    return candidates[chosen], table


def tried(
    settings: ResidualSettings,
    every: ResidualSettings,
    found: Sequence[tuple[Sequence[Tensor], NDArray[np.bool_]]],
) -> dict[str, Any]:
    """What a candidate is worth on pictures whose terms ``every`` were computed before."""
    residual, tally, scores = Residual(settings), PixelCounts(), []
    names = [t.kind for t in every.terms]
    for maps, mask in found:
        used = [maps[names.index(t.kind)] for t in settings.terms]
        anomaly_map = residual.combined(used)
        tally.add(anomaly_map[0].numpy(), mask)
        scores.append(float(residual.score(anomaly_map)))
    defective = np.array([mask.any() for _, mask in found])
    return {
        "weights": {str(t.kind): t.weight for t in settings.terms},
        "smooth": settings.smooth,
        "smooth_share": settings.smooth_share,
        "pixel_auroc": tally.auroc(),
        "aupro_30": tally.aupro(0.3),
        "image_auroc": auroc(*per_score(np.array(scores), defective)),
    }


def candidate(settings: ResidualSettings, point: Point) -> ResidualSettings:
    """The terms with these weights; what weighs nothing is left out."""
    weights = {**point._asdict(), "head": 1.0, "gradient": point.filters, "band": point.filters}
    terms = [
        t.model_copy(update={"weight": weights[t.kind]}) for t in settings.terms if weights[t.kind]
    ]
    blur = {"smooth": BLUR, "smooth_share": point.blurred}
    return settings.model_copy(update={"terms": terms, **blur})


def distance(point: Point, usual: Point) -> float:
    """Between weights; another blur counts like half a weight."""
    weights = abs(point.filters - usual.filters) + abs(point.rarity - usual.rarity)
    return weights + abs(point.memory - usual.memory) + 0.5 * (point.blurred != usual.blurred)


@torch.inference_mode()
def kind_of(store: PictureStore) -> tuple[str, float]:
    """("texture" or "object", unevenness): what good pictures show."""
    found = []
    for index in range(0, len(store), -(-len(store) // PICTURES)):  # evenly spaced
        found.append(float(unevenness(window(store, index))))
    mean = float(np.mean(found))
    return ("texture" if mean <= TEXTURE else "object"), mean


def _generated(store: PictureStore, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures ``[1, c, s, s]`` of 8-bit values and where they are defective, ``[s, s]``."""
    side = min(SIDE, store.shortest) // 8 * 8
    masks = draw_masks(side, seed + 1, MASKS)
    for number in range(PICTURES):
        seeds = [batch_seed(seed, number, 0, stream) for stream in (3, 4, 5)]
        picture = draw_patches(store, 1, side, PLAIN, seeds[0])
        label = torch.zeros(1, 1, side, side)
        if number % 2:
            rng = torch.Generator().manual_seed(seeds[2])
            donors = draw_patches(store, 1, side, PLAIN, seeds[1])
            while not label.any():
                picture, label = corrupt(picture, donors, masks, list(UNSEEN.values()), rng)
        picture = clipped(torch.round(picture * 255) / 255, store.stretch)
        yield picture, label[0, 0]
