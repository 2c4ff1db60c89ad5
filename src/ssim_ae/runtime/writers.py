"""Results of inspections on disk: a table that grows line by line, and pictures beside it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from io import BytesIO, RawIOBase, StringIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from ssim_ae.data.images import Map, strips
from ssim_ae.errors import InputError, PictureError, SsimAeError
from ssim_ae.files import cannot_write, write_stream_atomically, writing
from ssim_ae.runtime.detector import Inspection
from ssim_ae.runtime.overlay import DRAWN, overlay_bands
from ssim_ae.runtime.png import write_png

PICTURES = ("overlays", "masks", "maps")  # folders beside the table
FORMATS = ("jsonl", "csv", "parquet")
COLUMNS = ("source", "verdict", "score", "threshold", "regions", "name", "error")
ROWS_AT_ONCE = 1000  # a Parquet row group
Write = Callable[[dict[str, Any]], None]


def row(inspection: Inspection, name: str) -> dict[str, Any]:
    """One inspection as plain values; regions in pixels of the original picture.

    ``name``: of its overlay and mask, without folder and suffix. Bytes of a file's name that are no
    text, as another system's umlauts, are written as ``\\xe4``.
    """
    return {
        "source": _printable(inspection.source),
        "verdict": "defective" if inspection.is_defective else "good",
        "score": inspection.score,
        "threshold": inspection.thresholds.score,
        "regions": [asdict(region) for region in inspection.regions],
        "name": _printable(name),
        "error": None,
    }


def unreadable(file: Path, error: PictureError) -> dict[str, Any]:
    """The row of a picture that was not inspected: a table without it would pass for complete."""
    return {
        "source": _printable(str(file)),
        "verdict": "unreadable",
        **dict.fromkeys(("score", "threshold", "name")),
        "regions": [],
        "error": _printable(str(error)),
    }


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


@contextmanager
def table(folder: Path, kind: str) -> Iterator[Write]:
    """A function that appends one row to ``folder/results.<kind>``; whole rows only.

    Raises:
        InputError: unknown kind, or Parquet without pyarrow.
        SsimAeError: the disk is full.
    """
    file = folder / f"results.{kind}"
    if kind == "parquet":
        with _parquet(file) as write:
            yield write
        return
    if kind not in FORMATS:
        raise InputError(f"format {kind!r} is unknown: known are {', '.join(FORMATS)}")
    with writing(file):
        stream = file.open("wb", buffering=0)  # nothing is left to write when it is closed
    with stream:
        if kind == "csv":
            _append(stream, file, _csv_line(COLUMNS))
            yield lambda r: _append(stream, file, _csv_line(_flat(r)))
        else:
            yield lambda r: _append(stream, file, json.dumps(r) + "\n")


def write_pictures(inspection: Inspection, folder: Path, name: str, maps: bool) -> None:
    """``overlays/<name>.png``, ``masks/<name>.png`` and, if asked, ``maps/<name>.tiff``."""
    mask = inspection.mask
    height, width = mask.shape
    white = (mask[top:bottom] * np.uint8(255) for top, bottom in strips(height, width, DRAWN))
    for kind, bands in (("overlays", overlay_bands(inspection)), ("masks", white)):
        write = partial(write_png, height=height, width=width, strips=bands)
        write_stream_atomically(folder / kind / f"{name}.png", write)
    if maps:
        write = partial(_write_tiff, inspection.anomaly_map)
        write_stream_atomically(folder / "maps" / f"{name}.tiff", write)


def tiff_bytes(anomaly_map: Map) -> bytes:
    """A float32 TIFF."""
    stream = BytesIO()
    _write_tiff(anomaly_map, stream)
    return stream.getvalue()


def _write_tiff(anomaly_map: Map, stream: IO[bytes]) -> None:
    Image.fromarray(np.ascontiguousarray(anomaly_map)).save(stream, format="TIFF")


def _append(stream: RawIOBase, file: Path, line: str) -> None:
    """Add one whole row, or none."""
    before = stream.tell()
    left = line.encode()
    try:
        while left:
            left = left[stream.write(left) or 0 :]
    except OSError as error:
        with contextlib.suppress(OSError):
            stream.truncate(before)
            stream.seek(before)
        raise SsimAeError(cannot_write(file, error)) from None


def _flat(r: dict[str, Any]) -> list[Any]:
    return [json.dumps(r[c]) if c == "regions" else r[c] for c in COLUMNS]


def _csv_line(values: Iterable[Any]) -> str:
    text = StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()


@contextmanager
def _parquet(file: Path) -> Iterator[Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError("Parquet needs pyarrow: pip install 'ssim-ae[parquet]'") from None
    region = pa.struct(
        [(n, pa.int64()) for n in ("left", "top", "right", "bottom", "area")]
        + [("peak", pa.float64())]
    )
    schema = pa.schema(
        [
            ("source", pa.string()),
            ("verdict", pa.string()),
            ("score", pa.float64()),
            ("threshold", pa.float64()),
            ("regions", pa.list_(region)),
            ("name", pa.string()),
            ("error", pa.string()),
        ]
    )
    temporary = file.with_name(f".{file.name}.part")
    waiting: list[dict[str, Any]] = []
    with writing(file):
        writer = pq.ParquetWriter(temporary, schema)

    def flush() -> None:
        table = pa.Table.from_pylist(waiting, schema)
        waiting.clear()  # what cannot be written is not tried again
        with writing(file):
            writer.write_table(table)

    def write(r: dict[str, Any]) -> None:
        waiting.append(r)
        if len(waiting) == ROWS_AT_ONCE:
            flush()

    try:
        yield write
    finally:  # after an error too: what was inspected by then is worth keeping
        try:
            if waiting:
                flush()
            with writing(file):
                writer.close()
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
