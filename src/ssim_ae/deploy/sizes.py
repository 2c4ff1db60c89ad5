"""Symbolic sizes cheaper to trace: what a tensor's strides are is read off the example.

At each operation torch asks of each operand whether it is contiguous, channels last or of the size
of the others, and proves the answer for every height and width. Strides have no counterpart in
ONNX, so an answer for the example alone serves: a third of a trace's time. And of convolutions and
enlargements, which torch takes through the choice of a kernel or through their arithmetic, only the
size is worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

aten = torch.ops.aten


@contextmanager
def strides_of_the_example() -> Iterator[None]:
    """Within it, symbolic tensors are traced so.

    Raises:
        AttributeError, ImportError: this version of torch has other parts.
    """
    from torch import _prims_common as common
    from torch._decomp import decompositions
    from torch._subclasses import fake_impls

    fake_impls.get_fast_op_impls()  # filled at the first call
    with (
        patch.object(common, "is_contiguous", _contiguous),
        patch.object(common, "is_channels_last_contiguous_2d", _channels_last),
        patch.dict(
            fake_impls.FAST_OP_IMPLEMENTATIONS,
            dict.fromkeys((aten.clamp.default, aten.leaky_relu.default), _alike)
            | {aten.convolution.default: _convolved},
        ),
        patch.object(decompositions, "_upsample_linear", _enlarged),
    ):
        yield


def _contiguous(tensor: Tensor, false_if_dde: bool = False) -> bool:
    return _dense(tensor, range(tensor.ndim - 1, -1, -1))


def _channels_last(tensor: Tensor, false_if_dde: bool = False) -> bool:
    return tensor.ndim == 4 and _dense(tensor, (1, 3, 2, 0))


def _dense(tensor: Tensor, axes: Iterable[int]) -> bool:
    """Whether these axes of the example, innermost first, lie in memory without gaps."""
    expected = 1
    for axis in axes:
        length, stride = _hint(tensor.shape[axis]), _hint(tensor.stride()[axis])
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _hint(size: Any) -> int:
    return int(size if isinstance(size, int) else size.node.hint)


def _alike(mode: Any, tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    with mode:
        return torch.empty_like(tensor)


def _enlarged(tensor: Tensor, size: Sequence[Any], *_: Any) -> Tensor:
    return tensor.new_empty((*tensor.shape[:2], *size))


def _convolved(
    mode: Any,
    tensor: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    size = [tensor.shape[0], weight.shape[1] * groups if transposed else weight.shape[0]]
    for axis in range(2):
        length, step, frame = tensor.shape[2 + axis], stride[axis], 2 * padding[axis]
        spread = dilation[axis] * (weight.shape[2 + axis] - 1)
        if transposed:  # term by term as torch does: sizes are then written alike
            size.append((length - 1) * step - frame + spread + output_padding[axis] + 1)
        else:
            size.append((length + frame - (spread + 1)) // step + 1)
    with mode:
        return tensor.new_empty(size)
