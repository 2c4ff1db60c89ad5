"""The MindIR and its engine against ONNX's reference (operators) and ONNX Runtime (graphs)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ssim_ae.errors import DetectorError, InputError, PictureError
from ssim_ae.runtime.mindspore_engine import MindSpore, reason_of

needs_mindspore = pytest.mark.skipif(
    importlib.util.find_spec("mindspore") is None, reason="mindspore is not installed"
)
PLANES = (2, 3, 8, 10)  # n, c, h, w
WEIGHTS = np.random.default_rng(4)


def weights(*shape: int) -> np.ndarray:
    return WEIGHTS.normal(size=shape).astype(np.float32)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def resize(mode: str, where: str, factor: float) -> tuple[str, list[Any], dict[str, Any]]:
    attributes = {"mode": mode, "coordinate_transformation_mode": where, "nearest_mode": "floor"}
    return "Resize", [None, np.array([1, 1, factor, factor], np.float32)], attributes


# name of the case: operator, its constant operands (None: absent), attributes
OPERATORS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "add": ("Add", [weights(3, 1, 1)], {}),
    "sub-large": ("Sub", [weights(1, 3, 8, 10)], {}),
    "mul": ("Mul", [np.float32(0.3)], {}),
    "div": ("Div", [np.float32(0.3)], {}),
    "min": ("Min", [np.float32(0.1)], {}),
    "max": ("Max", [np.float32(0.1)], {}),
    "clip": ("Clip", [np.float32(-0.5), np.float32(0.5)], {}),
    "clip-above": ("Clip", [None, np.float32(0.5)], {}),
    "abs": ("Abs", [], {}),
    "floor": ("Floor", [], {}),
    "round": ("Round", [], {}),
    "sigmoid": ("Sigmoid", [], {}),
    "leaky-relu": ("LeakyRelu", [], {"alpha": 0.2}),
    "reduce-sum": ("ReduceSum", [numbers(2, 3)], {"keepdims": 1}),
    "reduce-mean": ("ReduceMean", [numbers(1)], {"keepdims": 1}),
    "reduce-max": ("ReduceMax", [numbers(1, 2, 3)], {"keepdims": 0}),
    "expand": ("Expand", [numbers(1, 3, 8, 10)], {}),
    "reshape": ("Reshape", [numbers(-1, 1, 8, 10)], {}),
    "unsqueeze": ("Unsqueeze", [numbers(1, 3)], {}),
    "transpose": ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    "slice": ("Slice", [numbers(1, 2), numbers(3, 99), numbers(1, 3), numbers(1, 1)], {}),
    "slice-behind": ("Slice", [numbers(-4), numbers(-1), numbers(3), numbers(1)], {}),
    "slice-last": ("Slice", [numbers(2), numbers(7), numbers(-2)], {}),
    "matmul": ("MatMul", [weights(10, 4)], {}),
    "gather": ("Gather", [numbers(3, 3, 0, -1, 7)], {"axis": 2}),
    "gather-all": ("Gather", [np.arange(10)], {"axis": 3}),
    "gather-run": ("Gather", [np.arange(2, 7)], {"axis": 3}),
    "gather-one": ("Gather", [np.int64(-2)], {"axis": 1}),
    "conv": (
        "Conv",
        [weights(4, 3, 3, 3), weights(4)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "conv-uneven": ("Conv", [weights(4, 3, 3, 2)], {"pads": [1, 0, 2, 1]}),
    "conv-groups": ("Conv", [weights(3, 1, 3, 3)], {"group": 3}),
    "conv-transpose": (
        "ConvTranspose",
        [weights(3, 5, 4, 4), weights(5)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "conv-transpose-wide": ("ConvTranspose", [weights(3, 2, 8, 8)], {"strides": [2, 2]}),
    "average": ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average-inside": (
        "AveragePool",
        [],
        {"kernel_shape": [7, 1], "pads": [3, 0, 3, 0], "count_include_pad": 0},
    ),
    "average-both": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 5], "pads": [1, 2, 1, 2], "strides": [2, 1], "count_include_pad": 0},
    ),
    "average-counted": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "edge": ("Pad", [numbers(0, 0, 3, 1, 0, 0, 2, 4)], {"mode": "edge"}),
    "nearest": resize("nearest", "asymmetric", 2),
    "bilinear-2": resize("linear", "half_pixel", 2),
    "bilinear-8": resize("linear", "half_pixel", 8),
}
UNTRANSLATED = {
    "unknown": ("Erf", [], {}, "Erf has no translation"),
    "cubic": (*resize("cubic", "half_pixel", 2), "Resize is cubic"),
    "by-half": (*resize("linear", "half_pixel", 1.5), "no whole numbers"),
    "reflected": ("Pad", [numbers(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "reflect"}, "Pad continues"),
    "every-other": ("Slice", [numbers(0), numbers(8), numbers(2), numbers(2)], {}, "every other"),
    "batch": ("Gather", [numbers(0, 0)], {"axis": 0}, "along the batch"),
    "rounded-up": ("AveragePool", [], {"kernel_shape": [3, 3], "ceil_mode": 1}, "rounds its size"),
}


def one_node(
    op: str,
    constants: list[Any],
    attributes: dict[str, Any],
    shape: tuple[int, ...] = PLANES,
    opset: int = 18,
) -> Any:
    """A graph ``planes -> out`` of one operator, its batch symbolic, shapes inferred."""
    import onnx

    names = ["planes", *("" if c is None else f"c{i}" for i, c in enumerate(constants))]
    graph = helper.make_graph(
        [helper.make_node(op, names, ["out"], **attributes)],
        "one",
        [helper.make_tensor_value_info("planes", TensorProto.FLOAT, ["batch", *shape[1:]])],
        [helper.make_empty_tensor_value_info("out")],
        [
            numpy_helper.from_array(np.asarray(c), f"c{i}")
            for i, c in enumerate(constants)
            if c is not None
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    return onnx.shape_inference.infer_shapes(model)


def by_mindspore(model: Any, planes: np.ndarray, folder: Path) -> np.ndarray:
    """Compiled for any batch, run on one."""
    from ssim_ae.deploy.mindspore import compilable
    from ssim_ae.runtime.mindspore_engine import graph_mode

    ms = graph_mode()
    cell = compilable(model, folder / "program.py")
    cell.set_inputs(ms.Tensor(shape=[None, *planes.shape[1:]], dtype=ms.float32))
    (out,) = cell(ms.Tensor(planes))
    return np.asarray(out.asnumpy())


@needs_mindspore
@pytest.mark.parametrize("case", OPERATORS)
def test_operators_equal_the_reference(case: str, tmp_path: Path) -> None:
    op, constants, attributes = OPERATORS[case]
    shape = (2, 1, 8, 10) if case == "expand" else PLANES
    planes = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    if op == "Expand":
        planes = planes[:, :, :1, :1]
    model = one_node(op, constants, attributes, planes.shape)
    (wanted,) = ReferenceEvaluator(model).run(None, {"planes": planes})
    got = by_mindspore(model, planes, tmp_path)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@needs_mindspore
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("length", [40, 1100])
def test_blurs_along_an_axis(axis: int, length: int, tmp_path: Path) -> None:
    """Short rows as a matrix product, long ones as a convolution."""
    taps = weights(1, 1, 9, 1) if axis == 2 else weights(1, 1, 1, 9)
    shape = (2, 1, length, 12) if axis == 2 else (2, 1, 12, length)
    planes = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    model = one_node("Conv", [taps], {}, shape)
    (wanted,) = ReferenceEvaluator(model).run(None, {"planes": planes})
    np.testing.assert_allclose(by_mindspore(model, planes, tmp_path), wanted, atol=1e-5)


@needs_mindspore
def test_depth_becomes_space(tmp_path: Path) -> None:
    planes = np.random.default_rng(1).normal(size=(2, 12, 3, 5)).astype(np.float32)
    model = one_node("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}, planes.shape)
    (wanted,) = ReferenceEvaluator(model).run(None, {"planes": planes})
    np.testing.assert_array_equal(by_mindspore(model, planes, tmp_path), wanted)


@needs_mindspore
@pytest.mark.parametrize("case", UNTRANSLATED)
def test_what_has_no_translation_is_named(case: str, tmp_path: Path) -> None:
    from ssim_ae.deploy.mindspore import compilable

    op, constants, attributes, message = UNTRANSLATED[case]
    model = one_node(op, constants, attributes)
    with pytest.raises(InputError, match=f"{message}.*cannot be exported to MindIR"):
        compilable(model, tmp_path / "program.py")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[MindSpore, bytes]:
    """The control without a model as a MindIR for 24x20, with masks; and its ONNX graph."""
    pytest.importorskip("mindspore", reason="mindspore is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    from ssim_ae.config import ResidualSettings
    from ssim_ae.deploy.mindspore import mindir
    from ssim_ae.deploy.onnx import graph_bytes
    from ssim_ae.model.anomaly_map import Residual
    from ssim_ae.model.inspector import Inspector, MedianGrey
    from tests.test_fold import with_verdicts

    residual = Residual(ResidualSettings.model_validate({"terms": [{"kind": "l1"}]}))
    graph = with_verdicts(graph_bytes(Inspector(MedianGrey(), residual).eval(), 1, 16), 0.2, 0.6)
    file = tmp_path_factory.mktemp("mindir") / "small.mindir"
    made = mindir(graph, 20, 24)
    file.write_bytes(made.data)
    assert made.outputs == ["anomaly_map", "score", "mask", "defective"]
    assert made.picture == [20, 24]
    return MindSpore(file, made.picture, made.outputs), graph


def test_further_outputs_keep_their_names_and_kinds(fixed: tuple[MindSpore, bytes]) -> None:
    from tests.test_fold import pictures, results

    engine, graph = fixed
    images = pictures(3, (20, 24))
    images[0] //= 2
    images[0] += 64  # no pixel far from the median
    got = list(engine.outputs(images).values())
    wanted = results(graph, images)
    assert [x.dtype for x in got] == [np.float32, np.float32, np.bool_, np.bool_]
    np.testing.assert_array_equal(got[3], [False, False, False])
    np.testing.assert_array_equal(got[2], wanted[2])
    assert 0 < wanted[2].mean() < 1
    maps, scores = engine.run(images)
    np.testing.assert_array_equal(maps, got[0])
    np.testing.assert_array_equal(scores, got[1])


@pytest.mark.parametrize("shape", [(1, 24, 20), (1, 20, 24, 3), (0, 20, 24), (1, 40, 48)])
def test_other_sizes_are_refused(fixed: tuple[MindSpore, bytes], shape: tuple[int, ...]) -> None:
    with pytest.raises(PictureError, match=r"takes uint8 \(20, 24\): export one for this size"):
        fixed[0].run(np.zeros(shape, np.uint8))
    with pytest.raises(PictureError, match="float32"):
        fixed[0].run(np.zeros((1, 20, 24), np.float32))


@pytest.mark.e2e
def test_whole_graphs_equal_onnx_runtime(tmp_path: Path) -> None:
    pytest.importorskip("mindspore", reason="mindspore is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    from ssim_ae.deploy.mindspore import mindir
    from tests.test_fold import GRAPHS, exported, pictures, results

    for name in GRAPHS:
        graph, shape = exported(name)
        made = mindir(graph, *shape[:2])
        (tmp_path / f"{name}.mindir").write_bytes(made.data)
        engine = MindSpore(tmp_path / f"{name}.mindir", made.picture, made.outputs)
        for batch in (1, 3):
            images = pictures(batch, shape)
            wanted, got = results(graph, images)[:2], engine.run(images)
            for a, b in zip(wanted, got, strict=True):
                assert b.dtype == np.float32
                np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4, err_msg=name)


@needs_mindspore
def test_a_file_that_mindspore_refuses(tmp_path: Path) -> None:
    file = tmp_path / "x.mindir"
    file.write_bytes(b"a graph")
    with pytest.raises(DetectorError, match="MindSpore refuses the graph"):
        MindSpore(file, [20, 24], ["anomaly_map", "score"])


def test_without_mindspore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mindspore", None)
    with pytest.raises(InputError, match="pip install mindspore"):
        MindSpore(tmp_path / "x.mindir", [20, 24], ["anomaly_map", "score"])


def test_an_error_s_first_words() -> None:
    ruler = "-" * 20
    assert reason_of(RuntimeError(f"{ruler}\n- Kernel missing: \n{ruler}")) == "Kernel missing:"
    assert reason_of(ValueError("")) == "ValueError"
