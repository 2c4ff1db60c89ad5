import numpy as np
import pytest

from ssim_ae.errors import InputError
from ssim_ae.training.calibrate import conformal_rank


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
