"""What a threshold promises, against simulation and SciPy's distributions."""

import numpy as np
import pytest
from scipy import stats

from ssim_ae.errors import InputError
from ssim_ae.evaluation.conformal import (
    chance_of,
    conformal_rank,
    promise,
    rate_at_most,
    surprise,
)
from ssim_ae.runtime.record import Calibration


def calibration(pictures: int = 19, groups: int = 19, rank: int = 19) -> Calibration:
    return Calibration(
        pictures=pictures, groups=groups, asked_false_reject_rate=0.05,
        promised_false_reject_rate=0.05, rank=rank, pixel_false_reject_rate=0.002,
        pixels=1, scores=[0.0] * pictures, source="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("n", "rate", "rank", "promised"),
    [
        (19, 0.05, 19, 0.05),  # the fewest that can promise 5 %
        (18, 0.05, 18, 1 / 19),
        (99, 0.01, 99, 0.01),
        (39, 0.05, 38, 0.05),
        (1, 0.5, 1, 0.5),
        (1, 0.05, 1, 0.5),
    ],
)
def test_rank(n: int, rate: float, rank: int, promised: float) -> None:
    assert conformal_rank(n, rate) == (rank, pytest.approx(promised))


def test_no_pictures() -> None:
    with pytest.raises(InputError, match="no held-out"):
        conformal_rank(0, 0.05)


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (40, 0.05), (43, 0.1), (7, 0.05)])
def test_the_promise_holds_on_exchangeable_scores(n: int, rate: float) -> None:
    rng = np.random.default_rng(0)
    rank, promised = conformal_rank(n, rate)
    scores = rng.gamma(2, size=(20_000, n + 1))
    thresholds = np.sort(scores[:, :n], axis=1)[:, rank - 1]
    rejected = float((scores[:, n] > thresholds).mean())
    assert rejected <= promised + 0.005
    assert rejected >= 1 - rank / (n + 1) - 0.005  # and the bound is not idle
    # of each threshold the true rate is known: 95 % of them stay below the bound, and no more
    below = stats.gamma(2).sf(thresholds) <= rate_at_most(n, rank)
    assert float(below.mean()) == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize(("n", "rank", "good"), [(19, 19, 26), (40, 39, 70), (5, 3, 4)])
def test_chance_of_so_many_is_the_beta_binomials(n: int, rank: int, good: int) -> None:
    oracle = stats.betabinom(good, n + 1 - rank, rank)
    for rejected in range(good + 1):
        expected = float(oracle.sf(rejected - 1))
        assert chance_of(rejected, good, n, rank) == pytest.approx(expected, rel=1e-9)


def test_a_promise_says_how_sure_it_is() -> None:
    assert promise(calibration()) == (
        "at most 5.0% of good pictures rejected on average (from 19 held-out ones), "
        "with 95% confidence at most 14.6%"
    )
    rare = calibration(2499, 2499, 2499).model_copy(update={"promised_false_reject_rate": 0.0004})
    assert promise(rare).startswith("at most 0.04% of good pictures rejected on average")
    # pictures of one strip are no independent witnesses
    assert "confidence" not in promise(calibration(groups=3))


def test_only_what_chance_hardly_does_is_a_surprise() -> None:
    assert surprise(calibration(), 1, 26) is None
    assert surprise(calibration(), 6, 26) is None  # a wide distribution: 19 pictures are few
    line = surprise(calibration(), 10, 26)
    assert line is not None
    assert line.startswith("10 of 26 good test pictures are rejected")
    once = 1 / float(stats.betabinom(26, 1, 19).sf(9))
    assert f"at most once in {int(once):,} times" in line
    assert "once in 1,000,000,000 times" in str(surprise(calibration(99, 99, 95), 5000, 5000))
    grouped = surprise(calibration(groups=3), 10, 26)
    assert grouped is not None
    assert grouped.endswith("of only 3 groups: calibrate on good pictures of more")


def test_a_rank_is_never_below_the_smallest_score() -> None:
    assert conformal_rank(20, 1 - 1e-12)[0] == 1
