"""MindSpore checkpoints (``.ckpt``), read and written without MindSpore.

The file is one protobuf message, Checkpoint: value = 1 (repeated) { tag = 1 (the name), and either
tensor = 2 { dims = 1 (repeated int64), tensor_type = 2, tensor_content = 3 (little-endian) } or
maptensor = 3 }. A large tensor stands in slices: values in a row with one tag, dims and type, whose
contents are concatenated. After the message may stand "crc_num" and ten bytes: the CRC-32 of all
before, big-endian. Sources: MindSpore's checkpoint.proto (mindspore/ccsrc/utils) and
mindspore/python/mindspore/train/serialization.py, version 2.10.

Nothing is allocated from a size that a file only declares: contents are slices of what was read.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssim_ae.errors import InputError
from ssim_ae.protobuf import bytes_field, fields, varint, varint_field

VALUE = 1
TAG, TENSOR, MAP_TENSOR = 1, 2, 3
DIMS, TYPE, CONTENT = 1, 2, 3
CRC, CRC_BYTES = b"crc_num", 10
SLICE = 512 * 2**20  # bytes of content in one value, MindSpore's own limit
MOST_AXES = 32
TYPES = {
    "Bool": "|b1",
    "Int8": "|i1",
    "UInt8": "|u1",
    "Int16": "<i2",
    "UInt16": "<u2",
    "Int32": "<i4",
    "UInt32": "<u4",
    "Int64": "<i8",
    "UInt64": "<u8",
    "Float16": "<f2",
    "Float32": "<f4",
    "Float64": "<f8",
}
_TYPE_OF = {np.dtype(code): name for name, code in TYPES.items()}


def read_checkpoint(file: Path) -> dict[str, NDArray[Any]]:
    """Every entry of a checkpoint by name, in the file's order.

    Tensors have their own dtype, except BFloat16, which becomes float32 (exactly). A string is an
    array of one string without axes. What is neither (map tensors, types that only MindSpore
    knows) is given as its bytes, uint8 with one axis, so that no name is lost.

    Raises:
        InputError: no such file, no MindSpore checkpoint, an encrypted or a damaged one.
    """
    if not file.is_file():
        raise InputError(f"{file}: is no file: name a MindSpore checkpoint (.ckpt)")
    try:
        data = file.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{file}: cannot be read ({reason}): check its permissions") from None
    try:
        return _tensors(_message(memoryview(data)))
    except ValueError as error:
        raise InputError(
            f"{file}: is no MindSpore checkpoint or is damaged ({error}): "
            "copy it again, or save it again without encryption"
        ) from None


def checkpoint_bytes(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A checkpoint that ``mindspore.load_checkpoint`` reads, entries in the mapping's order.

    Raises:
        ValueError: an array without values or of a type that checkpoints cannot hold.
    """
    values = []
    for name, array in tensors.items():
        kind = _TYPE_OF.get(array.dtype.newbyteorder("<"))
        if kind is None or array.size == 0:
            raise ValueError(f"{name} ({array.dtype}, {array.shape}) fits no checkpoint")
        head = b"".join(varint_field(DIMS, length) for length in array.shape)
        head += bytes_field(TYPE, kind.encode())
        content = array.astype(TYPES[kind], copy=False).tobytes()
        for start in range(0, len(content), SLICE):
            tensor = head + bytes_field(CONTENT, content[start : start + SLICE])
            value = bytes_field(TAG, name.encode()) + bytes_field(TENSOR, tensor)
            values.append(bytes_field(VALUE, value))
    return b"".join(values)


class _Slice(NamedTuple):
    """One value of the message."""

    name: str
    kind: str  # empty for a map tensor
    dims: tuple[int, ...]
    content: memoryview


def _message(view: memoryview) -> memoryview:
    """The protobuf message without the checksum behind it, which must be right if it is there."""
    end = len(view) - len(CRC) - CRC_BYTES
    if end < 0 or view[end : end + len(CRC)] != CRC:
        return view
    if zlib.crc32(view[:end]) != int.from_bytes(view[end + len(CRC) :], "big"):
        raise ValueError("its checksum is wrong")
    return view[:end]


def _tensors(view: memoryview) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for name, slices in groupby(_slices(view), key=attrgetter("name")):
        if name in tensors:
            raise ValueError(f"{_named(name)} is there twice")
        tensors[name] = _joined(list(slices))
    if not tensors:
        raise ValueError("it holds no tensor")
    return tensors


def _slices(view: memoryview) -> Iterator[_Slice]:
    for number, _, value in fields(view):
        if number != VALUE:
            continue
        parts = _once(fields(view, value))
        if TAG not in parts:
            raise ValueError("an entry has no name")
        name = _text(view, parts[TAG])
        if TENSOR in parts:
            yield _tensor_slice(view, name, parts[TENSOR])
        elif MAP_TENSOR in parts:
            yield _Slice(name, "", (), view[parts[MAP_TENSOR]])
        else:
            raise ValueError(f"{_named(name)} holds no tensor")


def _tensor_slice(view: memoryview, name: str, tensor: slice) -> _Slice:
    dims = []
    for number, _, body in fields(view, tensor):
        if number != DIMS:
            continue
        at = body.start
        while at < body.stop:  # one number, or several when packed
            length, at = varint(view, at, body.stop)
            dims.append(length)
            if len(dims) > MOST_AXES:
                raise ValueError(f"{_named(name)} has more than {MOST_AXES} axes")
    parts = _once((n, w, b) for n, w, b in fields(view, tensor) if n != DIMS)
    if TYPE not in parts or CONTENT not in parts:
        raise ValueError(f"{_named(name)} lacks its type or its content")
    return _Slice(name, _text(view, parts[TYPE]), tuple(dims), view[parts[CONTENT]])


def _joined(slices: list[_Slice]) -> NDArray[Any]:
    name, kind, dims, _ = slices[0]
    if any((s.kind, s.dims) != (kind, dims) for s in slices):
        raise ValueError(f"{_named(name)} is there twice")
    content = bytearray().join(s.content for s in slices)  # of its own and writable
    if kind == "str":
        return np.array(content.decode("utf-32-le").rstrip("\0"))
    code = "<u2" if kind == "BFloat16" else TYPES.get(kind)
    if code is None:
        return np.frombuffer(content, np.uint8)
    if dims == (0,):  # how MindSpore once wrote a single number
        dims = ()
    asked = math.prod(dims) * np.dtype(code).itemsize
    if asked == 0 or asked != len(content):  # a negative length arrives as a huge one
        shape = " x ".join(map(str, dims))
        raise ValueError(f"{_named(name)} is {shape} {kind} but holds {len(content)} bytes")
    array = np.frombuffer(content, code).reshape(dims)
    if kind == "BFloat16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _once(found: Iterator[tuple[int, slice, slice]]) -> dict[int, slice]:
    """Bodies by field number, none of which may come twice."""
    parts: dict[int, slice] = {}
    for number, _, body in found:
        if number in parts:
            raise ValueError("a field of an entry is there twice")
        parts[number] = body
    return parts


def _text(view: memoryview, body: slice) -> str:
    return bytes(view[body]).decode()


def _named(name: str) -> str:
    """Names come from the file: one short line, no matter what stands in them."""
    return repr(name if len(name) <= 80 else name[:77] + "...")
