"""The model zoo's names for the weights of the reference autoencoder, and back.

The zoo's network is two sequences, ``encoded`` and ``decoded``, of the same layers in the same
places as ours; shapes are the same too, transposed convolutions included ([in, out, k, k]). Their
default "same" padding halves what a 4x4 stride-2 kernel has too much: one pixel, as ours. Its
training saves the weights without a prefix (NetWithLoss has auto_prefix=False), then the moments
of the optimizer (adam_m..., adam_v...) and single numbers. Sources: MindSpore models,
official/cv/ssim-ae/src/network.py and research/cv/SSIM-AE/src/network.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssim_ae.errors import InputError
from ssim_ae.model.network import Autoencoder

ZOO = {"encoder.": "encoded.", "decoder.": "decoded."}
FIRST, LATENT = "encoded.0.weight", "decoded.0.weight"
ONLY_256 = "encoded.18.weight"  # with 128 pixel tiles the encoder ends at place 16
_ANOTHER = "use a checkpoint of the model zoo's ssim-ae"


def zoo_weights(network: Autoencoder) -> dict[str, NDArray[np.float32]]:
    """The network's weights (float32, copies) under the zoo's names and in its order."""
    return {
        _zoo_name(name): weight.detach().cpu().float().contiguous().numpy().copy()
        for name, weight in network.state_dict().items()
    }


def load_zoo_weights(network: Autoencoder, tensors: Mapping[str, NDArray[Any]]) -> list[str]:
    """Load weights by the zoo's names; returns the names that are no weights of this network.

    Floating-point weights of any precision. On an error the network stays as it was.

    Raises:
        InputError: a layer is missing, of another shape, or holds other than finite numbers. The
            caller puts the file's name before the message.
    """
    own = {_zoo_name(name): (name, weight) for name, weight in network.state_dict().items()}
    expected = {name: tuple(weight.shape) for name, (_, weight) in own.items()}
    problem = _difference(expected, tensors)
    if problem:
        settings = settings_of(tensors)
        asked = ", ".join(f"{key}: {value}" for key, value in _written(settings).items())
        raise InputError(f"{problem}: set {asked}, which its shapes speak for")
    weights = {name: _weight(zoo, tensors[zoo]) for zoo, (name, _) in own.items()}
    network.load_state_dict(weights)
    return [name for name in tensors if name not in own]


def settings_of(tensors: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """The arguments of ``Autoencoder`` that a checkpoint's shapes speak for.

    Returns:
        tile (128 or 256), channels (1 is ``color: grey``, 3 ``color: rgb``), latent and
        first_layer_channels. Every other layer's shape has been checked against them.

    Raises:
        InputError: not the zoo's network.
    """
    for name in (FIRST, LATENT):
        if name not in tensors or tensors[name].ndim != 4:
            raise InputError(f"no layer {name} with four axes: {_ANOTHER}")
    width, channels = tensors[FIRST].shape[:2]
    settings = {
        "tile": 256 if ONLY_256 in tensors else 128,
        "channels": channels,
        "latent": tensors[LATENT].shape[0],
        "first_layer_channels": width,
    }
    if channels not in (1, 3):
        raise InputError(f"{FIRST} takes {channels} colour channels, not 1 or 3: {_ANOTHER}")
    with torch.device("meta"):  # shapes without memory
        state = Autoencoder(**settings).state_dict()
    expected = {_zoo_name(name): tuple(weight.shape) for name, weight in state.items()}
    problem = _difference(expected, tensors)
    if problem:
        raise InputError(f"{problem}: {_ANOTHER}")
    return settings


def _difference(
    expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, NDArray[Any]]
) -> str:
    """The first layer that is missing or of another shape; empty when all are as expected."""
    for name, shape in expected.items():
        if name not in tensors:
            return f"layer {name} {list(shape)} is missing"
        if tensors[name].shape != shape:
            return f"layer {name} is {list(tensors[name].shape)} instead of {list(shape)}"
    return ""


def _written(settings: Mapping[str, int]) -> dict[str, int | str]:
    """As they stand in a settings file."""
    return {
        "tile": settings["tile"],
        "color": "grey" if settings["channels"] == 1 else "rgb",
        "latent": settings["latent"],
        "first_layer_channels": settings["first_layer_channels"],
    }


def _weight(name: str, array: NDArray[Any]) -> Tensor:
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"layer {name} holds {array.dtype} instead of float32: {_ANOTHER}")
    with np.errstate(over="ignore"):  # float64 beyond float32 is found below
        weight = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(weight).all():
        raise InputError(f"layer {name} holds infinite or NaN values: use an earlier checkpoint")
    return torch.from_numpy(weight)


def _zoo_name(name: str) -> str:
    for ours, theirs in ZOO.items():
        name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
    return name
