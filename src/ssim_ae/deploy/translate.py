"""From a traced graph to ONNX, each operation as it was traced.

torch's exporter first decomposes a graph into fewer kinds of operations and promotes types, for
which it runs the graph three times more with symbolic sizes, and last tries a hundred rules of
rewriting at every node, twice. Each takes as long as the trace itself. The operations that these
graphs hold have ONNX counterparts already, but for the few below; no operation mixes types; and
what the rules rewrite, engines rewrite themselves when they load a file, so two of them are left,
which take out what does nothing. Of its five hundred translations it parses the source anew, for a
name that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

aten = torch.ops.aten


@contextmanager
def as_traced() -> Iterator[None]:
    """Within it, torch's exporter takes a traced graph as it is.

    Raises:
        AttributeError: this version of the exporter has other parts.
    """
    from onnxscript._internal.values import TracedOnnxFunction
    from torch.onnx._internal.exporter import _fx_passes as passes

    with (
        patch.object(
            torch.export.ExportedProgram, "run_decompositions", lambda self, *_, **__: self
        ),
        patch.object(TracedOnnxFunction, "function_ir", SimpleNamespace(domain="")),  # not parsed
        patch.object(passes, "insert_type_promotion_nodes", lambda _: None),
        # no two symbolic sizes are alike: looking them up costs more than it saves
        torch._dynamo.config.patch(fake_tensor_cache_enabled=False),
    ):
        yield


def simplify(model: Any) -> None:
    """In place: constants folded, what does nothing, is unused or there twice left out."""
    import onnx_ir.passes.common as common
    from onnxscript.optimizer import fold_constants
    from onnxscript.rewriter import RewritePass
    from onnxscript.rewriter.rules.common import collapse_slice2_rule, no_op_cast_rule

    common.InlinePass()(model)
    fold_constants(model)
    RewritePass([collapse_slice2_rule, no_op_cast_rule])(model)
    for step in (
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    ):
        step(model)


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

    def below(x: Any, other: Any) -> Any:
        if isinstance(other, int | float):
            other = op.Constant(value_float=float(other))
        return op.Less(x, op.CastLike(other, x))

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
        aten.lt.Scalar: below,
        aten.__and__.Tensor: both,
        aten.detach_.default: itself,
        aten.conv_transpose2d.input: transposed,
    }
