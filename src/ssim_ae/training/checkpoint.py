"""Resumable training state: safetensors with JSON in the header, replaced atomically.

One file holds both, so a crash never leaves weights of one step beside numbers of another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ssim_ae.errors import InputError
from ssim_ae.files import write_atomically
from ssim_ae.model.weights import plain, read_tensors

STATE = "checkpoints/state.safetensors"


def save_state(
    network: nn.Module, optimizer: torch.optim.Optimizer, numbers: dict[str, Any], file: Path
) -> None:
    """Weights, optimizer moments and JSON numbers of one training step."""
    tensors = {f"network.{k}": v for k, v in plain(network.state_dict()).items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{index}.{key}"] = value.detach().cpu().contiguous()
    write_atomically(file, save(tensors, metadata={"numbers": json.dumps(numbers)}))


def load_state(network: nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> dict[str, Any]:
    """Restore what ``save_state`` wrote; returns the numbers.

    Raises:
        InputError: missing, truncated or of another network.
    """
    tensors, metadata = read_tensors(file)
    weights = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            moments.setdefault(int(index), {})[name] = value
    try:
        numbers = _numbers(metadata)
        network.load_state_dict(weights)
    except (KeyError, ValueError, RuntimeError):
        raise InputError(
            f"{file}: is no training state of this network: start again with --overwrite"
        ) from None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for position, state in moments.items():  # the fused kernel walks moments and weights alike
        like = parameters[position]
        for name, value in state.items():
            if value.shape == like.shape:
                state[name] = torch.empty_like(like).copy_(value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return numbers


def read_numbers(file: Path) -> dict[str, Any]:
    """The JSON numbers of a state.

    Raises:
        InputError: missing, truncated or no state.
    """
    _, metadata = read_tensors(file)
    try:
        return _numbers(metadata)
    except (KeyError, ValueError):
        raise InputError(f"{file}: is no training state: start again with --overwrite") from None


def _numbers(metadata: dict[str, str]) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads(metadata["numbers"])
    return numbers
