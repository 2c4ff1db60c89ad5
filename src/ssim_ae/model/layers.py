"""Transposed convolutions with the gradients that CPU libraries compute slowly.

Both are 4x4, stride 2, padding 1: twice the side. Same weights, same numbers as
``nn.ConvTranspose2d``; only the order of the sums differs. The gradients written here are for
training on a CPU; other devices, inference and export take torch's own layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Transposed(nn.ConvTranspose2d):
    """Gradients by the kernels of the convolution that it transposes.

    Torch's own backward pass of the transposed form takes twice the time of exactly those.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _on_training_cpu(self, x):
            return super().forward(x, output_size)
        return _transposed(*_cast(x, self.weight, self.bias))


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        d_x = F.conv2d(grad, weight, stride=2, padding=1)
        # grad is the convolution's input, x stands where its output's gradient would
        _, d_weight, _ = torch.ops.aten.convolution_backward(
            x, grad, weight, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
        )
        return d_x, d_weight, grad.sum((0, 2, 3))


_transposed: Callable[..., Tensor] = _Transposed.apply


class LastLayer(nn.ConvTranspose2d):
    """For one or three output channels, which no CPU library has a fast kernel for.

    On other devices, for inference and export: a 3x3 convolution and a pixel shuffle; output pixel
    (2y + a, 2x + b) meets the 2x2 taps of phase (a, b), which lie in one corner of a 3x3 window.
    Training on a CPU: one matrix product makes all 16 taps of every input pixel, and each output
    pixel adds its four.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert self.bias is not None
        if _on_training_cpu(self, x):
            return _taps(*_cast(x, self.weight, self.bias))
        flipped = self.weight.flip(2, 3)
        phases = [
            F.pad(flipped[:, :, a::2, b::2], (b, 1 - b, a, 1 - a)) for a in (0, 1) for b in (0, 1)
        ]
        kernel = torch.stack(phases, dim=2).permute(1, 2, 0, 3, 4)
        kernel = kernel.reshape(4 * self.out_channels, self.in_channels, 3, 3)
        spread = F.conv2d(x, kernel, self.bias.repeat_interleave(4), padding=1)
        return F.pixel_shuffle(spread, 2)


class _Tap(NamedTuple):
    """Along one axis, tap ``number`` of the input pixel ``offset`` away meets the output pixel."""

    number: int
    offset: int


# the taps that meet in output pixels 2y and 2y + 1
_MEETING = ((_Tap(1, 0), _Tap(3, -1)), (_Tap(2, 0), _Tap(0, 1)))


class _Taps(torch.autograd.Function):
    """x ``[n, i, h, w]``, weight ``[i, o, 4, 4]``, bias ``[o]`` -> ``[n, o, 2h, 2w]``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        n, _, h, w = x.shape
        o = weight.shape[1]
        taps = (_matrix(weight) @ _pixels(x).t()).view(o, 4, 4, n, h, w)
        out = x.new_empty(n, o, h, 2, w, 2)
        for a, row_taps in enumerate(_MEETING):
            for b, column_taps in enumerate(_MEETING):
                total = bias.view(-1, 1, 1, 1).expand(o, n, h, w).clone()
                for row in row_taps:
                    for column in column_taps:
                        _add_shifted(total, taps[:, row.number, column.number], row, column)
                out[:, :, :, a, :, b] = total.transpose(0, 1)
        return out.view(n, o, 2 * h, 2 * w)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        n, i, h, w = x.shape
        o = weight.shape[1]
        padded = F.pad(grad, (1, 1, 1, 1)).transpose(0, 1)
        taps = grad.new_empty(o, 4, 4, n, h, w)
        for row in range(4):
            for column in range(4):
                taps[:, row, column] = padded[:, :, row::2, column::2][:, :, :h, :w]
        rows = taps.view(o * 16, -1)
        d_x = (rows.t() @ _matrix(weight)).view(n, h, w, i).permute(0, 3, 1, 2)
        d_weight = (rows @ _pixels(x)).view(o, 4, 4, i).permute(3, 0, 1, 2)
        return d_x, d_weight, grad.sum((0, 2, 3))


_taps: Callable[..., Tensor] = _Taps.apply


def _add_shifted(total: Tensor, tap: Tensor, row: _Tap, column: _Tap) -> None:
    """Add input pixels (row.offset, column.offset) away; beyond the border there are none."""
    for axis, offset in ((-2, row.offset), (-1, column.offset)):
        length = total.shape[axis] - abs(offset)
        total = total.narrow(axis, max(0, -offset), length)
        tap = tap.narrow(axis, max(0, offset), length)
    total += tap


def _matrix(weight: Tensor) -> Tensor:
    """``[i, o, 4, 4]`` -> ``[o * 16, i]``."""
    return weight.permute(1, 2, 3, 0).reshape(-1, weight.shape[0])


def _pixels(x: Tensor) -> Tensor:
    """``[n, i, h, w]`` -> ``[n * h * w, i]``; a view when x is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _on_training_cpu(layer: nn.Module, x: Tensor) -> bool:
    return layer.training and torch.is_grad_enabled() and x.device.type == "cpu"


def _cast(x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """What autocast would do to the inputs of a convolution."""
    assert bias is not None
    inputs = [x, weight, bias]
    if not torch.is_autocast_enabled("cpu"):
        return inputs
    return [t.to(torch.get_autocast_dtype("cpu")) for t in inputs]
