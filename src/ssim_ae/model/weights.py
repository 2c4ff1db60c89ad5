"""The network's weights as a safetensors file, and which of them fit another network."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ssim_ae.errors import InputError
from ssim_ae.files import write_atomically

WEIGHTS = "model.safetensors"


def save_weights(network: nn.Module, file: Path) -> None:
    """The network's weights, contiguous, under their state-dict names."""
    write_atomically(file, save(plain(network.state_dict())))


def load_weights(network: nn.Module, file: Path) -> list[str]:
    """Load the layers that fit; returns the names of those that do not.

    Raises:
        InputError: unreadable file, or no layer fits.
    """
    found, _ = read_tensors(file)
    own = network.state_dict()
    fitting = {k: v for k, v in found.items() if k in own and v.shape == own[k].shape}
    if not fitting:
        raise InputError(f"{file}: no layer fits this network: train with the same settings")
    network.load_state_dict(fitting, strict=False)
    return sorted(
        f"{k} {list(found[k].shape) if k in found else 'missing'} for {list(own[k].shape)}"
        for k in own
        if k not in fitting
    )


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header entries.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with safe_open(file, "pt") as content:
            tensors = {k: content.get_tensor(k) for k in content.keys()}  # noqa: SIM118
            return tensors, content.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{file}: does not exist: name a run that has trained") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: is damaged ({error}): use another run") from None


def plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, as safetensors wants them."""
    return {k: v.detach().cpu().contiguous() for k, v in state.items()}
