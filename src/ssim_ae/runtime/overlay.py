"""Heat-map pictures whose colours hang on the threshold: a good part looks calm.

Nothing is scaled per picture. Below half of the pixel threshold the picture stays as it is; at the
threshold it is yellow, at twice the threshold red; marked regions get an outline. A pixel threshold
that is not above 0, of maps that are below 0 on most good pictures, has no half: then nothing up to
it is coloured, and red is as far above it as the score threshold, and at least one unit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Pixels, strips
from ssim_ae.runtime.detector import Inspection

NONE = 1e-6  # of a unit of the map: no threshold to colour by
DRAWN = 1 << 18  # pixels at a time: each takes some hundred bytes while it is mixed
_YELLOW, _RED, _EDGE = (
    np.array(c, np.float32) for c in ((255, 220, 0), (220, 0, 30), (255, 0, 200))
)


def overlay(inspection: Inspection) -> Pixels:
    """uint8 ``[h, w, 3]`` at the picture's own size."""
    return np.concatenate(list(overlay_bands(inspection)))


def overlay_bands(inspection: Inspection) -> Iterator[Pixels]:
    """The same in strips, from the top: that of a line scan is large."""
    picture, anomaly_map, mask = inspection.picture, inspection.anomaly_map, inspection.mask
    yellow = inspection.thresholds.pixel
    red = 2 * yellow if yellow > NONE else max(inspection.thresholds.score, yellow + 1)
    height, width = mask.shape
    for top, bottom in strips(height, width, DRAWN):
        rows = slice(top, bottom)
        part = picture[rows]
        base = part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=2)
        relative = 1 + (anomaly_map[rows] - yellow) / (red - yellow)
        if yellow <= NONE:
            relative[anomaly_map[rows] <= yellow] = 0
        heat = np.clip(relative - 1, 0, 1)[..., None]
        colour = _YELLOW * (1 - heat) + _RED * heat
        opacity = 0.6 * np.clip(2 * relative - 1, 0, 1)[..., None]
        blended = base * (1 - opacity) + colour * opacity
        blended[_edge(mask, top, bottom)] = _EDGE
        yield blended.astype(np.uint8)


def _edge(mask: NDArray[np.bool_], top: int, bottom: int) -> NDArray[np.bool_]:
    """The pixels of some rows that touch the mask from outside."""
    from scipy import ndimage

    first = max(0, top - 1)
    around = mask[first : bottom + 1]
    if not around.any():
        return mask[top:bottom]
    edge = ndimage.binary_dilation(around) & ~around
    return np.asarray(edge[top - first : bottom - first])
