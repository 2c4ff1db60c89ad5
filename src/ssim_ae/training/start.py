"""Weights to start from: the joint network pretrained on procedural pictures.

The file in the package holds the RGB network of the presets (latent 64, first layer 16 wide) in
float16; benchmarks/pretraining made it. A grey network is derived from it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssim_ae.errors import InputError
from ssim_ae.model.joint import JointNetwork

START = Path(__file__).with_name("start.safetensors")
COUNTED = "colors."  # every training counts its own pictures' colours
INPUT = "encode1.0.weight"  # [out, 3, 5, 5]
OUTPUT = ("decode.7.weight", "decode.7.bias")  # [in, 3, 4, 4] and [3]
COMPARED = "compare1.0.weight"  # [out, 3 + 3 + 3 + 1, 3, 3], see model.joint.compared


def load_start(network: JointNetwork, file: Path = START) -> bool:
    """Load the pretrained weights and BatchNorm statistics, widened to the network's own dtype.

    Returns whether they fit; a network of another latent or width stays as it was. Its colour
    counts stay too.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file}: weights to start from cannot be read ({error}): install ssim-ae again"
        ) from None
    if network.channels == 1:
        weights = grey_start(weights)
    own = {k: v for k, v in network.state_dict().items() if not k.startswith(COUNTED)}
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
        return False
    network.load_state_dict(weights, strict=False)
    return True


def grey_start(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the grey network that does to a grey picture what the RGB network does to it.

    Exact where the RGB network gives a grey picture back in grey; else its channels are averaged,
    before the sigmoid. Tensors may be of any float dtype; what is derived is float32. Weights that
    are no RGB network's come back as they are.
    """
    first, compared = weights.get(INPUT), weights.get(COMPARED)
    if first is None or compared is None or not all(name in weights for name in OUTPUT):
        return weights
    if (first.shape[1], compared.shape[1]) != (3, 10):
        return weights
    grey = dict(weights)
    grey[INPUT] = first.float().sum(1, keepdim=True)
    for name, axis in zip(OUTPUT, (1, 0), strict=True):
        grey[name] = weights[name].float().mean(axis, keepdim=True)
    groups = (compared[:, i : i + 3].float().sum(1, keepdim=True) for i in range(0, 10, 3))
    grey[COMPARED] = torch.cat(list(groups), 1)
    return grey
