"""ONNX Runtime, on the CPU or one of its execution providers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Map, Pixels
from ssim_ae.errors import DetectorError, InputError, SsimAeError
from ssim_ae.runtime.engines import ENGINES

PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime:cuda": "CUDAExecutionProvider",
    "onnxruntime:tensorrt": "TensorrtExecutionProvider",
    "onnxruntime:cann": "CANNExecutionProvider",
    "onnxruntime:openvino": "OpenVINOExecutionProvider",
    "onnxruntime:coreml": "CoreMLExecutionProvider",
}
# Beyond this many pixels the CPU's memory is given back after each run. Kept, it grows with every
# new shape, in powers of two: to 1.3 GiB after blocks that take 0.8.
KEPT = 1 << 20


def missing_provider(name: str) -> str | None:
    """Why the installed ONNX Runtime has no such provider; None when it has."""
    import onnxruntime as ort

    if PROVIDERS[name] in ort.get_available_providers():
        return None
    return f"this build of onnxruntime has no {PROVIDERS[name]}; {ENGINES[name]}"


class OnnxRuntime:
    """``threads`` None lets it take every core."""

    def __init__(self, graph: bytes, name: str = "onnxruntime", threads: int | None = None) -> None:
        import onnxruntime as ort

        self.name, provider = name, PROVIDERS[name]
        self._frugal = ort.RunOptions()
        self._frugal.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            # TF32 would give other maps than those calibrated on
            exact = {"use_tf32": 0} if name == "onnxruntime:cuda" else {}
            self._session = ort.InferenceSession(graph, options, providers=[(provider, exact)])
        except Exception as error:  # its exception types are no public classes
            reason = str(error).splitlines()[0]
            raise DetectorError(f"ONNX Runtime refuses the graph ({reason})") from None
        if self._session.get_providers()[0] != provider:  # it falls back to the CPU in silence
            raise InputError(
                f"engine {name} does not start on this machine (its driver or device is missing): "
                "use onnxruntime"
            )

    def run(self, batch: Pixels) -> tuple[Map, Map]:
        maps, scores = self._outputs(["anomaly_map", "score"], batch)
        return np.asarray(maps), np.asarray(scores)

    def outputs(self, batch: Pixels) -> dict[str, NDArray[Any]]:
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._outputs(names, batch), strict=True))

    def _outputs(self, names: list[str], batch: Pixels) -> list[NDArray[Any]]:
        large = len(batch) * batch.shape[1] * batch.shape[2] > KEPT
        options = self._frugal if large and self.name == "onnxruntime" else None
        try:
            return list(self._session.run(names, {"image": batch}, options))
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise SsimAeError(
                f"ONNX Runtime failed on {batch.shape} ({reason}): free memory, or use smaller "
                "pictures"
            ) from None
