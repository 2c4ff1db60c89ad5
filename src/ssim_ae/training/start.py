"""Weights to start from: another run's, a zoo checkpoint's, or those in the package.

Those in the package are the joint network's (RGB, latent 64, first layer 16 wide, float16), trained
on procedural pictures by benchmarks/pretraining. A grey network is derived from them.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ssim_ae.config import Settings
from ssim_ae.deploy.mindspore_checkpoint import read_checkpoint
from ssim_ae.deploy.zoo_weights import load_zoo_weights
from ssim_ae.errors import InputError
from ssim_ae.model.build import network_of
from ssim_ae.model.joint import JointNetwork
from ssim_ae.model.network import Autoencoder
from ssim_ae.model.weights import WEIGHTS, load_weights
from ssim_ae.runtime.detector import Detector
from ssim_ae.training.run_folder import BEFORE, SPLIT, read_split

START = Path(__file__).with_name("start.safetensors")
COUNTED = "colors."  # every training counts its own pictures' colours
INPUT = "encode1.0.weight"  # [out, 3, 5, 5]
OUTPUT = ("decode.7.weight", "decode.7.bias")  # [in, 3, 4, 4] and [3]
COMPARED = "compare1.0.weight"  # [out, 3 + 3 + 3 + 1, 3, 3], see model.joint.compared


def new_network(settings: Settings, on_note: Callable[[str], None] = lambda _: None) -> nn.Module:
    """The network of the settings, from the package's weights where they ask for them and fit."""
    network = network_of(settings)
    if isinstance(network, JointNetwork):
        network.memory = network.features = None  # learned last, see training.assemble
    if settings.pretrained and not (isinstance(network, JointNetwork) and load_start(network)):
        on_note(
            "pretrained: the package's weights are of network=joint, latent=64 and "
            "first_layer_channels=16; this network starts from random ones"
        )
    return network


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


def take_over(network: nn.Module, source: Path) -> list[str]:
    """Load the weights of a run, of a .safetensors file or of the zoo's .ckpt; lines worth showing.

    Raises:
        InputError: unreadable, or nothing fits.
    """
    if source.suffix != ".ckpt":
        missing = load_weights(network, source / WEIGHTS if source.is_dir() else source)
        return [f"layer starts anew, it does not fit: {layer}" for layer in missing]
    if not isinstance(network, Autoencoder):
        raise InputError(
            f"{source}: holds the reference network: choose --preset reference-texture, "
            "reference-object or autoencoder"
        )
    tensors = read_checkpoint(source)
    try:
        ignored = load_zoo_weights(network, tensors)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return [f"{source}: {len(ignored)} entries that are no weights left out"] if ignored else []


def pictures_behind(init_from: str | PathLike[str] | None) -> set[str]:
    """Fingerprints of the pictures that these weights were trained on, as far as they are known.

    A run's own list and its detector's may be of different trainings, where one was killed: the
    weights are of either.
    """
    if init_from is None or Path(init_from).suffix == ".ckpt":
        return set()
    folder = Path(init_from) if Path(init_from).is_dir() else Path(init_from).parent
    seen: set[str] = set()
    if (folder / SPLIT).is_file():
        split = read_split(folder)
        seen.update(split["train"].values(), split.get(BEFORE, ()))
    if (folder / "detector.onnx").is_file():
        seen.update(Detector.load(folder).record.trained_on)
    return seen


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
