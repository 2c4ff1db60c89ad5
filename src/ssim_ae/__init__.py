"""Find and outline defects in pictures after training on good pictures only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Detector", "Inspection", "__version__", "evaluate", "train"]

if TYPE_CHECKING:
    from ssim_ae.evaluation.evaluate import evaluate
    from ssim_ae.runtime.detector import Detector, Inspection
    from ssim_ae.training.train import train

_HOMES = {
    "Detector": "ssim_ae.runtime.detector",
    "Inspection": "ssim_ae.runtime.detector",
    "evaluate": "ssim_ae.evaluation.evaluate",
    "train": "ssim_ae.training.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # on first use: `import ssim_ae` loads neither torch nor an engine
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ssim_ae' has no attribute {name!r}")
