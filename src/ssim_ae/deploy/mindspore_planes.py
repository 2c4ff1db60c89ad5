"""The operators on planes ``[n, c, h, w]``: convolutions, pooling, enlargement, margins."""

from __future__ import annotations

import numpy as np
from mindspore import ops

from ssim_ae.deploy.mindspore_ops import Array, Step

DENSE = 1024  # pixels: up to so many, a blur along an axis is a matrix product


def _conv(step: Step) -> str:
    weight = step.constants[1]
    top, left, bottom, right = pads = _pads(step)
    if weight is None:
        raise step.unsupported("computes its weights")
    if weight.size == max(weight.shape[2:]) > 1 and _steps(step) == {1} and not any(pads):
        axis = 2 + int(np.argmax(weight.shape[2:]))
        if step.sizes()[axis - 2] <= DENSE:
            blur = _windows(weight.reshape(-1), step.sizes()[axis - 2])
            return _biased(step, _along(step, step.x[0], axis, blur))
    primitive = ops.Conv2D(
        out_channel=weight.shape[0],
        kernel_size=weight.shape[2:],
        pad_mode="pad",
        pad=(top, bottom, left, right),
        stride=tuple(step.attributes.get("strides", (1, 1))),
        dilation=tuple(step.attributes.get("dilations", (1, 1))),
        group=step.attributes.get("group", 1),
    )
    return _biased(step, step.call(primitive, step.x[1]))


def _conv_transpose(step: Step) -> str:
    weight, (h, w) = step.constants[1], step.sizes()
    top, left, bottom, right = _pads(step)
    attributes = step.attributes
    plain = not any(attributes.get("output_padding", ())) and attributes.get("group", 1) == 1
    if weight is None or not plain or set(attributes.get("dilations", (1,))) != {1}:
        raise step.unsupported("is grouped, dilated, or padded behind")
    down, across = attributes.get("strides", (1, 1))
    primitive = ops.Conv2DTranspose(
        out_channel=weight.shape[0],  # of the convolution that this transposes
        kernel_size=weight.shape[2:],
        pad_mode="pad",
        pad=(top, bottom, left, right),
        stride=(down, across),
    )
    height = (h - 1) * down - top - bottom + weight.shape[2]
    width = (w - 1) * across - left - right + weight.shape[3]
    size = f"(ops.shape({step.x[0]})[0], {weight.shape[1]}, {height}, {width})"
    return _biased(step, step.call(primitive, step.x[1], size))


def _steps(step: Step) -> set[int]:
    """Strides and dilations, as far as they are given."""
    return {1, *step.attributes.get("strides", ()), *step.attributes.get("dilations", ())}


def _along(step: Step, text: str, axis: int, matrix: Array) -> str:
    """A linear map of every row or column: ``matrix``, float32 ``[after, before]``."""
    if axis == 2:
        return f"ops.matmul({step.held.hold(matrix)}, {text})"
    return f"ops.matmul({text}, {step.held.hold(matrix.T)})"


def _windows(taps: Array, length: int) -> Array:
    """The matrix that correlates ``length`` values with k taps, ``[length - k + 1, length]``."""
    rows = length - len(taps) + 1
    matrix = np.zeros((rows, length), np.float32)
    for i, tap in enumerate(taps):
        matrix[np.arange(rows), np.arange(rows) + i] = tap
    return matrix


def _biased(step: Step, text: str) -> str:
    if len(step.x) < 3 or not step.x[2]:
        return text
    return f"{step.held.hold(ops.BiasAdd())}({text}, {step.x[2]})"


def _leaky_relu(step: Step) -> str:
    alpha = float(step.attributes.get("alpha", 0.01))
    if not 0 < alpha < 1:
        raise step.unsupported(f"has the slope {alpha}")
    return f"ops.maximum({step.x[0]}, {step.x[0]} * {alpha!r})"


def _average_pool(step: Step) -> str:
    """Without padding by the primitive; with padding, which it counts, axis by axis as matrices."""
    kernel, strides = step.attributes["kernel_shape"], step.attributes.get("strides", (1, 1))
    top, left, bottom, right = _pads(step)
    if step.attributes.get("ceil_mode", 0) or set(step.attributes.get("dilations", (1,))) != {1}:
        raise step.unsupported("rounds its size up or is dilated")
    if not any((top, left, bottom, right)):
        return step.call(ops.AvgPool(tuple(kernel), tuple(strides), "valid"))
    text, counted = step.x[0], bool(step.attributes.get("count_include_pad", 0))
    for axis, before, after in ((0, top, bottom), (1, left, right)):
        k, length = kernel[axis], step.sizes()[axis]
        if k > 1 or strides[axis] > 1 or before or after:
            sums = _windows(np.ones(k), before + length + after)[:: strides[axis]]
            sums = sums[:, before : before + length]
            means = sums / (k if counted else sums.sum(1, keepdims=True))
            text = _along(step, text, axis + 2, means.astype(np.float32))
    return text


def _pads(step: Step) -> tuple[int, int, int, int]:
    """Top, left, bottom, right."""
    if step.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise step.unsupported("chooses its padding itself")
    top, left, bottom, right = step.attributes.get("pads", (0, 0, 0, 0))
    return top, left, bottom, right


def _pad(step: Step) -> str:
    """The nearest value beyond the border."""
    pads = step.numbers(1)
    if pads is None or step.attributes.get("mode") != b"edge" or len(step.x) > 3:
        raise step.unsupported("continues the picture by something else than its border")
    text = step.x[0]
    half = len(pads) // 2
    for axis, (before, after) in enumerate(zip(pads[:half], pads[half:], strict=True)):
        if before or after:
            length = step.shapes[0][axis]
            if length is None:
                raise step.unsupported("adds to the batch")
            index = np.clip(np.arange(-before, length + after), 0, length - 1).astype(np.int32)
            text = f"ops.gather({text}, {step.held.hold(index)}, {axis})"
    return text


def _resize(step: Step) -> str:
    """Whole multiples of height and width: nearest, or bilinear between pixel centres."""
    h, w = step.sizes()
    scales = step.constants[2] if len(step.x) > 2 else None
    if scales is None or list(scales[:2]) != [1, 1] or any(s != int(s) or s < 1 for s in scales):
        raise step.unsupported("enlarges by no whole numbers")
    size = (h * int(scales[2]), w * int(scales[3]))
    kind = step.attributes.get("mode", b"nearest")
    where = step.attributes.get("coordinate_transformation_mode", b"half_pixel")
    if kind == b"nearest" and where == b"asymmetric":  # gathers: MindSpore's own is slow
        text = step.x[0]
        for axis, length in ((2, h), (3, w)):
            index = np.repeat(np.arange(length, dtype=np.int32), int(scales[axis]))
            text = f"ops.gather({text}, {step.held.hold(index)}, {axis})"
        return text
    if kind == b"linear" and where == b"half_pixel" and not step.attributes.get("antialias", 0):
        bilinear = ops.ResizeBilinearV2(align_corners=False, half_pixel_centers=True)
        return step.call(bilinear, size)
    raise step.unsupported(f"is {kind.decode()} with {where.decode()} coordinates")


PLANE_OPERATORS = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "LeakyRelu": _leaky_relu,
    "AveragePool": _average_pool,
    "Pad": _pad,
    "Resize": _resize,
}
