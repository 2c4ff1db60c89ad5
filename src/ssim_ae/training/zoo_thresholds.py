"""The zoo's two thresholds, as scales of the residual's terms: its rule becomes "map above 1"."""

from __future__ import annotations

import numpy as np
import torch

from ssim_ae import value_bins
from ssim_ae.config import ResidualSettings, ZooSettings
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.model.inspector import Inspector

PICTURES, SIDE = 64, 1024  # training pictures, and pixels of each, behind a percentile


@torch.inference_mode()
def zoo_scales(
    inspector: Inspector, settings: ResidualSettings, zoo: ZooSettings, store: PictureStore
) -> ResidualSettings:
    """The residual with each term divided by the zoo's threshold for it.

    A threshold is fixed by the settings (of SSIM and L1 residuals), or the ``percent`` percentile
    of that residual over training pictures: up to 64, evenly spaced; of large ones the upper left
    1024x1024 pixels.
    """
    counts = [np.zeros(value_bins.BINS, np.int64) for _ in settings.terms]
    for index in torch.linspace(0, len(store) - 1, min(len(store), PICTURES)).long():
        picture = Inspector.picture(store.picture(int(index))[:, :SIDE, :SIDE])
        maps = inspector.residual.terms(picture, inspector.find(picture))
        for bins, term_map in zip(counts, maps, strict=True):
            value_bins.count(bins, term_map.numpy())
    fixed = {"ssim": zoo.ssim_threshold, "l1": zoo.l1_threshold}
    terms = []
    for term, bins in zip(settings.terms, counts, strict=True):
        percentile = max(1e-6, value_bins.quantile(bins, 1 - zoo.percent / 100))
        terms.append(term.model_copy(update={"scale": fixed.get(term.kind) or percentile}))
    return settings.model_copy(update={"terms": terms})
