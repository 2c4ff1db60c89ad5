"""A graph folded for one size says what the original says, whatever the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, TensorProto, helper

from ssim_ae.config import ResidualSettings
from ssim_ae.config_files import load_settings
from ssim_ae.deploy.fold import folded
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.errors import DetectorError, InputError
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.build import inspector_of, network_of
from ssim_ae.model.inspector import Inspected, Inspector, MedianGrey
from ssim_ae.runtime.constants import replace_constants
from ssim_ae.training.assemble import AFTER_THE_SUM, CONTROL
from tests.maps import above_zero

GRAPHS = {
    # preset, changed settings, height, width: multiples of nothing where the preset allows it
    "joint": ("auto", {}, 150, 134),
    "joint-rgb": ("auto", {"color": "rgb"}, 128, 160),
    "tiles": ("autoencoder", {}, 139, 171),
    "features": ("fast", {}, 150, 171),
    "reference": ("reference-object", {}, 256, 256),
    "no-model": ("auto", {}, 150, 134),
}


@pytest.fixture(scope="module", params=GRAPHS)
def case(request: pytest.FixtureRequest) -> tuple[bytes, tuple[int, ...]]:
    """An exported graph with weights drawn at random, and the shape of its pictures."""
    return exported(request.param)


def exported(name: str) -> tuple[bytes, tuple[int, ...]]:
    preset, changes, height, width = GRAPHS[name]
    tiny = ["first_layer_channels=4", "latent=8"]
    settings, _ = load_settings(preset, changes=tiny + [f"{k}={v}" for k, v in changes.items()])
    torch.manual_seed(1)
    settings = settings.model_copy(update={"residual": above_zero(settings.residual)})
    inspector = inspector_of(network_of(settings), settings)
    if name == "no-model":
        after = {k: getattr(settings.residual, k) for k in AFTER_THE_SUM}
        control = above_zero(CONTROL.model_copy(update=after))
        inspector = Inspector(MedianGrey(), Residual(control)).eval()
    shape = (height, width) if settings.channels == 1 else (height, width, 3)
    return graph_bytes(inspector, settings.channels, settings.tile), shape


def pictures(batch: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, *shape), dtype=np.uint8)


def results(graph: bytes, batch: np.ndarray) -> list[Any]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: batch}))


def test_the_folded_graph_equals_the_original(case: tuple[bytes, tuple[int, ...]]) -> None:
    graph, shape = case
    model = folded(graph, *shape[:2])
    for batch in (1, 2, 5):
        images = pictures(batch, shape)
        wanted, got = results(graph, images), results(model.SerializeToString(), images)
        maps = (batch, *shape[:2])
        assert [x.shape for x in got] == [maps, (batch,), maps, (batch,)]
        for a, b in zip(wanted, got, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["joint", "joint-rgb", "no-model"])
def test_means_count_to_the_scores_that_are_compared(name: str) -> None:
    graph, shape = exported(name)
    maps, scores, *_ = results(graph, pictures(2, shape))
    assert (scores > maps.max((1, 2)) + 0.1).all()


def test_sizes_are_known_and_nothing_is_computed_from_shapes(
    case: tuple[bytes, tuple[int, ...]],
) -> None:
    graph, shape = case
    model = folded(graph, *shape[:2])
    assert not {"Shape", "Range", "ConstantOfShape", "Size"} & {n.op_type for n in model.graph.node}
    assert [v.name for v in model.graph.output] == list(Inspected._fields)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        first, *rest = value.type.tensor_type.shape.dim
        assert all(d.dim_value > 0 for d in rest), value.name
    first, *rest = model.graph.input[0].type.tensor_type.shape.dim
    assert first.dim_param == "batch"
    assert tuple(d.dim_value for d in rest) == shape


def small(nodes: list[Any], constants: dict[str, Any] | None = None) -> bytes:
    """A graph of a uint8 picture ``image`` with one float result ``out``."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["b", "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "h", "w"])],
    )
    for name, value in (constants or {}).items():
        array = np.asarray(value)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.initializer.append(helper.make_tensor(name, kind, array.shape, array.reshape(-1)))
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return bytes(model.SerializeToString())


def test_a_value_along_the_batch_is_kept_once() -> None:
    """Zeros as large as the batch, added to the picture."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Add", ["zeros", "two"], ["twos"]),
        helper.make_node("Add", ["twos", "x"], ["out"]),
    ]
    graph = small(nodes, {"two": np.float32(2)})
    model = folded(graph, 3, 4)
    assert [n.op_type for n in model.graph.node] == ["Cast", "Add"]
    images = pictures(5, (3, 4))
    np.testing.assert_array_equal(results(model.SerializeToString(), images)[0], images + 2.0)


def test_a_graph_that_computes_with_the_batch_is_refused() -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
        helper.make_node("Cast", ["n"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["x", "count"], ["out"], name="share"),
    ]
    with pytest.raises(InputError, match="Div 'share' depends on the batch"):
        folded(small(nodes), 3, 4)


@pytest.mark.parametrize(("height", "width"), [(8, 64), (64, 8), (0, 64), (64, -1)])
def test_sizes_that_cannot_run_are_refused(height: int, width: int) -> None:
    """SSIM's windows of 11 pixels do not fit."""
    residual = Residual(ResidualSettings.model_validate({"terms": [{"kind": "ssim"}]}))
    graph = graph_bytes(Inspector(MedianGrey(), residual).eval(), 1, 16)
    with pytest.raises(InputError, match=f"{width}x{height}.*as large as a tile"):
        folded(graph, height, width)


@pytest.mark.parametrize("data", [b"", b"no graph", b"\x08\x0a"])
def test_no_graph(data: bytes) -> None:
    with pytest.raises(DetectorError, match="pass a detector"):
        folded(data, 128, 128)


def test_thresholds_in_the_graph_become_further_outputs() -> None:
    """Outputs of other types keep their order, names and kinds."""
    residual = Residual(ResidualSettings.model_validate({"terms": [{"kind": "l1"}]}))
    graph = with_verdicts(graph_bytes(Inspector(MedianGrey(), residual).eval(), 1, 16), 0.2, 0.5)
    model = folded(graph, 20, 24)
    assert [v.name for v in model.graph.output] == ["anomaly_map", "score", "mask", "defective"]
    images = pictures(3, (20, 24))
    for a, b in zip(
        results(graph, images), results(model.SerializeToString(), images), strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, atol=1e-6)


def with_verdicts(graph: bytes, pixel: float, score: float) -> bytes:
    """The graph with these thresholds instead of infinite ones."""
    return replace_constants(graph, {"pixel_threshold": pixel, "score_threshold": score})
