"""What is counted while the test pictures go by, and the figures that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.layouts import TestPicture
from ssim_ae.evaluation.metrics import (
    PixelCounts,
    auroc,
    average_precision,
    f1_max,
    per_score,
)
from ssim_ae.evaluation.zoo import PixelTally, verdict_numbers
from ssim_ae.runtime.detector import Detector


@dataclass
class Tally:
    """Counts of pixels, scores and verdicts, of the detector and of the controls beside it."""

    pixels: PixelCounts = field(default_factory=PixelCounts)
    control_pixels: PixelCounts = field(default_factory=PixelCounts)
    reference: PixelTally = field(default_factory=PixelTally)
    zoo_pixels: PixelTally = field(default_factory=PixelTally)
    scores: list[tuple[TestPicture, float]] = field(default_factory=list)
    control_scores: list[float] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    zoo_rejects: list[bool] = field(default_factory=list)
    in_other_light: list[str] = field(default_factory=list)  # a line for each such picture
    seconds: float = 0.0


def metrics_of(
    detector: Detector, tally: Tally, has_control: bool, unreadable: int
) -> dict[str, Any]:
    """The figures of metrics.json, from counts; None where a class is missing."""
    scores = np.array([s for _, s in tally.scores])
    defective = np.array([not t.is_good for t, _ in tally.scores])
    counts = per_score(scores, defective)
    threshold = detector.thresholds.score
    rejected = scores > threshold
    verdicts = verdict_numbers(rejected, defective)
    brightness = auroc(*per_score(np.array(tally.brightness), defective))
    no_model = None
    if has_control:
        control_scores = np.array(tally.control_scores)
        no_model = {
            "pixel_auroc": tally.control_pixels.auroc(),
            "aupro_30": tally.control_pixels.aupro(0.3),
            "image_auroc": auroc(*per_score(control_scores, defective)),
        }
    ok = verdicts["ok"]
    metrics: dict[str, Any] = {
        "pixel_auroc": tally.pixels.auroc(),
        "pixel_ap": tally.pixels.average_precision(),
        "aupro_30": tally.pixels.aupro(0.3),
        "aupro_05": tally.pixels.aupro(0.05),
        "image_auroc": auroc(*counts),
        "image_ap": average_precision(*counts),
        "image_f1_max": f1_max(*counts),
        "at_threshold": {
            "threshold": threshold,
            "false_reject_rate": None if ok is None else 1 - ok,
            "recall": verdicts["nok"],
            **verdicts,
        },
        "reference_pixel": tally.reference.numbers(),
        "baselines": {
            "all_defective_acc": float(defective.mean()),
            # either direction: a classifier may call bright or dark pictures defective
            "brightness_image_auroc": None
            if brightness is None
            else max(brightness, 1 - brightness),
            "no_model": no_model,
        },
        "counts": {
            "good": int((~defective).sum()),
            "defective": int(defective.sum()),
            "regions": tally.pixels.region_count,
            "unreadable": unreadable,
        },
        "timing": {
            "seconds_per_image": tally.seconds / len(scores),
            "images_per_second": len(scores) / tally.seconds,
        },
        "per_defect": _per_defect(tally.scores, scores, defective, threshold),
        "engine": detector.engine.name,
        "detector_sha256": detector.sha256,
    }
    if detector.record.settings.zoo is not None:
        metrics["zoo"] = {
            "level": "image" if detector.record.settings.zoo.image_level else "pixel",
            "image_level": verdict_numbers(np.array(tally.zoo_rejects), defective),
            "pixel_level": {**tally.zoo_pixels.numbers(), "mask_auc": tally.zoo_pixels.auc()},
        }
    return metrics


def _per_defect(
    pictures: list[tuple[TestPicture, float]],
    scores: NDArray[np.float64],
    defective: NDArray[np.bool_],
    threshold: float,
) -> dict[str, dict[str, Any]]:
    names = np.array([t.defect for t, _ in pictures])
    table = {}
    for name in sorted(set(names[defective].tolist())):
        chosen = names == name
        among = chosen | ~defective
        table[name] = {
            "pictures": int(chosen.sum()),
            "recall": float((scores[chosen] > threshold).mean()),
            "image_auroc": auroc(*per_score(scores[among], defective[among])),
        }
    return table
