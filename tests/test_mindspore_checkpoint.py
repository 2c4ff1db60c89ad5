"""Oracle: Google's protobuf, on the message that MindSpore's checkpoint.proto declares."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from ssim_ae.deploy import mindspore_checkpoint
from ssim_ae.deploy.mindspore_checkpoint import TYPES, checkpoint_bytes, read_checkpoint
from ssim_ae.errors import InputError


def checkpoint_class() -> Callable[..., Any]:
    """The message of MindSpore's checkpoint.proto, declared once more for Google's protobuf."""
    field = descriptor_pb2.FieldDescriptorProto
    one, required, many = field.LABEL_OPTIONAL, field.LABEL_REQUIRED, field.LABEL_REPEATED
    messages = {
        "Map": [("tensor", 1, many, ".ms.Tensor")],
        "Tensor": [
            ("dims", 1, many, field.TYPE_INT64),
            ("tensor_type", 2, required, field.TYPE_STRING),
            ("tensor_content", 3, required, field.TYPE_BYTES),
        ],
        "Value": [
            ("tag", 1, required, field.TYPE_STRING),
            ("tensor", 2, one, ".ms.Tensor"),
            ("maptensor", 3, one, ".ms.Map"),
        ],
        "Checkpoint": [("value", 1, many, ".ms.Value")],
    }
    file = descriptor_pb2.FileDescriptorProto(name="ms.proto", package="ms", syntax="proto2")
    for name, members in messages.items():
        made = file.message_type.add(name=name)
        for member, number, label, kind in members:
            added = made.field.add(name=member, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = field.TYPE_MESSAGE, kind
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ms.Checkpoint"))


CHECKPOINT = checkpoint_class()


def entry(name: str, dims: list[int], kind: str, content: bytes) -> bytes:
    made = CHECKPOINT()
    value = made.value.add(tag=name)
    value.tensor.dims.extend(dims)
    value.tensor.tensor_type, value.tensor.tensor_content = kind, content
    return bytes(made.SerializeToString())


def with_checksum(data: bytes) -> bytes:
    return data + b"crc_num" + zlib.crc32(data).to_bytes(10, "big")


def read(data: bytes, folder: Path) -> dict[str, Any]:
    file = folder / "some.ckpt"
    file.write_bytes(data)
    return read_checkpoint(file)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and np.array_equal(a[k], b[k])
        for k in a
    )


EVERY_TYPE = {
    **{kind: np.arange(-2, 4).reshape(2, 1, 3).astype(code) for kind, code in TYPES.items()},
    "a scalar": np.array(1.5, np.float32),
    "ümlaut/" + "x" * 300: np.ones((1, 130), np.float32),
}


def test_google_reads_what_we_write_and_we_read_what_google_writes(tmp_path: Path) -> None:
    data = checkpoint_bytes(EVERY_TYPE)
    parsed = CHECKPOINT.FromString(data)
    assert [v.tag for v in parsed.value] == list(EVERY_TYPE)
    for value, array in zip(parsed.value, EVERY_TYPE.values(), strict=True):
        assert list(value.tensor.dims) == list(array.shape)
        found = np.frombuffer(value.tensor.tensor_content, TYPES[value.tensor.tensor_type])
        assert np.array_equal(found.reshape(array.shape), array)
    assert parsed.SerializeToString(deterministic=True) == data
    assert same(read(data, tmp_path), EVERY_TYPE)
    assert same(read(with_checksum(data), tmp_path), EVERY_TYPE)


def test_arrays_in_any_order_of_memory(tmp_path: Path) -> None:
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    (found,) = read(checkpoint_bytes({"x": array}), tmp_path).values()
    assert np.array_equal(found, array)
    found += 1  # of its own, writable


@pytest.mark.parametrize("size", [1, 5, 8, 95, 96, 97])
def test_slices(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"a": np.arange(24, dtype=np.float32).reshape(2, 12), "b": np.ones(1, np.int8)}
    monkeypatch.setattr(mindspore_checkpoint, "SLICE", size)
    data = checkpoint_bytes(tensors)
    values = CHECKPOINT.FromString(data).value
    assert [v.tag for v in values] == ["a"] * -(-96 // size) + ["b"]
    assert all(list(v.tensor.dims) == [2, 12] for v in values if v.tag == "a")
    assert b"".join(v.tensor.tensor_content for v in values[:-1]) == tensors["a"].tobytes()
    assert same(read(data, tmp_path), tensors)


def test_a_missing_or_repeated_slice_is_noticed(tmp_path: Path) -> None:
    part = entry("a", [4], "Float32", bytes(8))
    assert read(part * 2, tmp_path)["a"].shape == (4,)
    for count in (1, 3):
        with pytest.raises(InputError, match=f"'a' is 4 Float32 but holds {8 * count} bytes"):
            read(part * count, tmp_path)


def test_foreign_entries(tmp_path: Path) -> None:
    values = torch.randn(300) * 10.0 ** torch.randint(-30, 30, (300,))
    brain = values.to(torch.bfloat16)
    table = CHECKPOINT()
    table.value.add(tag="table").maptensor.tensor.add(tensor_type="Int32", tensor_content=b"12")
    found = read(
        entry("brain", [3, 100], "BFloat16", brain.view(torch.int16).numpy().tobytes())
        + entry("note", [0], "str", np.array("grün \U0001f600").tobytes())
        + entry("old scalar", [0], "Int64", (-5).to_bytes(8, "little", signed=True))
        + bytes(table.SerializeToString())
        + entry("packed", [4], "Int4", b"ab"),
        tmp_path,
    )
    assert found["brain"].dtype == np.float32
    assert np.array_equal(found["brain"].ravel(), brain.float().numpy())
    assert str(found["note"]) == "grün \U0001f600"
    assert found["old scalar"].shape == ()
    assert found["old scalar"] == -5
    assert found["packed"].tobytes() == b"ab"
    assert found["table"].dtype == np.uint8


def test_packed_dims_and_unknown_fields(tmp_path: Path) -> None:
    """Other writers may pack repeated numbers; later versions may add fields."""
    tensor = b"\x0a\x02\x02\x03" + b"\x12\x04Int8" + b"\x1a\x06abcdef" + b"\x50\x07"
    value = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    (found,) = read(b"\x0a" + bytes([len(value)]) + value, tmp_path).values()
    assert found.shape == (2, 3)
    assert found.tobytes() == b"abcdef"


GOOD = entry("w", [2, 3], "Float32", bytes(24))
BAD = {
    "nothing": b"",
    "text": b"hello world, this is no checkpoint",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins",
    "zip": b"PK\x03\x04" + bytes(60),
    "too little content": entry("w", [2, 3], "Float32", bytes(23)),
    "too much content": entry("w", [2, 3], "Float32", bytes(28)),
    "huge dims": entry("w", [2**62, 2**62], "Float32", bytes(24)),
    "product wraps to the content": entry("w", [2**33, 2**33, 2**33], "Float32", bytes(4)),
    "negative dims": entry("w", [-2, -3], "Float32", bytes(24)),
    "empty dims": entry("w", [0, 3], "Float32", b""),
    "empty and negative dims": entry("w", [0, -1], "Float32", b""),
    "scalar without content": entry("w", [], "Float32", b""),
    "many axes": entry("w", [1] * 33, "Float32", bytes(4)),
    "twice": GOOD + entry("v", [1], "Int8", b"a") + GOOD,
    "twice in a row": GOOD + GOOD,
    "slices that disagree": entry("w", [4], "Int8", b"ab") + entry("w", [2, 2], "Int8", b"cd"),
    "string cut": entry("w", [0], "str", b"abc"),
    "string of no characters": entry("w", [0], "str", b"\xff" * 4),
    "wrong checksum": with_checksum(GOOD)[:-1] + b"\x00",
    "a value without a name": b"\x0a\x02\x12\x00",
    "a value without a tensor": b"\x0a\x03\x0a\x01w",
    "a tensor without content": b"\x0a\x0b\x0a\x01w\x12\x06\x12\x04Int8",
    "a name of two": b"\x0a\x06\x0a\x01w\x0a\x01w",
    "a name that is no text": GOOD.replace(b"\x01w", b"\x01\xff"),
    "length beyond the end": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + GOOD[2:],
    "a name of many lines": entry("w\n" * 500, [2], "Float32", bytes(4)),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_files(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(data, tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'some.ckpt'}: ")
    assert "\n" not in line
    assert len(line) < len(str(tmp_path)) + 350


def test_no_file(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "missing.ckpt", Path("/dev/zero")):
        with pytest.raises(InputError, match=f"^{file}: is no file"):
            read_checkpoint(file)


def test_every_truncation_is_noticed_or_leaves_whole_tensors(tmp_path: Path) -> None:
    tensors = {"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float16)}
    data = checkpoint_bytes(tensors)
    between = len(checkpoint_bytes({"a": tensors["a"]}))
    for cut in range(len(data)):
        if cut == between:  # a whole message: that "b" is missing shows when weights are loaded
            assert list(read(data[:cut], tmp_path)) == ["a"]
            continue
        with pytest.raises(InputError):
            read(data[:cut], tmp_path)
    sealed = with_checksum(data)
    for cut in range(between + 1, len(sealed)):
        if cut != len(data):
            with pytest.raises(InputError):
                read(sealed[:cut], tmp_path)


def test_damaged_bytes_give_input_errors_or_what_google_reads(tmp_path: Path) -> None:
    data = entry("note", [0], "str", np.array("ab").tobytes()) + checkpoint_bytes(
        {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.int64)}
    )
    random = np.random.default_rng(0)
    read_anyway = 0
    for _ in range(3000):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        try:
            found = read(bytes(damaged), tmp_path)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017 - both ways out are right
            continue
        read_anyway += 1
        assert sum(a.nbytes for a in found.values()) <= 2 * len(data)
        try:
            parsed = CHECKPOINT.FromString(bytes(damaged))
        except message.DecodeError:
            continue  # stricter about texts and required fields
        for value in parsed.value:
            if value.tensor.tensor_type in TYPES and found[value.tag].dtype != np.uint8:
                assert found[value.tag].tobytes() == value.tensor.tensor_content
    assert read_anyway > 100


@pytest.mark.parametrize(
    "array", [np.ones(1, complex), np.array(["a"]), np.array([object()]), np.ones((0, 3))]
)
def test_arrays_that_fit_no_checkpoint(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^x \(.*fits no checkpoint"):
        checkpoint_bytes({"x": array})
