"""From a traced graph to ONNX, each operation as it was traced.

torch's exporter first decomposes a graph into fewer kinds of operations. For that it runs the graph
twice more with symbolic sizes, which takes as long as everything else together. The operations that
these graphs hold have ONNX counterparts already, but for the few below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

aten = torch.ops.aten


@contextmanager
def undecomposed() -> Iterator[None]:
    """Within it, torch's exporter takes a traced graph as it is."""
    with patch.object(
        torch.export.ExportedProgram, "run_decompositions", lambda self, *_, **__: self
    ):
        yield


def translations() -> dict[Callable[..., Any], Any]:
    """ONNX for the operations that the exporter only knows decomposed."""
    from onnxscript import opset18 as op

    def cast(x: Any, dtype: int, non_blocking: bool = False, copy: bool = False) -> Any:
        return op.Cast(x, to=dtype)

    def subtracted_from(x: Any, other: Any, alpha: float = 1) -> Any:
        assert alpha == 1
        if isinstance(other, int | float):  # otherwise it is computed from the picture's size
            other = op.Constant(value_float=float(other))
        return op.Sub(op.CastLike(other, x), x)

    def both(x: Any, other: Any) -> Any:
        return op.And(x, other)

    def itself(x: Any) -> Any:
        return op.Identity(x)

    def transposed(
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        output_padding: Sequence[int] = (0, 0),
        groups: int = 1,
        dilation: Sequence[int] = (1, 1),
    ) -> Any:
        def pair(lengths: Sequence[int]) -> list[int]:
            return list(lengths) * (2 // len(lengths))

        operands = [x, weight] if bias is None else [x, weight, bias]
        return op.ConvTranspose(
            *operands,
            strides=pair(stride),
            pads=pair(padding) * 2,
            output_padding=pair(output_padding),
            group=groups,
            dilations=pair(dilation),
        )

    return {
        aten.to.dtype: cast,
        aten.rsub.Scalar: subtracted_from,
        aten.__and__.Tensor: both,
        aten.detach_.default: itself,
        aten.conv_transpose2d.input: transposed,
    }
