"""Connected regions of a predicted mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Map


@dataclass(frozen=True)
class Region:
    """One 8-connected region; pixels of the original picture, ``right`` and ``bottom`` exclusive.

    ``peak`` is the anomaly map's largest value in it.
    """

    left: int
    top: int
    right: int
    bottom: int
    area: int
    peak: float


def find_regions(mask: NDArray[np.bool_], anomaly_map: Map) -> list[Region]:
    """Regions of ``mask`` ``[h, w]``, strongest peak first."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3), int))
    if count == 0:
        return []
    index = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    peaks = ndimage.maximum(anomaly_map, labels, index)
    regions = [
        Region(box[1].start, box[0].start, box[1].stop, box[0].stop, int(area), float(peak))
        for box, area, peak in zip(ndimage.find_objects(labels), areas, peaks, strict=True)
    ]
    return sorted(regions, key=lambda r: -r.peak)
