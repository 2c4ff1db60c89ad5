"""Timings taken in turn, on cores that share a cache or on ones that do not.

The host of a virtual machine moves its cores about. On processors with several last-level caches
two of them lie now beside one cache, now beside two, for seconds or minutes each; then what one
core wrote reaches the other three to six times as slowly. A matrix product does not notice, a
network of many small layers does: ONNX Runtime takes 47 or 66 ms for one and the same graph.
Timings of both kinds must not mix.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

ROUNDS = 7
REST = 0.15  # seconds
PATIENCE = 240  # seconds that all timings together wait for the wanted kind
AT_FIRST = 60  # of them for the first one: it may never come
SHARE = 1 << 18  # float32 values of each thread: 1 MiB
SHARED = 0.65  # of the own rate: on one cache it is 0.8 and more, on two below 0.55


def cores_share_a_cache(repeats: int = 20) -> bool:
    """Whether threads read what their neighbour wrote nearly as fast as what they wrote."""
    threads = torch.get_num_threads()
    values = torch.zeros((threads + 1) * SHARE)
    first, moved = values[:-SHARE], values[SHARE:]  # each thread takes an equal piece, in order
    own, crossed = [], []
    for _ in range(repeats):
        first.add_(1)
        own.append(_seconds(lambda: first.add_(1)))
        crossed.append(_seconds(lambda: moved.add_(1)))
    return threads == 1 or statistics.median(own) > SHARED * statistics.median(crossed)


def in_turn(
    work: dict[str, Callable[[], object]], rounds: int = ROUNDS, one_cache: bool = True
) -> tuple[dict[str, float], dict[str, int]]:
    """Median milliseconds of each, each after a rest and an unmeasured call; see ``timings``."""
    seconds, cores = timings(
        {name: partial(_after_rest, call) for name, call in work.items()}, rounds, one_cache
    )
    return {name: round(1e3 * statistics.median(s), 1) for name, s in seconds.items()}, cores


def timings(
    work: dict[str, Callable[[], float]],
    rounds: int = ROUNDS,
    one_cache: bool = True,
    patience: float | None = None,
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """What each returns, called in turn.

    It counts when the cores shared a cache before and after it (``one_cache`` False: when they did
    not), and is called anew otherwise; as it comes, once ``patience`` (seconds that all together
    wait, ``PATIENCE``) is used up.

    Returns:
        The values, and how many of the timings were of the wanted kind.
    """
    values: dict[str, list[float]] = {name: [] for name in work}
    patience = PATIENCE if patience is None else patience
    waited, wanted = 0.0, 0
    for _ in range(rounds):
        for name, call in work.items():
            most = patience if wanted else min(AT_FIRST, patience)
            while True:
                while cores_share_a_cache() != one_cache and waited < most:
                    time.sleep(0.5)
                    waited += 0.5
                began = time.monotonic()
                taken = call()
                kept = cores_share_a_cache() == one_cache
                if kept or waited >= most:
                    break
                waited += time.monotonic() - began
            wanted += kept
            values[name].append(taken)
    kind = "on_one_cache" if one_cache else "on_two_caches"
    return values, {"timings": rounds * len(work), kind: wanted}


def on_one_cache(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What work of some seconds returns, done anew while the cores moved; and whether they did."""
    patience = time.monotonic() + PATIENCE
    while True:
        while not (shared := cores_share_a_cache()) and time.monotonic() < patience:
            time.sleep(0.5)
        found = work()
        shared = shared and cores_share_a_cache()
        if shared or time.monotonic() >= patience:
            return {**found, "on_one_cache": shared}


def _after_rest(call: Callable[[], object]) -> float:
    time.sleep(REST)  # what ran before keeps its threads spinning for a while
    call()
    return _seconds(call)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
