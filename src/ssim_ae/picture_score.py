"""A score: what stands out most in a map, and how unlike good pictures all of it is.

One line of arithmetic, on torch values in the exported graph and on NumPy ones where a picture was
inspected in blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ssim_ae.config import ResidualSettings

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value", "Tensor", np.float64)


def picture_score(highest: Value, mean: Value, settings: ResidualSettings) -> Value:
    """``highest`` and ``mean`` of whole pictures' anomaly maps -> their scores.

    All three float32 ``[n]`` in the graph; one float64 for a picture that was inspected in blocks.

    Of a defect that covers the picture nothing stands out, since surroundings are subtracted; but
    the map's mean then lies beyond what good pictures differ by.
    """
    if settings.mean_beyond is None:
        return highest
    beyond = mean - settings.mean_beyond * settings.unit
    return highest + (beyond + abs(beyond)) / 2  # its positive part: both types know abs
