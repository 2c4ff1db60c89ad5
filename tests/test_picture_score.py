import numpy as np
import pytest
import torch

from ssim_ae.config import ResidualSettings
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.picture_score import picture_score


def settings(**changes: object) -> ResidualSettings:
    terms = [{"kind": "ssim", "weight": 0.5}, {"kind": "l1", "weight": 1.5}]
    return ResidualSettings.model_validate({"terms": terms, **changes})


def by_hand(anomaly_map: np.ndarray, allowed: float) -> float:
    """What the mean has too much is what all pixels have too much, shared out among them."""
    return float(anomaly_map.max()) + max(0.0, float((anomaly_map - allowed).mean()))


@pytest.mark.parametrize(
    ("combine", "unit"), [("sum", 2.0), ("max", 1.5)], ids=["all terms", "the one that decides"]
)
def test_what_the_mean_has_too_much_is_added(combine: str, unit: float) -> None:
    rules = settings(combine=combine, mean_beyond=0.1)
    assert rules.unit == unit
    rng = np.random.default_rng(0)
    maps = rng.normal(0.1 * unit, 0.3, (20, 9, 7)).astype(np.float32)  # half of them beyond
    maps += rng.normal(0, 0.2, (20, 1, 1)).astype(np.float32)
    expected = [by_hand(m, 0.1 * unit) for m in maps]
    lifted = np.array(expected) > maps.max((1, 2))
    assert 3 < lifted.sum() < 17
    np.testing.assert_allclose(
        Residual(rules).score(torch.from_numpy(maps)), expected, rtol=0, atol=1e-6
    )
    for anomaly_map, score in zip(maps, expected, strict=True):  # as for a picture in blocks
        highest, mean = np.float64(anomaly_map.max()), anomaly_map.mean(dtype=np.float64)
        assert picture_score(highest, mean, rules) == pytest.approx(score, abs=1e-6)


def test_a_picture_like_good_ones_has_the_maximum_to_the_last_bit() -> None:
    maps = torch.randn(50, 8, 8) * 1e3
    maps -= maps.mean((1, 2), keepdim=True)
    for rules in (settings(), settings(mean_beyond=0.1)):
        assert torch.equal(Residual(rules).score(maps), maps.amax((1, 2)))


def test_a_defect_that_covers_the_picture_outranks_a_speck_as_high() -> None:
    speck, covered = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    speck[0, 5, 5] = covered[0, :40] = 2
    score = Residual(settings(mean_beyond=0.075)).score
    assert float(score(speck)) == 2
    assert float(score(covered)) == pytest.approx(2 + 2 * 40 / 64 - 0.15)
