"""Transposed convolutions with the gradients that CPU libraries compute slowly.

Both are 4x4, stride 2, padding 1: twice the side. Same weights, same numbers as
``nn.ConvTranspose2d``; only the order of the sums differs. The gradients written here are for
training on a CPU; elsewhere they are torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        return _gradients(x, weight, grad)


_transposed: Callable[..., Tensor] = _Transposed.apply


class LastLayer(nn.ConvTranspose2d):
    """For one or three output channels, which no CPU library has a fast kernel for.

    A 2x2 convolution and a pixel shuffle, with no more multiplications than the transposed form:
    along one axis output pixels 2y - 1 and 2y both meet the input pixels y - 1 and y alone. So each
    window makes the four output pixels around its middle, and the outermost ones, which only half a
    window meets, are cut off.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert self.bias is not None
        if _on_training_cpu(self, x):
            return _last(*_cast(x, self.weight, self.bias))
        return _by_windows(x, self.weight, self.bias)


class _Last(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _by_windows(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # contiguous() would leave strides by which one channel does not count as channels last
        grad = torch.empty_like(grad, memory_format=torch.channels_last).copy_(grad)
        x, weight = ctx.saved_tensors
        return _gradients(x, weight, grad)


_last: Callable[..., Tensor] = _Last.apply

# along one axis, the taps that meet a window's two input pixels, for output pixels 2y - 1 and 2y
_MEETING = ((2, 0), (3, 1))


def _by_windows(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x ``[n, i, h, w]``, weight ``[i, o, 4, 4]``, bias ``[o]`` -> ``[n, o, 2h, 2w]``."""
    pixels = [weight[:, :, rows][..., columns] for rows in _MEETING for columns in _MEETING]
    kernel = torch.stack(pixels, 2).permute(1, 2, 0, 3, 4).flatten(0, 1)
    spread = F.conv2d(x, kernel, bias.repeat_interleave(4), padding=1)
    return F.pixel_shuffle(spread, 2)[:, :, 1:-1, 1:-1]


def _gradients(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By x, weight and bias, from those by the output of the transposed convolution."""
    d_x = F.conv2d(grad, weight, stride=2, padding=1)
    # grad is the convolution's input, x stands where its output's gradient would
    _, d_weight, _ = torch.ops.aten.convolution_backward(
        x, grad, weight, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
    )
    return d_x, d_weight, grad.sum((0, 2, 3))


def _on_training_cpu(layer: nn.Module, x: Tensor) -> bool:
    return layer.training and torch.is_grad_enabled() and x.device.type == "cpu"


def _cast(x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """What autocast would do to the inputs of a convolution."""
    assert bias is not None
    inputs = [x, weight, bias]
    if not torch.is_autocast_enabled("cpu"):
        return inputs
    return [t.to(torch.get_autocast_dtype("cpu")) for t in inputs]
