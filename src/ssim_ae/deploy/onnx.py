"""The inspection graph as an ONNX file, batch, height and width symbolic."""

from __future__ import annotations

import copy
import gc
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ssim_ae.deploy.sizes import strides_of_the_example
from ssim_ae.deploy.translate import as_traced, simplify, translations
from ssim_ae.model.inspector import Inspected, Inspector
from ssim_ae.runtime.constants import NAMES

WORDS: dict[str, Any] = {
    "dynamo": True,
    "opset_version": 18,
    "input_names": ["image"],
    "output_names": list(Inspected._fields),
}


def prepared(inspector: Inspector) -> Inspector:
    """A float32 copy on the CPU with the same outputs, in a form that is exported quickly.

    The exporter runs the graph several times over with symbolic sizes, where each operation takes
    milliseconds and one in place ten times as many.
    """
    inspector = copy.deepcopy(inspector).cpu().float().eval()
    for module in list(inspector.modules()):
        if isinstance(module, nn.LeakyReLU):
            module.inplace = False
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                layer, norm = module[i], module[i + 1]
                if isinstance(norm, nn.BatchNorm2d):
                    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
                    transposed = isinstance(layer, nn.ConvTranspose2d)
                    module[i] = fuse_conv_bn_eval(layer, norm, transpose=transposed)
                    module[i + 1] = nn.Identity()
    # channels-last weights, as training leaves them, make the exporter split off one-tile pictures
    convert_conv2d_weight_memory_format(inspector, torch.contiguous_format)
    return inspector


def shortly(inspector: Inspector, example: Tensor, dims: dict[int, Any]) -> torch.onnx.ONNXProgram:
    """By torch's dynamo exporter as far as it is needed, see ``deploy.translate`` and ``sizes``.

    Raises:
        OnnxExporterError, AttributeError, ImportError: another version of it, with other parts or
            an operation that it knows only decomposed.
    """
    with as_traced(), strides_of_the_example():
        program = torch.onnx.export(
            inspector,
            (example,),
            custom_translation_table=translations(),
            optimize=False,
            dynamic_shapes={"image": dims},
            **WORDS,
        )
    assert program is not None
    simplify(program.model)
    return program


def at_length(
    inspector: Inspector, example: Tensor, dims: dict[int, Any]
) -> torch.onnx.ONNXProgram:
    """By all of torch's dynamo exporter."""
    program = torch.onnx.export(
        inspector, (example,), optimize=True, dynamic_shapes={"image": dims}, **WORDS
    )
    assert program is not None
    return program


def graph_bytes(inspector: Inspector, channels: int, tile: int) -> bytes:
    """Export through torch's dynamo exporter; weights inside, no external data.

    Input ``image`` uint8 ``[batch, height, width]`` (grey) or ``[..., 3]``; outputs as
    ``Inspected``, in its order.
    """
    import onnx

    shape = (2, tile + 72, tile + 40) if channels == 1 else (2, tile + 72, tile + 40, 3)
    example = torch.randint(0, 256, shape, dtype=torch.uint8)
    dims = {
        0: torch.export.Dim.DYNAMIC,
        1: torch.export.Dim("height", min=tile, max=1 << 20),
        2: torch.export.Dim("width", min=tile, max=1 << 20),
    }
    inspector = prepared(inspector)
    loggers = [logging.getLogger(n) for n in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels, quiet = [x.level for x in loggers], StringIO()
    for logger in loggers:  # both packages report their inner workings as warnings
        logger.setLevel(logging.ERROR)
    collecting = gc.isenabled()
    gc.disable()  # the exporter makes many objects and few rings: looking for those takes seconds
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(quiet),
            redirect_stderr(quiet),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            try:
                program = shortly(inspector, example, dims)
            except (torch.onnx.errors.OnnxExporterError, AttributeError, ImportError):
                program = at_length(inspector, example, dims)
    finally:
        if collecting:
            gc.enable()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    model = program.model_proto
    for value in (model.graph.input[0], *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise RuntimeError(f"the exported graph fixed the batch of {value.name}")
    constants = {tensor.name for tensor in model.graph.initializer}
    if not constants.issuperset(NAMES):
        raise RuntimeError("the exporter folded or renamed the thresholds")
    for element in (model.graph, *model.graph.node, *model.graph.value_info):
        del element.metadata_props[:]  # stack traces, with the paths of whoever trained
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
