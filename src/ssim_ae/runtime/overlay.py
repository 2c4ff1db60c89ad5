"""Heat-map pictures whose colours hang on the threshold: a good part looks calm.

Nothing is scaled per picture. Below half of the pixel threshold the picture stays as it is; at the
threshold it is yellow, at twice the threshold red; marked regions get an outline.
"""

from __future__ import annotations

import numpy as np

from ssim_ae.data.images import Pixels
from ssim_ae.runtime.detector import Inspection

BAND = 256  # rows at a time
_YELLOW, _RED, _EDGE = (
    np.array(c, np.float32) for c in ((255, 220, 0), (220, 0, 30), (255, 0, 200))
)


def overlay(inspection: Inspection) -> Pixels:
    """uint8 ``[h, w, 3]`` at the picture's own size."""
    from scipy import ndimage

    picture, anomaly_map, mask = inspection.picture, inspection.anomaly_map, inspection.mask
    edge = ndimage.binary_dilation(mask) & ~mask if mask.any() else mask
    out = np.empty((*mask.shape, 3), np.uint8)
    for top in range(0, mask.shape[0], BAND):  # in bands: floats of a whole line scan are large
        rows = slice(top, top + BAND)
        part = picture[rows]
        base = part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=2)
        relative = anomaly_map[rows] / max(inspection.thresholds.pixel, 1e-12)
        heat = np.clip(relative - 1, 0, 1)[..., None]
        colour = _YELLOW * (1 - heat) + _RED * heat
        opacity = 0.6 * np.clip(2 * relative - 1, 0, 1)[..., None]
        blended = base * (1 - opacity) + colour * opacity
        blended[edge[rows]] = _EDGE
        out[rows] = blended
    return out
