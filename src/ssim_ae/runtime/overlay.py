"""Heat-map pictures whose colours hang on the threshold: a good part looks calm.

Nothing is scaled per picture. Below half of the pixel threshold the picture stays as it is; at the
threshold it is yellow, at twice the threshold red; marked regions get an outline.
"""

from __future__ import annotations

import numpy as np

from ssim_ae.data.images import Pixels
from ssim_ae.runtime.detector import Inspection

_YELLOW, _RED, _EDGE = np.array([255, 220, 0]), np.array([220, 0, 30]), np.array([255, 0, 200])


def overlay(inspection: Inspection) -> Pixels:
    """uint8 ``[h, w, 3]`` at the picture's own size."""
    from scipy import ndimage

    picture = inspection.picture
    base = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    relative = inspection.anomaly_map / max(inspection.thresholds.pixel, 1e-12)
    heat = np.clip(relative - 1, 0, 1)[..., None]
    colour = _YELLOW * (1 - heat) + _RED * heat
    opacity = 0.6 * np.clip(2 * relative - 1, 0, 1)[..., None]
    blended = base * (1 - opacity) + colour * opacity
    mask = inspection.mask
    if mask.any():
        blended[ndimage.binary_dilation(mask) & ~mask] = _EDGE
    return np.asarray(blended, np.uint8)
