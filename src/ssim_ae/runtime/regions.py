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

    regions = []
    # between empty rows no region connects: labelling one band at a time needs far less memory
    marked = np.concatenate([[False], mask.any(axis=1), [False]])
    edges = np.flatnonzero(marked[1:] != marked[:-1])
    for top, bottom in edges.reshape(-1, 2).tolist():
        band = mask[top:bottom]
        labels, count = ndimage.label(band, structure=np.ones((3, 3), int))
        inside = labels[band]
        areas = np.bincount(inside, minlength=count + 1)[1:]
        peaks = ndimage.maximum(anomaly_map[top:bottom][band], inside, np.arange(1, count + 1))
        for (rows, columns), area, peak in zip(
            ndimage.find_objects(labels), areas, peaks, strict=True
        ):
            place = (columns.start, top + rows.start, columns.stop, top + rows.stop)
            regions.append(Region(*place, int(area), float(peak)))
    return sorted(regions, key=lambda r: -r.peak)
