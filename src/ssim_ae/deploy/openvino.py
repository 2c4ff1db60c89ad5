"""The inspection graph as an OpenVINO IR; batch, height and width stay symbolic."""

from __future__ import annotations

import tempfile
from pathlib import Path


def ir_bytes(graph: bytes, half: bool) -> tuple[bytes, bytes]:
    """(.xml, .bin) of an ONNX graph; ``half`` keeps the weights as float16."""
    import openvino as ov

    model = ov.Core().read_model(graph)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "detector.xml"
        ov.save_model(model, file, compress_to_fp16=half)
        return file.read_bytes(), file.with_suffix(".bin").read_bytes()
