"""The inspection graph as a MindSpore MindIR: the exported ONNX graph, translated node by node.

Nothing of the inspection is written a second time: the folded ONNX graph (see ``fold``) becomes
the text of one ``construct``, one line a node, which MindSpore compiles. Height and width are
fixed, the batch is not.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssim_ae.deploy.fold import folded
from ssim_ae.errors import InputError, SsimAeError
from ssim_ae.runtime.mindspore_engine import graph_mode, reason_of

if TYPE_CHECKING:
    from onnx import ModelProto

    from ssim_ae.deploy.mindspore_ops import Held


class MindIR(NamedTuple):
    """A compiled graph, and what its file does not say of itself (see ``runtime.exported``)."""

    data: bytes
    picture: list[int]
    outputs: list[str]


def mindir(graph: bytes, height: int, width: int) -> MindIR:
    """Translate an exported ONNX graph for pictures of ``height`` x ``width`` at working size.

    Raises:
        InputError: MindSpore is not installed, the graph cannot run at this size, or holds an
            operator without a translation.
        DetectorError: no ONNX graph.
        SsimAeError: MindSpore fails to compile it.
    """
    ms = graph_mode()
    model = folded(graph, height, width)
    image = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    picture = ms.Tensor(shape=[None, *image[1:]], dtype=ms.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.mindir"
        cell = compilable(model, Path(folder) / "program.py")
        try:
            ms.export(cell, picture, file_name=str(file), file_format="MINDIR")
            data = file.read_bytes()
        except Exception as error:  # its compiler raises whatever it meets
            reason = reason_of(error)
            raise SsimAeError(
                f"MindSpore {ms.__version__} cannot compile the graph ({reason}): use the ONNX file"
            ) from None
    outputs = [value.name for value in model.graph.output]
    return MindIR(data, image[1:], outputs)


def compilable(model: ModelProto, file: Path) -> Any:
    """A folded graph as a ``mindspore.nn.Cell``.

    MindSpore compiles a method from its source, so ``file``, which is written, has to stay there
    until then.
    """
    from mindspore import nn

    from ssim_ae.deploy import mindspore_ops

    text, held = program(model)
    file.write_text(text, encoding="utf-8")
    scope: dict[str, Any] = {"__name__": mindspore_ops.__name__}  # where the text finds ops and ms
    exec(compile(text, str(file), "exec"), scope)
    cell = type("Inspection", (nn.Cell,), {"construct": scope["construct"]})(auto_prefix=False)
    for index, value in enumerate(held.values):
        setattr(cell, f"h{index}", value)
    cell.set_train(False)
    return cell


def program(model: ModelProto) -> tuple[str, Held]:
    """The text of ``construct(self, picture)``, and the constants and primitives it names.

    Raises:
        InputError: an operator, or a use of one, that has no translation.
    """
    from onnx import helper, numpy_helper

    from ssim_ae.deploy.mindspore_ops import OPERATORS, Held, Step
    from ssim_ae.deploy.mindspore_planes import PLANE_OPERATORS

    operators = OPERATORS | PLANE_OPERATORS
    unknown = sorted({n.op_type for n in model.graph.node} - operators.keys())
    if unknown:
        raise InputError(
            f"the graph's {', '.join(unknown)} has no translation: this detector cannot be "
            "exported to MindIR"
        )
    held = Held()
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = {name: list(value.shape) for name, value in constants.items()}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        shapes[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in sizes]
    names = {"": "", model.graph.input[0].name: "picture"}
    lines = ["def construct(self, picture):"]
    for number, node in enumerate(model.graph.node):
        for name in node.input:
            if name not in names:
                names[name] = held.hold(constants[name])
        step = Step(
            node.op_type,
            [names[name] for name in node.input],
            [constants.get(name) for name in node.input],
            [shapes.get(name, []) for name in node.input],
            {a.name: helper.get_attribute_value(a) for a in node.attribute},
            held,
        )
        names[node.output[0]] = f"x{number}"
        lines.append(f"    x{number} = {operators[node.op_type](step)}")
    results = ", ".join(names[value.name] for value in model.graph.output)
    return "\n".join([*lines, f"    return ({results},)", ""]), held
