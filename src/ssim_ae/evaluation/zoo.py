"""The zoo's own verdict: weighted border, threshold, background, opening - and its ok/nok/acc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssim_ae.config import ZooSettings
from ssim_ae.data.images import Map, Pixels

BLACK, WHITE = 50, 200  # a background is darker or brighter than these grey levels


def zoo_mask(
    anomaly_map: Map, threshold: float, picture: Pixels, zoo: ZooSettings
) -> NDArray[np.bool_]:
    """The zoo's predicted mask ``[h, w]`` of one picture at working size.

    The border frame is weighted down, the map cut at the threshold, the background (B: dark, W:
    bright; holes in the object filled) taken out, specks removed by an opening with a disk.
    """
    from scipy import ndimage

    weighted = anomaly_map * zoo.border_weight
    inner = (slice(zoo.border, -zoo.border or None),) * 2
    weighted[inner] = anomaly_map[inner]
    mask = weighted > threshold
    if zoo.bg_mask is not None:
        grey = picture if picture.ndim == 2 else picture.mean(axis=2)
        foreground = grey > BLACK if zoo.bg_mask == "B" else grey < WHITE
        mask &= ndimage.binary_fill_holes(foreground)
    if zoo.opening:
        y, x = np.ogrid[-zoo.opening : zoo.opening + 1, -zoo.opening : zoo.opening + 1]
        mask = ndimage.binary_opening(mask, structure=x * x + y * y <= zoo.opening**2)
    return np.asarray(mask)


@dataclass
class PixelTally:
    """Defective pixels found and missed, good pixels kept and marked."""

    hits: int = 0
    misses: int = 0
    kept: int = 0
    alarms: int = 0

    def add(self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
        self.hits += int((predicted & truth).sum())
        self.misses += int((~predicted & truth).sum())
        self.kept += int((~predicted & ~truth).sum())
        self.alarms += int((predicted & ~truth).sum())

    def numbers(self) -> dict[str, float | None]:
        """ok: recall of defect pixels; nok: specificity; acc: accuracy (the zoo's words)."""
        return {
            "ok": _share(self.hits, self.hits + self.misses),
            "nok": _share(self.kept, self.kept + self.alarms),
            "acc": _share(self.hits + self.kept, self.hits + self.misses + self.kept + self.alarms),
        }

    def auc(self) -> float | None:
        """Area under the ROC of the binary mask, which the zoo prints as its AUC."""
        numbers = self.numbers()
        if numbers["ok"] is None or numbers["nok"] is None:
            return None
        return (numbers["ok"] + numbers["nok"]) / 2


def verdict_numbers(
    rejected: NDArray[np.bool_], defective: NDArray[np.bool_]
) -> dict[str, float | None]:
    """ok: good pictures accepted; nok: defective pictures rejected; acc: both together."""
    good = ~defective
    return {
        "ok": _share(int((~rejected & good).sum()), int(good.sum())),
        "nok": _share(int((rejected & defective).sum()), int(defective.sum())),
        "acc": _share(int((rejected == defective).sum()), len(defective)),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
