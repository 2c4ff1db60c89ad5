"""What a threshold from n good pictures promises: split conformal prediction.

With n exchangeable good scores, a further good picture exceeds the k-th smallest of them with
probability at most 1 - k / (n + 1) (Vovk et al. 2005; Lei et al. 2018). k = ceil((n + 1)(1 - rate))
promises the asked false-reject rate; it exists when n >= 1 / rate - 1.

That is an average over thresholds from such pictures. The rate of one threshold follows a
Beta(n + 1 - k, k) distribution (Vovk, ACML 2012), wide where n is small.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import betaincinv, gammaln

from ssim_ae.errors import InputError
from ssim_ae.runtime.record import Calibration

CONFIDENCE = 0.95
UNLIKELY = 0.01  # so many false rejects are not chance
RAREST = 10**9  # rarer is told as once in so many times


def conformal_rank(n: int, rate: float) -> tuple[int, float]:
    """(k, promised rate): the threshold is the k-th smallest of n scores.

    The promised rate is the asked one, or 1 / (n + 1) when n pictures cannot promise that.
    """
    if n < 1:
        raise InputError("no held-out good pictures: calibration needs at least one")
    rank = max(1, math.ceil((n + 1) * (1 - rate) - 1e-9))
    return (rank, rate) if rank <= n else (n, 1 / (n + 1))


def rate_at_most(n: int, rank: int, confidence: float = CONFIDENCE) -> float:
    """What the false-reject rate of a threshold, the rank-th of n scores, stays below so surely."""
    return float(betaincinv(n + 1 - rank, rank, confidence))


def chance_of(rejected: int, good: int, n: int, rank: int) -> float:
    """Probability that at least so many of ``good`` further pictures exceed the rank-th of n
    scores, all of one kind: every order of the n + good scores is as likely."""

    def log_choices(total: Any, chosen: Any) -> Any:
        return gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)

    above = np.arange(rejected, good + 1)
    below = good - above
    orders = log_choices(below + rank - 1, rank - 1) + log_choices(above + n - rank, n - rank)
    return min(1.0, float(np.exp(orders - log_choices(n + good, n)).sum()))


def confident_rate(calibration: Calibration) -> float | None:
    """What the detector's own false-reject rate stays below with 95 % confidence; None where
    several held-out pictures are of one strip or part: those say less than as many others."""
    if calibration.groups < calibration.pictures:
        return None
    return rate_at_most(calibration.pictures, calibration.rank)


def percent(rate: float) -> str:
    """5.0%, and 0.04% rather than 0.0%."""
    return f"{rate:.1%}" if rate >= 0.001 else f"{100 * rate:.1g}%"


def promise(calibration: Calibration) -> str:
    """One line of what the threshold promises and how sure that is."""
    line = (
        f"at most {percent(calibration.promised_false_reject_rate)} of good pictures rejected on "
        f"average (from {calibration.pictures} held-out ones)"
    )
    sure = confident_rate(calibration)
    if sure is None:
        return line
    return f"{line}, with {CONFIDENCE:.0%} confidence at most {percent(sure)}"


def surprise(calibration: Calibration, rejected: int, good: int) -> str | None:
    """A line where more good pictures are rejected than chance explains; else None."""
    chance = chance_of(rejected, good, calibration.pictures, calibration.rank)
    if chance >= UNLIKELY:
        return None
    line = (
        f"{rejected} of {good} good test pictures are rejected, where at most "
        f"{percent(calibration.promised_false_reject_rate)} were promised on average from "
        f"{calibration.pictures} held-out ones"
    )
    if calibration.groups < calibration.pictures:
        return f"{line} of only {calibration.groups} groups: calibrate on good pictures of more"
    once_in = int(1 / chance) if chance * RAREST > 1 else RAREST
    return (
        f"{line}: by chance that happens at most once in {once_in:,} times, so these pictures "
        "differ from those: calibrate on good pictures of the line"
    )
