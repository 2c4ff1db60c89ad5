"""The protobuf wire format, read and written without any protobuf library.

A message is a run of fields: a tag (field number << 3 | kind of body) and a body whose length the
kind gives. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(view: memoryview, within: slice | None = None) -> Iterator[tuple[int, slice, slice]]:
    """(field number, extent with its tag, extent of its body) of each field in order.

    Raises:
        ValueError: no protobuf message, or one whose fields reach beyond its end.
    """
    at, end = (0, len(view)) if within is None else (within.start, within.stop)
    while at < end:
        start = at
        tag, at = varint(view, at, end)
        kind = tag & 7
        if kind == _VARINT:
            body = at
            _, at = varint(view, at, end)
        elif kind == _BYTES:
            size, body = varint(view, at, end)
            at = body + size
        elif kind in (_FIXED64, _FIXED32):
            body = at
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("not a protobuf message")
        if at > end or tag >> 3 == 0:
            raise ValueError("truncated protobuf message")
        yield tag >> 3, slice(start, at), slice(body, at)


def varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where the next byte after it stands.

    Raises:
        ValueError: it reaches beyond ``end`` or beyond ten bytes.
    """
    value = shift = 0
    while at < end and shift < 64:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("truncated protobuf message")


def bytes_field(number: int, body: bytes) -> bytes:
    """A field with a string, bytes or a message."""
    return _encode(number << 3 | _BYTES) + _encode(len(body)) + body


def varint_field(number: int, value: int) -> bytes:
    """A field with a number from 0 upwards."""
    return _encode(number << 3 | _VARINT) + _encode(value)


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
