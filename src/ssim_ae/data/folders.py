"""What lies directly in a folder: pictures, and folders; what is hidden is not there."""

from __future__ import annotations

from pathlib import Path

from ssim_ae.data.images import SUFFIXES
from ssim_ae.errors import InputError


def pictures_in(folder: Path) -> list[Path]:
    """Picture files directly in a folder, sorted by name."""
    try:
        # a link to nothing stays in: decoding it tells that its picture is gone
        found = [
            f
            for f in folder.iterdir()
            if f.suffix.lower() in SUFFIXES and (f.is_file() or (f.is_symlink() and not f.exists()))
        ]
    except PermissionError:
        raise InputError(f"{folder}: may not be read: change its permissions") from None
    return sorted(f for f in found if not f.name.startswith("."))


def folders_in(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted, but hidden ones."""
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
