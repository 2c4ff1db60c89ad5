"""Engines that run an inspection graph; their libraries are imported only when asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from ssim_ae.data.images import Map, Pixels
from ssim_ae.errors import InputError
from ssim_ae.runtime.openvino_engine import BF16

if TYPE_CHECKING:
    from ssim_ae.runtime.record import Record

# by name: what they are, and how to install what they need
ENGINES = {
    "onnxruntime": "on the CPU; part of the base package",
    "onnxruntime:cuda": "on an NVIDIA GPU: pip install onnxruntime-gpu instead of onnxruntime",
    "onnxruntime:tensorrt": "on an NVIDIA GPU: pip install onnxruntime-gpu and tensorrt",
    "onnxruntime:cann": "on an Ascend NPU: pip install onnxruntime-cann instead of onnxruntime",
    "onnxruntime:openvino": "on Intel devices: pip install onnxruntime-openvino instead",
    "onnxruntime:coreml": "on Apple devices; part of onnxruntime for macOS",
    "openvino": "on the CPU: pip install 'ssim-ae[openvino]'",
    BF16: "in bf16, on CPUs that compute it: pip install 'ssim-ae[openvino]'",
    "torch": "on the GPU or CPU, from a run's weights: pip install 'ssim-ae[train]'",
    "mindspore": "of an exported .mindir: pip install 'ssim-ae[mindspore]'",
}
OF_SUFFIX = {".onnx": "onnxruntime", ".xml": "openvino", ".mindir": "mindspore"}


class Engine(Protocol):
    """Runs a graph whose outputs are those of ``model.inspector.Inspected``."""

    name: str

    def run(self, batch: Pixels) -> tuple[Map, Map]:
        """uint8 ``[n, h, w(, 3)]`` -> anomaly maps float32 ``[n, h, w]``, scores float32 ``[n]``.

        Raises:
            SsimAeError: the engine failed on this batch.
        """
        ...

    def outputs(self, batch: Pixels) -> dict[str, NDArray[Any]]:
        """All outputs of the graph, by name; old detectors have no ``mask`` and ``defective``."""
        ...


def start_engine(
    name: str | None, file: Path, graph: bytes, record: Record, threads: int | None = None
) -> Engine:
    """Start an engine by its name; None: the one that the file's suffix speaks for.

    Raises:
        InputError: unknown, not installed, or not for files of this kind.
        DetectorError: it refuses the graph.
    """
    of_file = OF_SUFFIX.get(file.suffix, "onnxruntime")
    name = name or of_file
    if name not in ENGINES:
        raise InputError(f"engine {name!r} is unknown: known are {', '.join(ENGINES)}")
    library = name.partition(":")[0]
    if library != of_file and (of_file != "onnxruntime" or name == "mindspore"):
        takes = ", ".join(s for s, e in OF_SUFFIX.items() if e == library) or ".onnx"
        raise InputError(
            f"{file}: engine {name} takes no {file.suffix} file, but {takes}: leave --engine out, "
            "or `ssim-ae export` the run for it"
        )
    reason = why_not(name)
    if reason is not None:
        raise InputError(f"engine {name} is not to be had: {reason}")
    if name == BF16 and record.settings.network == "joint":
        # 8 bits leave nothing of |a|^2 - 2ab + |b|^2, nor of a colour's place in a table of 13,824
        raise InputError(f"{file}: maps of the joint network do not survive bf16: use openvino")
    if library == "openvino":
        from ssim_ae.runtime.openvino_engine import OpenVino

        weights = file.with_suffix(".bin") if of_file == library else None
        return OpenVino(graph, weights, threads, name)
    if name == "torch":
        from ssim_ae.runtime.torch_engine import Torch

        return Torch(file, record)
    if name == "mindspore":
        from ssim_ae.runtime.exported import read_sidecar
        from ssim_ae.runtime.mindspore_engine import MindSpore

        beside = read_sidecar(file)
        return MindSpore(file, beside.picture, beside.outputs, threads)
    from ssim_ae.runtime.onnxruntime_engine import OnnxRuntime

    return OnnxRuntime(graph, name, threads)


def why_not(name: str) -> str | None:
    """Why an engine cannot run here, in one line with the cure; None when it can."""
    package = name.partition(":")[0]
    if find_spec(package) is None:
        return f"{package} is not installed; {ENGINES[name]}"
    try:
        import_module(package)
        if package == "onnxruntime":
            from ssim_ae.runtime.onnxruntime_engine import missing_provider

            return missing_provider(name)
        if name == BF16:
            from ssim_ae.runtime.openvino_engine import no_bf16

            return no_bf16()
    except (ImportError, OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"{package} does not load ({reason}): install it again"
    if package == "torch" and find_spec("safetensors") is None:
        return f"safetensors is not installed; {ENGINES[name]}"
    return None
