"""What lies directly in a folder: pictures, and folders; what is hidden is not there."""

from __future__ import annotations

from pathlib import Path

from ssim_ae.data.images import SUFFIXES
from ssim_ae.errors import InputError


def pictures_in(folder: Path) -> list[Path]:
    """Picture files directly in a folder, sorted by name."""
    # a link to nothing stays in: decoding it tells that its picture is gone
    return [
        f
        for f in _inside(folder)
        if f.suffix.lower() in SUFFIXES and (f.is_file() or (f.is_symlink() and not f.exists()))
    ]


def folders_in(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted."""
    return [f for f in _inside(folder) if f.is_dir()]


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(f for f in folder.iterdir() if not f.name.startswith("."))
    except PermissionError:
        raise InputError(f"{folder}: may not be read: change its permissions") from None
