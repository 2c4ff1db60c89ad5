"""Connected regions of a predicted mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Map, strips

LABELLED = 1 << 22  # pixels at a time


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


def find_regions(
    mask: NDArray[np.bool_], anomaly_map: Map, at_once: int = LABELLED
) -> list[Region]:
    """Regions of ``mask`` ``[h, w]``, strongest peak first.

    Labelled in strips of ``at_once`` pixels; what touches across a cut is one region.
    """
    from scipy import ndimage, sparse

    boxes: list[NDArray[np.int64]] = []  # left, top, right, bottom
    areas: list[NDArray[np.int64]] = []
    peaks: list[NDArray[np.float32]] = []
    touching: list[NDArray[np.int64]] = []
    height, width = mask.shape
    above = np.zeros(width, np.int64)  # region of each pixel of the last row, 0 for none
    for top, bottom in strips(height, width, at_once):
        part = mask[top:bottom]
        labels, count = ndimage.label(part, structure=np.ones((3, 3), int))
        if count == 0:
            above[:] = 0
            continue
        numbers = np.arange(1, count + 1)
        first = sum(map(len, boxes))
        inside = labels[part]
        areas.append(np.bincount(inside, minlength=count + 1)[1:])
        values = anomaly_map[top:bottom][part]
        peaks.append(np.asarray(ndimage.maximum(values, inside, numbers), np.float32))
        boxes.append(
            np.array(
                [
                    (columns.start, top + rows.start, columns.stop, top + rows.stop)
                    for rows, columns in ndimage.find_objects(labels)
                ]
            )
        )
        below = np.where(labels[0] > 0, labels[0] + first, 0)
        for shift in (-1, 0, 1):  # 8-connected
            pairs = np.stack([above, np.roll(below, shift)])
            pairs = pairs[:, max(0, shift) : len(below) + min(0, shift)]
            touching.append(pairs[:, pairs.all(axis=0)] - 1)
        above = np.where(labels[-1] > 0, labels[-1] + first, 0)
    if not boxes:
        return []
    pairs = np.concatenate(touching, axis=1)
    corners = np.concatenate(boxes)
    links = sparse.coo_array((np.ones(pairs.shape[1], bool), pairs), shape=[len(corners)] * 2)
    count, region = sparse.csgraph.connected_components(links, directed=False)
    area = np.bincount(region, np.concatenate(areas), count)
    peak = np.full(count, -np.inf)
    np.maximum.at(peak, region, np.concatenate(peaks))
    low, high = np.full((count, 2), np.iinfo(np.int64).max), np.zeros((count, 2), np.int64)
    np.minimum.at(low, region, corners[:, :2])
    np.maximum.at(high, region, corners[:, 2:])
    found = []
    for i in range(count):
        (left, top), (right, bottom) = low[i].tolist(), high[i].tolist()
        found.append(Region(left, top, right, bottom, int(area[i]), float(peak[i])))
    return sorted(found, key=lambda r: -r.peak)
