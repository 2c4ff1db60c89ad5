"""The inspection graph as an OpenVINO IR; batch, height and width stay symbolic."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ssim_ae.runtime.constants import NAMES
from ssim_ae.runtime.openvino_engine import the_core


def ir_bytes(graph: bytes, half: bool) -> tuple[bytes, bytes]:
    """(.xml, .bin) of an ONNX graph; ``half`` keeps the weights as float16."""
    import openvino as ov

    core = the_core()
    model = core.read_model(graph)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "detector.xml"
        ov.save_model(model, file, compress_to_fp16=half)
        if half:
            halved = core.read_model(file)
            restore_thresholds(halved, model)
            file = Path(folder) / "restored.xml"
            ov.serialize(halved, file)
        return file.read_bytes(), file.with_suffix(".bin").read_bytes()


def restore_thresholds(halved: Any, model: Any) -> None:
    """In place: the thresholds of ``model``, which compression rounds to float16: a picture whose
    score is the threshold would be rejected by clients that read the graph's verdict alone."""
    import numpy as np
    from openvino.opset13 import constant

    exact = {op.get_friendly_name(): op for op in model.get_ops()}
    for op in list(halved.get_ops()):
        name = op.get_friendly_name().removesuffix("_compressed")
        if op.get_type_name() != "Constant" or name not in NAMES or op.data.dtype == np.float32:
            continue
        value = constant(exact[name].data, np.float32)
        value.set_friendly_name(name)
        (widened,) = op.output(0).get_target_inputs()
        for reader in widened.get_node().output(0).get_target_inputs():
            reader.replace_source_output(value.output(0))
