"""Time a detector on this machine with every usable engine, alternating, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssim_ae.errors import InputError, SsimAeError
from ssim_ae.runtime.blocks import Tiling
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.engines import ENGINES, OF_SUFFIX

ROUNDS = 7
REST = 0.15  # seconds before each timing: what ran before keeps its threads spinning for a while
LONG = 1.0  # seconds, of a call that needs no other one before it to be warm
PICTURES = 4  # of a batch, for throughput


def benchmark(run: str | PathLike[str], size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Milliseconds per picture for each engine that starts here, and for each export of the run.

    Args:
        run: run folder or detector.onnx.
        size: (height, width) at working size; by default the square that the settings give.

    Returns ``size``, ``tiles`` (1: the network takes a picture as a whole), ``sgemm_gflops``
    (NumPy, 1024x1024 float32) and per engine or export ``load_ms``, ``latency_ms`` (one picture),
    ``pictures_per_second`` (batches of 4; one by one where they are large), or the one line why it
    is not usable. Noise stands in for pictures: the time does not depend on them.
    """
    first = Detector.load(run)
    s = first.record.settings
    side = s.centre_crop or s.resize or 2 * s.tile
    height, width = size or (side, side)
    if min(height, width) < 1:
        raise InputError(f"size is {height} {width}: give height and width in pixels")
    color = () if s.color == "grey" else (3,)
    tiling = Tiling(s, first.record.reach)
    of_one = tiling.taken(tiling.count(height), tiling.count(width))
    pictures = PICTURES if PICTURES * of_one <= tiling.room(height, width) else 1
    batch = np.random.default_rng(0).integers(
        0, 256, (pictures, height, width, *color), dtype=np.uint8
    )
    engines: dict[str, Any] = {}
    running: dict[str, Detector] = {}
    exports = sorted((first.file.parent / "exports").glob("detector*"))
    ways: list[tuple[str, Path, str | None]] = [(name, first.file, name) for name in ENGINES]
    ways += [(f"exports/{f.name}", f, None) for f in exports if f.suffix in OF_SUFFIX]
    for name, file, engine in ways:
        began = time.perf_counter()
        try:
            detector = Detector.load(file, engine)
            load_ms = round(1e3 * (time.perf_counter() - began), 1)
            detector.measure(batch[0])
            _run_all(detector, batch)
        except SsimAeError as error:
            engines[name] = {"not_usable": str(error)}
            continue
        running[name], engines[name] = detector, {"load_ms": load_ms}
    single: dict[str, list[float]] = {name: [] for name in running}
    several: dict[str, list[float]] = {name: [] for name in running}
    sgemm = []
    for _ in range(ROUNDS):  # in turn, so that a change of the machine's pace meets all alike
        sgemm.append(_sgemm_gflops())
        for name, detector in running.items():
            single[name].append(_seconds(partial(detector.measure, batch[0])))
        for name, detector in running.items():
            several[name].append(_seconds(partial(_run_all, detector, batch)))
    for name in running:
        engines[name]["latency_ms"] = round(1e3 * statistics.median(single[name]), 1)
        rate = PICTURES / statistics.median(several[name])
        engines[name]["pictures_per_second"] = round(rate, 1)
    tiles = [-(-(n - s.tile) // s.stride) + 1 for n in (height, width)]
    return {
        "size": [height, width],
        "tiles": tiles[0] * tiles[1] if s.network == "reference" else 1,
        "sgemm_gflops": round(statistics.median(sgemm), 1),
        "engines": engines,
    }


def _run_all(detector: Detector, batch: NDArray[np.uint8]) -> None:
    """PICTURES of them: at once, or one after the other where they are large."""
    if len(batch) == PICTURES:
        detector.engine.run(batch)
        return
    for _ in range(PICTURES):  # in blocks, where it needs them
        detector.measure(batch[0])


def _seconds(work: Callable[[], object]) -> float:
    """Of a call as one of many would take it: after a rest and, where it is short, another one."""
    time.sleep(REST)
    first = _once(work)
    return first if first > LONG else _once(work)


def _once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _sgemm_gflops(size: int = 1024) -> float:
    a = np.ones((size, size), np.float32)
    return 2 * size**3 / _seconds(lambda: a @ a) / 1e9
