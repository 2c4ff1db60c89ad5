"""OpenVINO on the CPU: the ONNX file itself, or an exported IR; in float32, or bf16 on request."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Map, Pixels
from ssim_ae.errors import DetectorError, SsimAeError

BF16 = "openvino:bf16"


@functools.cache
def the_core() -> Any:
    """One for the process, never given up.

    OpenVINO 2026.4 gives the thread that first computes with a Core a stack for signals and, when
    the Core goes, the stack of before. Of two that go in the order they came, the second brings
    back what the first has unmapped: the next Ctrl-C is a segmentation fault.
    """
    import openvino as ov

    return ov.Core()


def no_bf16() -> str | None:
    """Why OpenVINO computes no bf16 here, in one line; None where it does."""
    if "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    return "OpenVINO computes no bf16 on this processor: use openvino, in float32"


class OpenVino:
    """``graph``: bytes of an ONNX file, or of an IR's .xml with ``weights``, its .bin.

    ``name``: `openvino` computes in float32, `openvino:bf16` in bf16 where ``no_bf16`` is None.
    """

    def __init__(
        self,
        graph: bytes,
        weights: Path | None = None,
        threads: int | None = None,
        name: str = "openvino",
    ) -> None:
        self.name = name
        self._turn = threading.Lock()  # all threads share one request and its output memory
        core = the_core()
        # f32: CPUs with bf16 units would otherwise give, unasked, other maps than calibrated on
        options: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if name == BF16 else "f32",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(graph, weights.read_bytes() if weights else b"")
            self._model = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise DetectorError(f"OpenVINO refuses the graph ({reason})") from None

    def run(self, batch: Pixels) -> tuple[Map, Map]:
        found = self.outputs(batch)
        return found["anomaly_map"], found["score"]

    def outputs(self, batch: Pixels) -> dict[str, NDArray[Any]]:
        try:
            with self._turn:
                result = self._model([batch])
                return {port.get_any_name(): np.array(result[port]) for port in self._model.outputs}
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SsimAeError(
                f"OpenVINO failed on {batch.shape} ({reason}): free memory, or use smaller pictures"
            ) from None
