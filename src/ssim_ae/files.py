"""Writing files so that nothing half-written is ever left behind."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ssim_ae.errors import InputError, SsimAeError


def write_atomically(file: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, sync, rename.

    Raises:
        SsimAeError: disk full or no permission; the old file, if any, stays as it was.
    """
    write_stream_atomically(file, lambda stream: stream.write(data))


def write_stream_atomically(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """The same for what is too large to be held: ``write`` puts it into the open file.

    Raises:
        SsimAeError: as above. What else ``write`` raises leaves nothing behind either.
    """
    temporary: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".ssim-ae-", dir=file.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(file)
    except OSError as error:
        raise SsimAeError(cannot_write(file, error)) from None
    finally:
        if temporary is not None:  # renamed by now, if all went well
            temporary.unlink(missing_ok=True)


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
