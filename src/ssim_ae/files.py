"""Writing files so that nothing half-written is ever left behind."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ssim_ae.errors import InputError, SsimAeError


def write_atomically(file: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, sync, rename.

    Raises:
        SsimAeError: disk full or no permission; the old file, if any, stays as it was.
    """
    temporary: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(file)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise SsimAeError(cannot_write(file, error)) from None


def cannot_write(file: Path, error: OSError) -> str:
    """The one line about a file that could not be written."""
    reason = error.strerror or type(error).__name__
    return f"{file}: cannot be written ({reason}): free space or choose another folder"


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turn an operating-system error while writing ``file`` into one line."""
    try:
        yield
    except OSError as error:
        raise SsimAeError(cannot_write(file, error)) from None


def require_writable(folder: Path) -> None:
    """Create a folder and try to write in it, before work begins.

    Raises:
        InputError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(cannot_write(folder, error)) from None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
