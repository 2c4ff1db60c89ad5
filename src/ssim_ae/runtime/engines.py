"""Engines that run the inspection graph; each is imported only when asked for."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ssim_ae.data.images import Map, Pixels
from ssim_ae.errors import DetectorError, InputError, SsimAeError

ENGINES = ("onnxruntime", "openvino")


class Engine(Protocol):
    """uint8 ``[n, h, w(, 3)]`` -> anomaly maps float32 ``[n, h, w]``, scores float32 ``[n]``."""

    name: str

    def run(self, batch: Pixels) -> tuple[Map, Map]: ...


class OnnxRuntime:
    """ONNX Runtime on the CPU; ``threads`` None lets it take every core."""

    name = "onnxruntime"

    def __init__(self, graph: bytes, threads: int | None = None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exception types are no public classes
            reason = str(error).splitlines()[0]
            raise DetectorError(f"ONNX Runtime refuses the graph ({reason})") from None

    def run(self, batch: Pixels) -> tuple[Map, Map]:
        try:
            maps, scores = self._session.run(["anomaly_map", "score"], {"image": batch})
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise SsimAeError(
                f"ONNX Runtime failed on {batch.shape} ({reason}): free memory, or use smaller "
                "pictures"
            ) from None
        return np.asarray(maps), np.asarray(scores)


class OpenVino:
    """OpenVINO on the CPU."""

    name = "openvino"

    def __init__(self, graph: bytes, threads: int | None = None) -> None:
        try:
            import openvino as ov
        except ImportError:
            raise InputError("openvino is not installed: pip install openvino") from None
        core = ov.Core()
        # f32: CPUs with bf16 units would otherwise give other maps than those calibrated on
        options: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = core.compile_model(core.read_model(graph), "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise DetectorError(f"OpenVINO refuses the graph ({reason})") from None

    def run(self, batch: Pixels) -> tuple[Map, Map]:
        result = self._model([batch])
        return np.array(result["anomaly_map"]), np.array(result["score"])


def start_engine(name: str, graph: bytes, threads: int | None = None) -> Engine:
    """Start an engine by its name.

    Raises:
        InputError: unknown, or not installed.
        DetectorError: it refuses the graph.
    """
    if name == "onnxruntime":
        return OnnxRuntime(graph, threads)
    if name == "openvino":
        return OpenVino(graph, threads)
    raise InputError(f"engine {name!r} is unknown: known are {', '.join(ENGINES)}")
