"""Where the real pictures lie, which are not shipped."""

from __future__ import annotations

import os
from pathlib import Path


def folder_of_sets() -> Path:
    """The folder that SSIM_AE_DATA names; without one, one line and the end."""
    if "SSIM_AE_DATA" not in os.environ:
        raise SystemExit("error: set SSIM_AE_DATA to the folder that holds the data sets")
    return Path(os.environ["SSIM_AE_DATA"])
