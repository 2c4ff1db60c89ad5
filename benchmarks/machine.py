"""What a benchmark ran on, and how fast that machine multiplies matrices at this moment."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ALIKE = 1.6  # times as fast: a shared machine changes its speed by less
PACKAGES = ("ssim-ae", "torch", "numpy", "onnxruntime", "openvino", "accelerate", "mindspore")


def sgemm_gflops(size: int = 2048, repeats: int = 7) -> float:
    """Rate of a float32 matrix product on all threads of torch, GFLOP/s, median."""
    import torch

    a, b = torch.rand(size, size), torch.rand(size, size)
    a @ b
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds) / 1e9


def load_result(file: Path) -> dict[str, Any]:
    """What a benchmark has measured so far, with the machine it did so on.

    Parts measured on another processor, or on one of the same name and another speed, do not mix:
    that ends with one line.
    """
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    here = describe_machine()
    there = result.setdefault("machine", here)
    speeds = sorted((there["sgemm_gflops"], here["sgemm_gflops"]))
    if any(there[k] != here[k] for k in ("processor", "cores")) or speeds[1] > ALIKE * speeds[0]:
        raise SystemExit(f"error: {file}: was measured on another machine: name another --result")
    return result


def save_result(result: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, versions, sgemm rate; no host name, no paths."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
        "sgemm_gflops": round(sgemm_gflops(), 1),
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
