"""The metadata of an ONNX file, read and replaced without any ONNX library.

A detector must be re-calibrated on a line PC that has only an inference engine, and engines read
metadata but do not write it. In the protobuf wire format a ModelProto is a run of fields; field 14
(``metadata_props``, a StringStringEntryProto with key = 1 and value = 2) is all we touch.
"""

from __future__ import annotations

from ssim_ae.protobuf import bytes_field, fields

METADATA_FIELD, GRAPH_FIELD = 14, 7


def read_metadata(model: bytes) -> dict[str, str]:
    """The key-value metadata of a serialized ModelProto.

    Raises:
        ValueError: not a protobuf message, or one without a graph.
    """
    entries, has_graph = {}, False
    view = memoryview(model)
    for field, whole, body in fields(view):
        has_graph = has_graph or field == GRAPH_FIELD
        if field == METADATA_FIELD:
            parts = {f: bytes(view[b]).decode() for f, _, b in fields(view, body)}
            entries[parts.get(1, "")] = parts.get(2, "")
        del whole
    if not has_graph:
        raise ValueError("no ONNX graph inside")
    return entries


def replace_metadata(model: bytes, entries: dict[str, str]) -> bytes:
    """The same model with exactly these metadata entries."""
    view = memoryview(model)
    kept = [bytes(view[w]) for field, w, _ in fields(view) if field != METADATA_FIELD]
    for key, value in entries.items():
        entry = bytes_field(1, key.encode()) + bytes_field(2, value.encode())
        kept.append(bytes_field(METADATA_FIELD, entry))
    return b"".join(kept)
