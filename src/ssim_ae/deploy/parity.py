"""The parity gate: an export is kept only when it says what the detector says.

Both run the same pictures, good and defective ones. The bounds are stated here, one row for each
precision. Verdicts may differ only for scores that equal the threshold to within that bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ssim_ae.data.images import Pixels
from ssim_ae.errors import SsimAeError
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.openvino_engine import BF16

BATCH = 3  # pictures of one size are also run together: a batch must change nothing


class ParityError(SsimAeError):
    """An export that differs from its detector by more than its bound."""


@dataclass(frozen=True)
class Bounds:
    """Largest differences allowed. Maps and scores: of values in units in which the score
    threshold is about 1 to 5; ``mask``: share of the pixels; ``verdict``: how close to the score
    threshold, as a share of it, a score must be for a verdict to differ. It is not 0 for float32,
    because the picture whose score became the threshold may be among those compared."""

    map: float
    score: float
    mask: float
    verdict: float


BOUNDS = {
    "float32": Bounds(map=2e-4, score=1e-4, mask=1e-5, verdict=1e-4),
    "fp16": Bounds(map=0.05, score=0.02, mask=1e-3, verdict=0.01),
    "bf16": Bounds(map=0.5, score=0.2, mask=4e-3, verdict=0.03),
    "int8": Bounds(map=2.0, score=0.5, mask=0.02, verdict=0.1),
}


def precision_of(detector: Detector) -> str:
    """The row of BOUNDS for a detector: its file's, or its engine's where that is coarser."""
    precision = detector.record.precision
    return "bf16" if detector.engine.name == BF16 and precision != "int8" else precision


@dataclass(frozen=True)
class Parity:
    """What was found on ``pictures``; see ``Bounds`` for the units."""

    pictures: int
    pixels: int
    map: float
    score: float
    mask: float
    verdicts: int
    verdict: float

    def failures(self, bounds: Bounds) -> list[str]:
        """The bounds that do not hold, each in words."""
        return [
            f"{name} differs by {found:.2g}, bound {allowed:.2g}"
            for name, found, allowed in self.beside(bounds)
            if not found <= allowed  # so that a NaN fails too
        ]

    def beside(self, bounds: Bounds) -> list[tuple[str, float, float]]:
        """(what, found, allowed) of each figure."""
        found, allowed = asdict(self), asdict(bounds)
        return [(name, float(found[name]), float(value)) for name, value in allowed.items()]

    def table(self, bounds: Bounds) -> str:
        lines = [f"{self.pictures} pictures, {self.verdicts} verdicts differ", ""]
        lines.append(f"{'difference':12}{'found':>12}{'bound':>12}")
        for name, found, allowed in self.beside(bounds):
            lines.append(f"{name:12}{found:12.3g}{allowed:12.3g}")
        return "\n".join(lines)


def parity(detector: Detector, other: Detector, pictures: Sequence[Pixels]) -> Parity:
    """Compare two detectors on uint8 pictures at working size, singly and in batches.

    Raises:
        ParityError: the other one gives another shape, or lacks an output.
    """
    threshold, pixel = detector.thresholds.score, detector.thresholds.pixel
    differences: dict[str, list[float]] = {"map": [], "score": [], "verdict": [0.0]}
    marked = verdicts = pixels = 0
    for batch in _batches(pictures):
        expected, found = detector.engine.outputs(batch), other.engine.outputs(batch)
        for name in ("anomaly_map", "score", *(n for n in expected if n in ("mask", "defective"))):
            if name not in found or found[name].shape != expected[name].shape:
                shape = found[name].shape if name in found else "nothing"
                raise ParityError(f"{name} is {shape}, not {expected[name].shape}")
        differences["map"].append(_largest(found["anomaly_map"], expected["anomaly_map"]))
        differences["score"].append(_largest(found["score"], expected["score"]))
        mask = expected.get("mask", expected["anomaly_map"] > np.float32(pixel))
        other_mask = found.get("mask", found["anomaly_map"] > np.float32(pixel))
        marked += int((mask != other_mask).sum())
        pixels += mask.size
        verdict = expected.get("defective", expected["score"] > np.float32(threshold))
        other_verdict = found.get("defective", found["score"] > np.float32(threshold))
        for score in expected["score"][verdict != other_verdict]:
            verdicts += 1
            distance = abs(float(score) - threshold) / max(abs(threshold), 1e-9)
            differences["verdict"].append(distance + 1e-9)
    return Parity(
        pictures=len(pictures),
        pixels=pixels,
        mask=marked / max(1, pixels),
        verdicts=verdicts,
        **{name: float(np.max(values)) for name, values in differences.items()},
    )


def _largest(found: Any, expected: Any) -> float:
    return float(np.abs(found.astype(np.float64) - expected).max())


def _batches(pictures: Sequence[Pixels]) -> list[Pixels]:
    """Each picture alone, then the first few of one size together."""
    alike = [p for p in pictures if p.shape == pictures[0].shape][:BATCH]
    return [p[None] for p in pictures] + ([np.stack(alike)] if len(alike) > 1 else [])
