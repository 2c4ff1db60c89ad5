"""PNG files written row by row: a picture of any height in the memory of a strip.

Pillow wants the whole picture, which for colours it holds four bytes a pixel, and the whole file.
Format: PNG specification (W3C, third edition), 8 bits a channel, no interlace.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import IO

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types
PLAIN, LEFT, ABOVE = 0, 1, 2  # filters: what is taken off a byte before it is compressed


def write_png(
    stream: IO[bytes], height: int, width: int, strips: Iterable[NDArray[np.uint8]]
) -> None:
    """Write uint8 strips ``[rows, width]`` (grey) or ``[rows, width, 3]`` (RGB), top to bottom.

    Raises:
        ValueError: the strips are not what they should be.
    """
    squeeze = zlib.compressobj()
    above: NDArray[np.uint8] | None = None
    shape: tuple[int, ...] = ()
    done = 0
    for strip in strips:
        if above is None:
            shape = strip.shape[1:]
            colour = GREY if shape == (width,) else RGB
            stream.write(SIGNATURE)
            _chunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
            above = np.zeros((1, *shape), np.uint8)
        if strip.shape[1:] != shape or shape not in ((width,), (width, 3)):
            raise ValueError(f"a strip of {strip.shape} in a picture {width} wide")
        _chunk(stream, b"IDAT", squeeze.compress(_filtered(strip, above)))
        above = strip[-1:].copy()
        done += len(strip)
    if done != height:
        raise ValueError(f"{done} rows for a picture of {height}")
    _chunk(stream, b"IDAT", squeeze.flush())
    _chunk(stream, b"IEND", b"")


def _filtered(strip: NDArray[np.uint8], above: NDArray[np.uint8]) -> bytes:
    """Each row behind the number of its filter: the one that leaves the smallest bytes."""
    rows = len(strip)
    left, up = strip.copy(), strip.copy()
    left[:, 1:] -= strip[:, :-1]
    up[1:] -= strip[:-1]
    up[:1] -= above
    ways = np.stack([strip, left, up]).reshape(3, rows, -1)
    # bytes are differences modulo 256: 255 is as small as 1
    size = np.minimum(ways, -ways).sum(2, dtype=np.int64)
    best = size.argmin(0)
    out = np.empty((rows, 1 + ways.shape[2]), np.uint8)
    out[:, 0] = np.array([PLAIN, LEFT, ABOVE])[best]
    out[:, 1:] = ways[best, np.arange(rows)]
    return out.tobytes()


def _chunk(stream: IO[bytes], kind: bytes, data: bytes) -> None:
    if kind == b"IDAT" and not data:
        return
    stream.write(struct.pack(">I", len(data)))
    stream.write(kind + data)
    stream.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
