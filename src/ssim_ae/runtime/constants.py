"""The thresholds inside a detector's graph, read and replaced without any ONNX library.

The graph compares map and score with two scalar initializers. Calibration on a line PC changes
them where they stand: ModelProto.graph = 7, GraphProto.initializer = 5, TensorProto.name = 8 and
raw_data = 9 (four bytes, little-endian float32).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from ssim_ae.protobuf import fields
from ssim_ae.runtime.metadata import GRAPH_FIELD

INITIALIZER, NAME, RAW, EXTERNAL = 5, 8, 9, 13
NAMES = ("score_threshold", "pixel_threshold")


def read_constants(model: bytes) -> dict[str, float]:
    """The thresholds in a serialized ModelProto; empty for graphs that only give map and score."""
    return {name: struct.unpack("<f", model[place])[0] for name, place in _places(model).items()}


def replace_constants(model: bytes, values: Mapping[str, float]) -> bytes:
    """The same model with other thresholds; names that it does not hold are left out."""
    changed = bytearray(model)
    for name, place in _places(model).items():
        changed[place] = struct.pack("<f", values[name])
    return bytes(changed)


def _places(model: bytes) -> dict[str, slice]:
    """Where in the file the four bytes of each threshold stand.

    Raises:
        ValueError: no ONNX file, or one whose weights lie in other files, which it could name.
    """
    view, found = memoryview(model), {}
    for field, _, graph in fields(view):
        if field != GRAPH_FIELD:
            continue
        for inner, _, tensor in fields(view, graph):
            if inner != INITIALIZER:
                continue
            parts = {f: body for f, _, body in fields(view, tensor)}
            if EXTERNAL in parts:
                raise ValueError("its weights lie in another file")
            name = bytes(view[parts[NAME]]).decode() if NAME in parts else ""
            if name in NAMES and RAW in parts:
                place = parts[RAW]
                if place.stop - place.start != 4:
                    raise ValueError(f"{name} is no float32")
                found[name] = place
    return found
