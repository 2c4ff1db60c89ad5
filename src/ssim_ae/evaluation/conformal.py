"""What a threshold from n good pictures promises: split conformal prediction.

With n exchangeable good scores, a further good picture exceeds the k-th smallest of them with
probability at most 1 - k / (n + 1) (Vovk et al. 2005; Lei et al. 2018). k = ceil((n + 1)(1 - rate))
promises the asked false-reject rate; it exists when n >= 1 / rate - 1.

That is an average over thresholds from such pictures. The rate of one threshold follows a
Beta(n + 1 - k, k) distribution (Vovk, ACML 2012), wide where n is small.
"""

from __future__ import annotations

import math

from scipy.special import betaincinv

from ssim_ae.errors import InputError
from ssim_ae.runtime.record import Calibration

CONFIDENCE = 0.95
UNLIKELY = 0.01  # so many false rejects are not chance


def conformal_rank(n: int, rate: float) -> tuple[int, float]:
    """(k, promised rate): the threshold is the k-th smallest of n scores.

    The promised rate is the asked one, or 1 / (n + 1) when n pictures cannot promise that.
    """
    if n < 1:
        raise InputError("no held-out good pictures: calibration needs at least one")
    rank = math.ceil((n + 1) * (1 - rate) - 1e-9)
    return (rank, rate) if rank <= n else (n, 1 / (n + 1))


def rate_at_most(n: int, rank: int, confidence: float = CONFIDENCE) -> float:
    """What the false-reject rate of a threshold, the rank-th of n scores, stays below so surely."""
    return float(betaincinv(n + 1 - rank, rank, confidence))


def chance_of(rejected: int, good: int, n: int, rank: int) -> float:
    """Probability that at least so many of ``good`` further pictures exceed the rank-th of n
    scores, all of one kind: every order of the n + good scores is as likely."""
    orders = sum(
        math.comb(good - j + rank - 1, rank - 1) * math.comb(j + n - rank, n - rank)
        for j in range(rejected, good + 1)
    )
    return orders / math.comb(n + good, n)


def confident_rate(calibration: Calibration) -> float | None:
    """What the detector's own false-reject rate stays below with 95 % confidence; None where
    several held-out pictures are of one strip or part: those say less than as many others."""
    if calibration.groups < calibration.pictures:
        return None
    return rate_at_most(calibration.pictures, calibration.rank)


def promise(calibration: Calibration) -> str:
    """One line of what the threshold promises and how sure that is."""
    line = (
        f"at most {calibration.promised_false_reject_rate:.1%} of good pictures rejected on "
        f"average (from {calibration.pictures} held-out ones)"
    )
    sure = confident_rate(calibration)
    return line if sure is None else f"{line}, with {CONFIDENCE:.0%} confidence at most {sure:.1%}"


def surprise(calibration: Calibration, rejected: int, good: int) -> str | None:
    """A line where more good pictures are rejected than chance explains; else None."""
    chance = chance_of(rejected, good, calibration.pictures, calibration.rank)
    if chance >= UNLIKELY:
        return None
    line = (
        f"{rejected} of {good} good test pictures are rejected, where at most "
        f"{calibration.promised_false_reject_rate:.1%} were promised on average from "
        f"{calibration.pictures} held-out ones"
    )
    if calibration.groups < calibration.pictures:
        return f"{line} of only {calibration.groups} groups: calibrate on good pictures of more"
    return (
        f"{line}: by chance that happens once in {1 / chance:,.0f} times, so these pictures differ "
        "from those: calibrate on good pictures of the line"
    )
