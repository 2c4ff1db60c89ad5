"""An exported graph made for one height and width: everything that follows from them is computed.

Compilers for small devices want sizes they know and no arithmetic on shapes. The folded graph is
ordinary ONNX that takes the same pictures of the one size, in batches of any length.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssim_ae.errors import DetectorError, InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Values = NDArray[Any]
BATCH = "batch"
PROBES = (2, 3)  # batches at which shapes are computed: what differs depends on the batch
SHAPE_OF = ("Shape", "Size")
# take operands of different lengths along the batch, one of them 1
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Where", "Less", "Greater", "And", "Or")


def folded(graph: bytes, height: int, width: int) -> ModelProto:
    """The graph for pictures of ``height`` x ``width`` at working size; the batch stays symbolic.

    Like the graph it is made of, it does not know how large a tile is; whoever asks for it does.

    Raises:
        DetectorError: no ONNX graph with one input ``[batch, height, width, ...]``.
        InputError: the graph cannot run at this size, or depends on the batch in another way than
            by reshaping to it.
    """
    import onnx

    model = _read(graph)
    if min(height, width) < 1:
        raise InputError(
            f"pictures of {width}x{height} do not exist: use pictures at least as large as a tile"
        )
    names = [v.name for v in model.graph.output]
    fixed = _initializers(model) | {n.output[0]: n for n in model.graph.node if not n.input}.keys()
    from_picture = _depend_on_picture(model)
    wanted = {
        name
        for node in model.graph.node
        if from_picture.intersection(node.output)
        for name in node.input
        if name and name not in from_picture and name not in fixed
    }
    ordered = sorted(wanted)
    first, second = (_values(model, ordered, batch, height, width) for batch in PROBES)
    replaced: dict[tuple[str, str], str] = {}  # (value, kind of consumer) -> its constant
    constants = []
    for node in model.graph.node:
        if not from_picture.intersection(node.output):
            continue
        for name in node.input:
            if name not in wanted or (name, node.op_type) in replaced:
                continue
            value = _without_batch(node, first[name], second[name])
            new = f"{name}.{node.op_type}"
            constants.append(onnx.numpy_helper.from_array(value, new))
            replaced[name, node.op_type] = new
    nodes = []
    for node in model.graph.node:
        if from_picture.intersection(node.output):
            for i, name in enumerate(node.input):
                node.input[i] = replaced.get((name, node.op_type), name)
            nodes.append(node)
    return _assembled(model, _alive(nodes, names), constants, height, width)


def _read(graph: bytes) -> ModelProto:
    import onnx

    try:
        model = onnx.load_model_from_string(graph)
        (image,) = model.graph.input
    except Exception as error:  # protobuf's classes differ between its versions
        reason = str(error).splitlines()[0]
        raise DetectorError(f"no ONNX graph of one picture ({reason}): pass a detector") from None
    if len(image.type.tensor_type.shape.dim) not in (3, 4):
        raise DetectorError("the ONNX graph's input is no batch of pictures: pass a detector")
    return model


def _initializers(model: ModelProto) -> set[str]:
    return {t.name for t in model.graph.initializer}


def _depend_on_picture(model: ModelProto) -> set[str]:
    """Values computed from the picture's pixels, not only from its shape."""
    known = {model.graph.input[0].name}
    for node in model.graph.node:  # in topological order
        if node.op_type not in SHAPE_OF and known.intersection(node.input):
            known.update(node.output)
    return known


def _values(
    model: ModelProto, names: list[str], batch: int, height: int, width: int
) -> dict[str, Values]:
    """What the values are for a batch of this shape."""
    if not names:
        return {}
    import onnx
    import onnxruntime as ort

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    rest = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[3:]]
    picture = np.zeros((batch, height, width, *rest), np.uint8)
    try:
        session = ort.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        values = session.run(names, {model.graph.input[0].name: picture})
    except Exception as error:  # its exception types are no public classes
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the graph does not run on pictures of {width}x{height} ({reason}): use pictures at "
            "least as large as a tile"
        ) from None
    return dict(zip(names, values, strict=True))


def _without_batch(node: NodeProto, first: Values, second: Values) -> Values:
    """A value that node takes, such that it holds for every batch."""
    if first.shape == second.shape and np.array_equal(first, second):
        return first
    if node.op_type in ("Reshape", "Expand") and first.shape == second.shape:
        # in a shape: what the batch decides is left over (reshape), or stays as it is (expand)
        free = np.asarray(first != second)
        if node.op_type == "Expand" or free.sum() == 1:
            return np.where(free, -1 if node.op_type == "Reshape" else 1, first)
    if node.op_type in ELEMENTWISE and first.ndim == second.ndim:
        axes = [i for i in range(first.ndim) if first.shape[i] != second.shape[i]]
        one = first
        for axis in axes:
            one = one.take([0], axis)
        if np.array_equal(np.broadcast_to(one, second.shape), second):
            return one
    raise InputError(
        f"{node.op_type} {node.name!r} depends on the batch: this detector cannot be exported for "
        "a fixed size"
    )


def _alive(nodes: Iterable[NodeProto], outputs: list[str]) -> list[NodeProto]:
    """The nodes that the outputs need, in order."""
    needed, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _assembled(
    model: ModelProto, nodes: list[NodeProto], constants: list[Any], height: int, width: int
) -> ModelProto:
    import onnx

    used = {name for node in nodes for name in node.input}
    graph = onnx.GraphProto(name=model.graph.name)
    graph.node.extend(nodes)
    graph.initializer.extend(t for t in model.graph.initializer if t.name in used)
    graph.initializer.extend(t for t in constants if t.name in used)
    for values, new in ((model.graph.input, graph.input), (model.graph.output, graph.output)):
        for value in values:
            kind = value.type.tensor_type
            rest = [d.dim_value for d in kind.shape.dim[3:]]
            sizes: list[Any] = [BATCH, height, width, *rest][: len(kind.shape.dim)]
            new.append(onnx.helper.make_tensor_value_info(value.name, kind.elem_type, sizes))
    done = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    done.ir_version = model.ir_version
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = onnx.shape_inference.infer_shapes(done, strict_mode=True, data_prop=True)
    onnx.checker.check_model(done)
    return done
