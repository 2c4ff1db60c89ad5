"""The gate against engines that differ by known amounts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ssim_ae.deploy.parity import BOUNDS, ParityError, parity
from ssim_ae.runtime.record import Thresholds

THRESHOLDS = Thresholds(score=0.5, pixel=0.25)


class Given:
    """Stands for a detector whose engine returns pixel / 255, changed as told."""

    thresholds = THRESHOLDS

    def __init__(self, plus: float = 0.0, last: float = 0.0, leave_out: str = "") -> None:
        self.engine, self.plus, self.last, self.leave_out = self, plus, last, leave_out

    def outputs(self, batch: np.ndarray) -> dict[str, Any]:
        anomaly_map = (batch / 255 + self.plus).astype(np.float32)
        anomaly_map[-1, -1, -1] += self.last
        score = anomaly_map.max((1, 2))
        found = {
            "anomaly_map": anomaly_map,
            "score": score,
            "mask": anomaly_map > THRESHOLDS.pixel,
            "defective": score > THRESHOLDS.score,
        }
        found.pop(self.leave_out, None)
        return found


PICTURES = [np.full((10, 20), level, np.uint8) for level in (10, 60, 120, 200)]


def test_equal_engines_pass() -> None:
    found = parity(Given(), Given(), PICTURES)
    assert (found.map, found.score, found.mask, found.verdicts, found.verdict) == (0,) * 5
    assert found.pictures == 4
    assert found.pixels == 200 * (4 + 3)  # each alone, then three together
    assert found.failures(BOUNDS["float32"]) == []
    assert "4 pictures, 0 verdicts differ" in found.table(BOUNDS["float32"])


def test_differences_are_measured() -> None:
    found = parity(Given(), Given(plus=0.01), PICTURES)
    assert found.map == pytest.approx(0.01, abs=1e-6)
    assert found.score == pytest.approx(0.01, abs=1e-6)
    # 60 / 255 = .235 and 120 / 255 = .471 stay on their side of .25 and .5
    assert (found.mask, found.verdicts) == (0, 0)
    moved = parity(Given(), Given(plus=0.02), PICTURES)
    assert moved.mask == pytest.approx(2 / 7)  # all of the picture at 60, alone and in the batch
    flipped = parity(Given(), Given(plus=0.03), PICTURES)
    assert flipped.verdicts == 2
    assert flipped.verdict == pytest.approx(1 - 120 / 255 / 0.5, abs=1e-6)
    assert [f.split()[0] for f in flipped.failures(BOUNDS["float32"])] == [
        "map", "score", "mask", "verdict",
    ]  # fmt: skip


def test_one_wrong_pixel_of_the_last_picture_is_found() -> None:
    found = parity(Given(), Given(last=3e-4), PICTURES)
    assert found.failures(BOUNDS["float32"]) == [
        "map differs by 0.0003, bound 0.0002",
        "score differs by 0.0003, bound 0.0001",
    ]
    assert found.failures(BOUNDS["fp16"]) == []


def test_nan_fails() -> None:
    assert parity(Given(), Given(plus=math.nan), PICTURES).failures(BOUNDS["int8"])


def test_a_missing_output_or_another_shape_is_refused() -> None:
    with pytest.raises(ParityError, match="mask is nothing"):
        parity(Given(), Given(leave_out="mask"), PICTURES)

    class Shrunk(Given):
        def outputs(self, batch: np.ndarray) -> dict[str, Any]:
            return super().outputs(batch[:, ::2])

    with pytest.raises(ParityError, match=r"anomaly_map is \(1, 5, 20\), not \(1, 10, 20\)"):
        parity(Given(), Shrunk(), PICTURES)


def test_an_old_detector_without_mask_is_compared_by_its_thresholds() -> None:
    old = Given(leave_out="mask")
    assert parity(old, Given(plus=0.02), PICTURES).mask == pytest.approx(2 / 7)
