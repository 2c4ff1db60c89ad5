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

INITIALIZER, NAME, RAW, EXTERNAL, LOCATION = 5, 8, 9, 13, 14
# where further tensors can hide: GraphProto, NodeProto, AttributeProto, functions
NODE, SPARSE, ATTRIBUTE = 1, 15, 5
TENSOR, GRAPH, TENSORS, GRAPHS, SPARSE_TENSOR, SPARSE_TENSORS = 5, 6, 10, 11, 22, 23
FUNCTION, FUNCTION_NODE = 25, 7
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
    for field, _, body in fields(view):
        if field == FUNCTION:
            for inner, _, node in fields(view, body):
                if inner == FUNCTION_NODE:
                    _refuse_external(view, node, NODE)
        if field != GRAPH_FIELD:
            continue
        for inner, _, tensor in fields(view, body):
            _refuse_external(view, tensor, inner)
            if inner != INITIALIZER:
                continue
            parts = {f: part for f, _, part in fields(view, tensor)}
            name = bytes(view[parts[NAME]]).decode() if NAME in parts else ""
            if name in NAMES and RAW in parts:
                place = parts[RAW]
                if place.stop - place.start != 4:
                    raise ValueError(f"{name} is no float32")
                found[name] = place
    return found


def _refuse_external(view: memoryview, place: slice, field: int) -> None:
    """Walk a field of a graph: initializers, nodes and their attributes, graphs within."""
    if field in (INITIALIZER, SPARSE):
        _refuse_tensor(view, place)
    elif field == NODE:
        for inner, _, attribute in fields(view, place):
            if inner != ATTRIBUTE:
                continue
            for kind, _, value in fields(view, attribute):
                if kind in (TENSOR, TENSORS, SPARSE_TENSOR, SPARSE_TENSORS):
                    _refuse_tensor(view, value)
                elif kind in (GRAPH, GRAPHS):
                    for deeper, _, part in fields(view, value):
                        _refuse_external(view, part, deeper)


def _refuse_tensor(view: memoryview, tensor: slice) -> None:
    """A TensorProto, or a SparseTensorProto, whose first two fields are TensorProtos."""
    found = {f: body for f, _, body in fields(view, tensor)}
    if EXTERNAL in found or (LOCATION in found and bytes(view[found[LOCATION]]) != b"\0"):
        raise ValueError("its weights lie in another file")
