"""Devices, precision and processes, by accelerate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from ssim_ae.config import Settings
from ssim_ae.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_accelerator(settings: Settings) -> Accelerator:
    """Device, precision and processes.

    Raises:
        InputError: the precision is not to be had on this device.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # a second training in one process may differ in precision and device; of several processes the
    # connections must stay
    AcceleratorState._reset_state(reset_partial_state="RANK" not in os.environ)
    precision = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}[settings.precision]
    try:
        accelerator = Accelerator(cpu=on_cpu(settings.device), mixed_precision=precision)
        if precision == "fp16" and accelerator.device.type == "cpu":  # some versions let it pass
            raise ValueError("fp16 needs a GPU or NPU")
    except ValueError as error:
        raise InputError(
            f"precision {settings.precision} is not to be had on this device ({error}): "
            "set precision=float32 or bf16"
        ) from None
    if settings.batch_size % accelerator.num_processes:
        raise InputError(
            f"batch_size {settings.batch_size} is no multiple of "
            f"{accelerator.num_processes} processes: change one of them"
        )
    return accelerator


def on_cpu(device: str) -> bool:
    """Whether to compute on the CPU; several processes find each other there only if it is said."""
    from accelerate.utils import is_npu_available

    return device == "cpu" or not (torch.accelerator.is_available() or is_npu_available())


def has_fast_bf16(device: str) -> bool:
    """Whether matrices of bf16 are multiplied in hardware: CUDA since Ampere, CPUs with AMX or
    AVX-512 BF16."""
    if device == "auto" and torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    ask = getattr(torch.cpu, "get_capabilities", None)  # older versions of torch cannot say
    able = {} if ask is None else ask()
    return bool(able.get("amx_bf16", False) or able.get("avx512_bf16", False))


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set in any of the processes; the same answer in all."""
    total = accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum")
    return bool(total > 0)
