"""Whether a PNG's header says all that there is to know of a picture before it is decoded."""

from __future__ import annotations

import struct
from pathlib import Path

SIGNATURE = 8  # bytes before the first chunk
CHECKSUM = 4  # bytes after each
SPEAKING = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # may say how the picture is turned


def speaks_after_pixels(file: Path) -> bool:
    """Whether Exif or text follows the pixels, as the PNG specification (11.3) allows.

    Only the chunks' heads are read.
    """
    pixels = False
    with file.open("rb") as stream:
        stream.seek(SIGNATURE)
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if pixels and kind in SPEAKING:
                return True
            pixels |= kind == b"IDAT"
            stream.seek(length + CHECKSUM, 1)
    return False
