"""Post-training static quantization of the network's convolutions, by ONNX Runtime's tools.

Activations are calibrated on pictures of the run. Residuals and their weights stay float32: there a
rounded square costs more than it saves. So do ImageNet features: rounded, they moved a map by more
than parity allows.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Pixels
from ssim_ae.runtime.constants import NAMES, replace_constants


def int8_bytes(graph: bytes, pictures: Sequence[Pixels]) -> bytes:
    """The ONNX graph with quantize-dequantize pairs around its convolutions of several channels.

    Its thresholds are no longer those of ``graph``: put them in again.

    Args:
        graph: float32.
        pictures: uint8 at working size; good ones.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # both tools report their inner workings as warnings
    try:
        return _quantized(graph, _Reader(pictures))
    finally:
        root.setLevel(level)


class _Reader:
    """Hands out pictures one by one, as ONNX Runtime's CalibrationDataReader does: by shape, since
    that class comes with an import that only exports need."""

    def __init__(self, pictures: Sequence[Pixels]) -> None:
        self.left = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        picture = next(self.left, None)
        return None if picture is None else {"image": picture[None]}


def _quantized(graph: bytes, reader: _Reader) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        plain, ready, done = (Path(scratch) / f"{name}.onnx" for name in "abc")
        # constants of equal value are merged: the thresholds get values that nothing else has
        plain.write_bytes(replace_constants(graph, dict(zip(NAMES, (3.1e38, 3.2e38), strict=True))))
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        nodes = network_nodes(onnx.load(ready))
        quantize_static(
            ready, done, reader, quant_format=QuantFormat.QDQ, per_channel=True,
            nodes_to_quantize=nodes, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return done.read_bytes()


def network_nodes(model: object) -> list[str]:
    """Names of the convolutions with weights trained here, of more than one channel in and out."""
    from onnx import ModelProto

    assert isinstance(model, ModelProto)
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "ConvTranspose")
        and min(shapes.get(node.input[1], [1, 1])[:2]) > 1
        and not any(name in node.input[1] for name in (".features.", ".memory."))
    ]
