"""Pixel and image metrics from counts per score, so that memory does not grow with the pictures.

A curve over thresholds needs only how many good and how many defective items have each score.
Pixels are counted in the fixed bins of ``value_bins``; images by their exact scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssim_ae import value_bins
from ssim_ae.data.images import Map, strips

Counts = NDArray[np.float64] | NDArray[np.int64]


class PixelCounts:
    """Good and defective pixels of any number of pictures, counted per score bin.

    ``regions`` weighs each defective pixel by 1 / (area of its region), for AU-PRO: summed above
    a threshold it gives the sum of the regions' overlaps.
    """

    def __init__(self) -> None:
        self.good = np.zeros(value_bins.BINS, np.int64)
        self.defective = np.zeros(value_bins.BINS, np.int64)
        self.regions = np.zeros(value_bins.BINS, np.float64)
        self.region_count = 0

    def add(self, anomaly_map: Map, mask: NDArray[np.bool_]) -> None:
        """Count one picture: float32 map ``[h, w]`` and its ground truth of the same shape."""
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"map {anomaly_map.shape} and mask {mask.shape} differ in shape")
        for top, bottom in strips(*mask.shape):  # a large map's good pixels are a large copy
            value_bins.count(self.good, anomaly_map[top:bottom][~mask[top:bottom]])
        if not mask.any():
            return
        from scipy import ndimage

        values = anomaly_map[mask]
        value_bins.count(self.defective, values)
        labels, count = ndimage.label(mask, structure=np.ones((3, 3), int))  # 8-connected
        inside = labels[mask]
        areas = np.bincount(inside, minlength=count + 1)
        np.add.at(self.regions, value_bins.bin_of(values), 1 / areas[inside])
        self.region_count += count

    def auroc(self) -> float | None:
        return auroc(self.defective, self.good)

    def average_precision(self) -> float | None:
        return average_precision(self.defective, self.good)

    def aupro(self, limit: float) -> float | None:
        """Area under the per-region overlap curve up to a false-positive rate, divided by it.

        Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, section 5.3: the mean
        over all ground-truth regions of the share found, against the share of good pixels marked.
        """
        good = int(self.good.sum())
        if self.region_count == 0 or good == 0:
            return None
        used = np.flatnonzero(self.good + self.defective)[::-1]  # highest score first
        rate = np.concatenate([[0.0], np.cumsum(self.good[used]) / good])
        overlap = np.concatenate([[0.0], np.cumsum(self.regions[used]) / self.region_count])
        inside = rate <= limit
        x, y = rate[inside], overlap[inside]
        if x[-1] < limit:  # cut the last segment at the limit
            x = np.append(x, limit)
            y = np.append(y, np.interp(limit, rate, overlap))
        return float(np.dot(np.diff(x), (y[1:] + y[:-1]) / 2) / limit)  # trapezoids


def per_score(
    scores: NDArray[np.float64], defective: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(defective, good) counts at each distinct score, ascending."""
    distinct, where = np.unique(scores, return_inverse=True)
    n = len(distinct)
    return (
        np.bincount(where[defective], minlength=n).astype(np.int64),
        np.bincount(where[~defective], minlength=n).astype(np.int64),
    )


def auroc(defective: Counts, good: Counts) -> float | None:
    """Probability that a defective item scores higher than a good one, ties counting half.

    Counts per score, ascending. None when either kind is missing.
    """
    used = np.flatnonzero(defective + good)  # few of the bins of PixelCounts
    defective, good = defective[used], good[used]
    positives, negatives = float(defective.sum()), float(good.sum())
    if positives == 0 or negatives == 0:
        return None
    below = np.cumsum(good) - good
    wins = float(np.dot(defective.astype(np.float64), below + good / 2))
    return wins / positives / negatives


def average_precision(defective: Counts, good: Counts) -> float | None:
    """Sum of precision times gain in recall over falling thresholds (as scikit-learn does)."""
    if defective.sum() == 0 or good.sum() == 0:
        return None
    used = np.flatnonzero(defective + good)[::-1]
    hits, alarms = np.cumsum(defective[used]), np.cumsum(good[used])
    precision = hits / (hits + alarms)
    return float(np.dot(precision, defective[used]) / hits[-1])


def f1_max(defective: Counts, good: Counts) -> float | None:
    """The best F1 over all thresholds."""
    if defective.sum() == 0 or good.sum() == 0:
        return None
    hits, alarms = np.cumsum(defective[::-1]), np.cumsum(good[::-1])
    return float(np.max(2 * hits / (hits + alarms + defective.sum())))
