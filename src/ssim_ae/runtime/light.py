"""Whether a picture lies in the range of grey levels that the good ones had."""

from __future__ import annotations

import numpy as np

from ssim_ae.config import Stretch
from ssim_ae.data.images import Pixels

MOSTLY = 0.5  # share of a picture: no defect is as large, but another lamp is
SEEN = 128  # rows and columns that are looked at, evenly spaced


def other_light(pixels: Pixels, stretch: Stretch | None) -> str | None:
    """What to say of a picture most of which the inspection clips, see data/contrast.

    ``pixels``: uint8 ``[h, w]`` or ``[h, w, 3]``.
    """
    if stretch is None:
        return None
    rows, columns = (-(-side // SEEN) for side in pixels.shape[:2])
    values = pixels[::rows, ::columns] / 255
    if stretch.gain != 1:
        values = (values - np.array(stretch.level)) * stretch.gain + 0.5
    beyond = (values < stretch.low) | (values > stretch.high)
    share = float((beyond.any(2) if beyond.ndim == 3 else beyond).mean())
    if share <= MOSTLY:
        return None
    return (
        f"{share:.0%} of it is darker or brighter than all good pictures that were trained on, and "
        "shows nothing more: see to lamp and exposure, or train on such pictures as well"
    )
