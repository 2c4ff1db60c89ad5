import onnx
import pytest
from onnx import TensorProto, helper

from ssim_ae.runtime.metadata import read_metadata, replace_metadata


def model(**entries: str) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])  # fmt: skip
    made = helper.make_model(graph)
    helper.set_model_props(made, entries)
    return bytes(made.SerializeToString())


def test_reads_what_onnx_wrote_and_onnx_reads_what_we_write() -> None:
    data = model(a="1", b="ü" * 300)
    assert read_metadata(data) == {"a": "1", "b": "ü" * 300}
    changed = replace_metadata(data, {"c": "x" * 70000, "": "empty key"})
    loaded = onnx.load_from_string(changed)
    onnx.checker.check_model(loaded)
    assert {p.key: p.value for p in loaded.metadata_props} == read_metadata(changed)
    assert loaded.graph == onnx.load_from_string(data).graph
    assert replace_metadata(changed, {"a": "1", "b": "ü" * 300}) == replace_metadata(
        data, {"a": "1", "b": "ü" * 300}
    )


def test_every_truncation_is_noticed() -> None:
    data = replace_metadata(model(), {"key": "value"})
    for cut in range(len(data)):
        try:
            entries = read_metadata(data[:cut])
        except ValueError:
            continue
        assert entries == {}  # cut between two fields: the metadata, which come last, are gone


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"hello world", bytes(64)])
def test_other_files(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"protobuf|graph"):
        read_metadata(data)
