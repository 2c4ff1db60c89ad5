"""Which MindSpore expression stands for which ONNX operator.

An entry of ``OPERATORS`` takes one node and returns the expression that computes its output, as
Python text that MindSpore compiles in graph mode. Operators that MindSpore lacks, or computes
wrongly or slowly on a CPU, are composed of others. Semantics: ONNX operator set 18.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops
from numpy.typing import NDArray

from ssim_ae.errors import InputError

Array = NDArray[Any]
INLINE = 16  # constants of up to so many values stay in the program; others become parameters


@dataclass
class Held:
    """What the program refers to as ``self.h0``, ``self.h1``, ...: primitives and constants."""

    values: list[Any] = field(default_factory=list)

    def hold(self, value: Any) -> str:
        """Keep a primitive or an array; the expression that names it."""
        if isinstance(value, np.ndarray):
            tensor = ms.Tensor(np.ascontiguousarray(value).reshape(value.shape))
            large = value.size > INLINE and value.dtype == np.float32
            name = f"h{len(self.values)}"
            value = ms.Parameter(tensor, name=name, requires_grad=False) if large else tensor
        self.values.append(value)
        return f"self.h{len(self.values) - 1}"


@dataclass
class Step:
    """One ONNX node, its operands as expressions, constants where they are, static shapes."""

    op: str
    x: list[str]
    constants: list[Array | None]
    shapes: list[list[int | None]]  # None: the batch
    attributes: dict[str, Any]
    held: Held

    def call(self, primitive: Any, *arguments: object) -> str:
        """Apply a primitive to the first operand and more."""
        return f"{self.held.hold(primitive)}({', '.join(map(str, (self.x[0], *arguments)))})"

    def numbers(self, index: int, attribute: str | None = None) -> list[int] | None:
        """Integers given as a constant operand, or in an attribute; None if absent."""
        if len(self.x) > index and self.x[index]:
            value = self.constants[index]
            if value is None:
                raise self.unsupported("computes an operand that should be constant")
            return [int(v) for v in value.reshape(-1)]
        given = self.attributes.get(attribute or "")
        return None if given is None else [int(v) for v in given]

    def sizes(self) -> tuple[int, int]:
        """Height and width of the first operand, ``[n, c, h, w]``."""
        shape = self.shapes[0]
        if len(shape) != 4 or shape[2] is None or shape[3] is None:
            raise self.unsupported("works on something else than planes of a known size")
        return shape[2], shape[3]

    def unsupported(self, how: str) -> InputError:
        return InputError(
            f"the graph's {self.op} {how}, which has no translation: this detector cannot be "
            "exported to MindIR"
        )


def _infix(operator: str) -> Callable[[Step], str]:
    return lambda step: f"{step.x[0]} {operator} {step.x[1]}"


def _function(name: str) -> Callable[[Step], str]:
    """An operator of the same operands; of two, if ONNX takes any number."""

    def translated(step: Step) -> str:
        if name in ("minimum", "maximum") and len(step.x) != 2:
            raise step.unsupported(f"has {len(step.x)} operands")
        return f"ops.{name}({', '.join(step.x)})"

    return translated


def _reduction(primitive: str) -> Callable[[Step], str]:
    def translated(step: Step) -> str:
        axes = step.numbers(1, "axes")
        if axes is None:
            raise step.unsupported("reduces all axes")
        keep = bool(step.attributes.get("keepdims", 1))
        return step.call(getattr(ops, primitive)(keep_dims=keep), tuple(axes))

    return translated


def _cast(step: Step) -> str:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(step.attributes["to"])
    return f"ops.cast({step.x[0]}, ms.{'bool_' if kind == np.bool_ else kind.name})"


def _clip(step: Step) -> str:
    bounds = [step.x[i] if len(step.x) > i and step.x[i] else "None" for i in (1, 2)]
    return f"ops.clamp({step.x[0]}, {bounds[0]}, {bounds[1]})"


def _concat(step: Step) -> str:
    return f"ops.concat(({', '.join(step.x)}), {step.attributes['axis']})"


def _expand(step: Step) -> str:
    target, shape = step.numbers(1), step.shapes[0]
    if target is None or len(target) != len(shape):
        raise step.unsupported("adds axes")
    return f"ops.broadcast_to({step.x[0]}, {tuple(-1 if n == 1 else n for n in target)})"


def _reshape(step: Step) -> str:
    target = step.numbers(1)
    if target is None or 0 in target:
        raise step.unsupported("copies a size")
    return f"ops.reshape({step.x[0]}, {tuple(target)})"


def _unsqueeze(step: Step) -> str:
    text, axes = step.x[0], step.numbers(1)
    if axes is None or min(axes) < 0:
        raise step.unsupported("counts its axes from the end")
    for axis in sorted(axes):
        text = f"ops.expand_dims({text}, {axis})"
    return text


def _squeeze(step: Step) -> str:
    axes = step.numbers(1)
    if axes is None:
        raise step.unsupported("names no axes")
    return f"ops.squeeze({step.x[0]}, {tuple(axes)})"


def _transpose(step: Step) -> str:
    return f"ops.transpose({step.x[0]}, {tuple(step.attributes['perm'])})"


def _slice(step: Step) -> str:
    starts, ends = step.numbers(1), step.numbers(2)
    axes, steps = step.numbers(3), step.numbers(4)
    if starts is None or ends is None or axes is None or any(n != 1 for n in steps or []):
        raise step.unsupported("takes every other element")
    text = step.x[0]
    for axis, start, end in zip(axes, starts, ends, strict=True):
        text = sliced(step, text, axis % len(step.shapes[0]), start, end)
    return text


def sliced(step: Step, text: str, axis: int, start: int, end: int) -> str:
    """Elements ``start`` to ``end`` of an axis of the first operand."""
    length = step.shapes[0][axis]
    if axis < 0 or length is None:
        raise step.unsupported("cuts the batch")
    start, end = (min(max(n + length if n < 0 else n, 0), length) for n in (start, end))
    if (start, end) == (0, length):
        return text
    first = [0] * len(step.shapes[0])
    first[axis] = start
    sizes = [-1] * len(first)  # what is left of the axis
    sizes[axis] = end - start
    return (
        f"ops.Slice()({text}, {tuple(first)}, {tuple(sizes)})"  # indexing takes ten times as long
    )


def _gather(step: Step) -> str:
    """By constant indices where they count up, a slice; rows of a table otherwise."""
    axis, index = step.attributes.get("axis", 0), step.constants[1]
    if index is None:
        return f"ops.gather({step.x[0]}, {step.x[1]}, {axis})"
    length = step.shapes[0][axis]
    if axis < 0 or length is None or index.ndim > 1:
        raise step.unsupported("gathers along the batch")
    index = np.asarray(np.where(index < 0, index + length, index))
    if index.ndim == 0:
        one = sliced(step, step.x[0], axis, int(index), int(index) + 1)
        return f"ops.squeeze({one}, {axis})"
    if np.array_equal(index, np.arange(len(index)) + index[0]):
        return sliced(step, step.x[0], axis, int(index[0]), int(index[0]) + len(index))
    return f"ops.gather({step.x[0]}, {step.held.hold(index.astype(np.int32))}, {axis})"


def _depth_to_space(step: Step) -> str:
    h, w = step.sizes()
    block, channels = step.attributes["blocksize"], step.shapes[0][1]
    if channels is None or step.attributes.get("mode", b"DCR") != b"CRD":
        raise step.unsupported("puts depth first")
    c = channels // block**2
    text = f"ops.reshape({step.x[0]}, {(-1, c, block, block, h, w)})"
    text = f"ops.transpose({text}, (0, 1, 4, 2, 5, 3))"
    return f"ops.reshape({text}, {(-1, c, h * block, w * block)})"


OPERATORS: dict[str, Callable[[Step], str]] = {
    "Add": _infix("+"),
    "Sub": _infix("-"),
    "Mul": _infix("*"),
    "Div": _infix("/"),
    "Less": _infix("<"),
    "LessOrEqual": _infix("<="),
    "Greater": _infix(">"),
    "GreaterOrEqual": _infix(">="),
    "And": _function("logical_and"),
    "Or": _function("logical_or"),
    "Not": _function("logical_not"),
    "Where": _function("where"),
    "Min": _function("minimum"),
    "Max": _function("maximum"),
    "Abs": _function("abs"),
    "Floor": _function("floor"),
    "Round": _function("round"),
    "Sqrt": _function("sqrt"),
    "MatMul": _function("matmul"),
    "Exp": _function("exp"),
    "Log": _function("log"),
    "Sigmoid": _function("sigmoid"),
    "ReduceSum": _reduction("ReduceSum"),
    "ReduceMean": _reduction("ReduceMean"),
    "ReduceMax": _reduction("ReduceMax"),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Expand": _expand,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "DepthToSpace": _depth_to_space,
}
