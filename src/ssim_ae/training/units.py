"""One unit of each map: what good pictures seldom exceed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ssim_ae import value_bins
from ssim_ae.config import ResidualSettings
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.core_set import CoreSet
from ssim_ae.model.findings import findings
from ssim_ae.training.window import window

TAIL = 0.001  # share of good pixels beyond one unit of a map
ENOUGH = 64  # pictures: fewer fresh ones are filled up to it with trained ones

GoodPicture = tuple[Tensor, int | None]  # [1, c, h, w] as the network sees it; fold, if trained on


def good_pictures(
    fresh: PictureStore, trained: PictureStore, folds: Sequence[int]
) -> list[GoodPicture]:
    """What units are measured on: all of ``fresh`` and, where these are not ``ENOUGH``, pictures
    trained on.

    ``fresh`` may be four, of which one speck would decide. ``folds``: of each of ``trained``; those
    of a single fold are not looked at.
    """
    pictures: list[GoodPicture] = [(window(fresh, index), None) for index in range(len(fresh))]
    rng = torch.Generator().manual_seed(0)  # a regular step could meet one camera of several
    drawn = torch.randperm(len(trained), generator=rng)[: max(0, ENOUGH - len(fresh))].tolist()
    if len(set(folds)) > 1:
        by_fold = sorted(drawn, key=lambda index: (folds[index], index))
        pictures += [(window(trained, index), folds[index]) for index in by_fold]
    return pictures


@torch.inference_mode()
def normalised(
    network: nn.Module,
    settings: ResidualSettings,
    pictures: Sequence[GoodPicture],
    apart: Mapping[CoreSet, Sequence[Tensor]] | None = None,
) -> ResidualSettings:
    """The settings with each term in units of what good pictures seldom exceed.

    Offset: the term's mean over good pictures; scale: from there to the value that only ``TAIL`` of
    their pixels exceed. A map with a heavy tail would drown the others by its false alarms if it
    were measured by its standard deviation.

    Args:
        network: takes whole pictures.
        settings: whose terms' offsets and scales do not matter.
        pictures: at least one.
        apart: for each of the network's core sets the centres that it would have without a fold's
            pictures, fold by fold. Of pictures trained on it would else meet itself in them
            (cross-fitting; what else knows them knows them hardly better than others).
    """
    residual = Residual(settings)
    number = len(settings.terms)
    counts = np.zeros((number, value_bins.BINS), np.int64)
    sums, pixels = np.zeros(number), 0
    apart = apart or {}
    whole = {core: core.centres.clone() for core in apart}
    for picture, fold in pictures:
        for core, centres in whole.items():
            core.centres.copy_(centres if fold is None else apart[core][fold])
        maps = residual.terms(picture, findings(network(picture)))
        pixels += maps[0].numel()
        for i, term_map in enumerate(maps):
            value_bins.count(counts[i], term_map.numpy())
            sums[i] += float(term_map.double().sum())
    for core, centres in whole.items():
        core.centres.copy_(centres)
    means = sums / pixels
    terms = [
        term.model_copy(
            update={
                "offset": float(mean),
                "scale": max(value_bins.quantile(bins, TAIL) - float(mean), 1e-6),
            }
        )
        for term, mean, bins in zip(settings.terms, means, counts, strict=True)
    ]
    return settings.model_copy(update={"terms": terms})
