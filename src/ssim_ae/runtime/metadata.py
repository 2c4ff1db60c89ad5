"""The metadata of an ONNX file, read and replaced without any ONNX library.

A detector must be re-calibrated on a line PC that has only an inference engine, and engines read
metadata but do not write it. In the protobuf wire format a ModelProto is a run of fields; field 14
(``metadata_props``, a StringStringEntryProto with key = 1 and value = 2) is all we touch.
"""

from __future__ import annotations

from collections.abc import Iterator

METADATA_FIELD, GRAPH_FIELD = 14, 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


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
        entry = _bytes_field(1, key.encode()) + _bytes_field(2, value.encode())
        kept.append(_bytes_field(METADATA_FIELD, entry))
    return b"".join(kept)


def fields(view: memoryview, within: slice | None = None) -> Iterator[tuple[int, slice, slice]]:
    """(field number, extent with its tag, extent of its body) of each field in order."""
    at, end = (0, len(view)) if within is None else (within.start, within.stop)
    while at < end:
        start = at
        tag, at = _varint(view, at, end)
        kind = tag & 7
        if kind == _VARINT:
            body = at
            _, at = _varint(view, at, end)
        elif kind == _BYTES:
            size, body = _varint(view, at, end)
            at = body + size
        elif kind in (_FIXED64, _FIXED32):
            body = at
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("not a protobuf message")
        if at > end or tag >> 3 == 0:
            raise ValueError("truncated protobuf message")
        yield tag >> 3, slice(start, at), slice(body, at)


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("truncated protobuf message")


def _bytes_field(number: int, body: bytes) -> bytes:
    return _encode(number << 3 | _BYTES) + _encode(len(body)) + body


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
