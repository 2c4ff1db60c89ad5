"""The detector: a trained, calibrated inspection graph in one file, and what it says of a picture.

Needs no torch: the graph runs on an inference engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssim_ae.data.images import Map, Pixels, is_large, to_pixels
from ssim_ae.data.working_size import Geometry
from ssim_ae.errors import DetectorError, PictureError
from ssim_ae.runtime.blocks import Tiling, run_in_blocks
from ssim_ae.runtime.engines import OF_SUFFIX, Engine, start_engine
from ssim_ae.runtime.exported import read_sidecar
from ssim_ae.runtime.record import Record, Thresholds, read_record, sha256
from ssim_ae.runtime.regions import Region, find_regions

READ_AHEAD = 2  # pictures decoded while the engine works


@dataclass
class Inspection:
    """What the detector says of one picture.

    ``score`` is made of the maximum and the mean of ``working_map`` (float32, at working size; see
    ``picture_score``); ``is_defective`` means score > score threshold. ``anomaly_map``, ``mask``
    and ``regions`` are at the picture's own size; pixels that a centre crop cut off were not
    inspected and stay 0.
    """

    source: str
    score: float
    thresholds: Thresholds
    working_map: Map
    picture: Pixels
    geometry: Geometry

    @property
    def is_defective(self) -> bool:
        return self.score > self.thresholds.score

    @cached_property
    def anomaly_map(self) -> Map:
        return self.geometry.map_to_original(self.working_map)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        mask = np.asarray(self.anomaly_map > self.thresholds.pixel)
        if self.is_defective:  # what decided shows, even if resizing shrank it
            mask[self.geometry.to_original(*self._peak())] = True
        return mask

    def _peak(self) -> tuple[int, int]:
        row, column = np.unravel_index(int(self.working_map.argmax()), self.working_map.shape)
        return int(row), int(column)

    @cached_property
    def regions(self) -> list[Region]:
        return find_regions(self.mask, self.anomaly_map)


class Detector:
    """Loads a run folder or a ``detector.onnx`` and inspects pictures.

    >>> Detector.load("runs/fabric").inspect("picture.png").is_defective
    """

    def __init__(self, record: Record, engine: Engine, sha: str, file: Path) -> None:
        self.record, self.engine, self.sha256, self.file = record, engine, sha, file
        self._tiling = Tiling(record.settings, record.reach)

    @classmethod
    def load(
        cls, run: str | PathLike[str], engine: str | None = None, threads: int | None = None
    ) -> Detector:
        """Load from a run folder, a detector.onnx or an exported .xml or .mindir.

        ``engine``: a name in ``engines.ENGINES``; None takes the one that the file is for.

        Raises:
            DetectorError: missing, damaged, another ONNX file, a newer format.
            InputError: the engine is unknown, not installed, or takes no such file.
        """
        file = detector_file(run)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise DetectorError(f"{file}: cannot be read ({error.strerror})") from None
        exported = OF_SUFFIX.get(file.suffix, "onnxruntime") != "onnxruntime"
        record = read_sidecar(file).record if exported else read_record(data, file)
        try:
            started = start_engine(engine, file, data, record, threads)
            return cls(record, started, sha256(data), file)
        except DetectorError as error:
            raise DetectorError(f"{file}: {error}: copy it again, or train anew") from None

    @property
    def thresholds(self) -> Thresholds:
        """The calibrated thresholds.

        Raises:
            DetectorError: the detector was never calibrated.
        """
        if self.record.thresholds is None:
            raise DetectorError(f"{self.file}: is not calibrated: run `ssim-ae calibrate` first")
        return self.record.thresholds

    def measure(self, pixels: Pixels, name: object = "picture") -> tuple[Map, float]:
        """Anomaly map and score of one uint8 picture already at working size.

        Raises:
            PictureError: smaller than a tile.
        """
        tile = self.record.settings.tile
        if min(pixels.shape[:2]) < tile:
            raise PictureError(
                f"{name}: {pixels.shape[1]}x{pixels.shape[0]} at working size is smaller than "
                f"the detector's {tile}x{tile} tile: use larger pictures"
            )
        return run_in_blocks(self.engine, pixels, self._tiling)

    def inspect(
        self, picture: str | Path | Pixels | NDArray[np.uint16] | Image.Image
    ) -> Inspection:
        """Inspect one picture: a file, a Pillow image, or an array.

        Arrays are uint8 ``[h, w]`` or ``[h, w, 3]``, or uint16 ``[h, w]`` that holds as many bits
        as the settings' ``depth``.

        Raises:
            PictureError: it cannot be decoded, is too small, or holds more than ``depth``.
        """
        preparation = self.record.preparation
        if isinstance(picture, str | Path):
            return self._inspect(str(picture), preparation.decode(Path(picture)))
        if isinstance(picture, np.ndarray):
            kind = picture.dtype.newbyteorder("=")
            shapes = {np.dtype(np.uint8): ((), (3,)), np.dtype(np.uint16): ((),)}.get(kind, ())
            if not (picture.ndim >= 2 and picture.shape[2:] in shapes and picture.size):
                raise PictureError(
                    f"array of {picture.dtype} {picture.shape}: pass uint8 [h, w] or [h, w, 3], or "
                    "uint16 [h, w]"
                )
            picture = Image.fromarray(picture.astype(kind, copy=False))
        pixels = to_pixels(picture, preparation.color, "picture", preparation.depth)
        return self._inspect("array", pixels)

    def inspect_files(self, files: Iterable[Path]) -> Iterator[Inspection | PictureError]:
        """Inspect many files in bounded memory, in order; a bad one yields its error.

        Files are decoded ahead in threads, so that the engine does not wait for the disk: up to
        three are taken before the first result is there. ``inspect`` waits for none.
        """
        for file, decoded in read_ahead(files, self.record.preparation.decode):
            try:
                yield self._inspect(str(file), decoded.result())
            except PictureError as error:
                yield error
            del decoded  # a large picture does not stay beside the next one

    def _inspect(self, name: str, picture: Pixels) -> Inspection:
        try:
            working, geometry = self.record.preparation.apply(picture, name)
            anomaly_map, score = self.measure(working, name)
        except MemoryError:
            raise PictureError(f"{name}: does not fit in memory: cut it into pieces") from None
        return Inspection(name, score, self.thresholds, anomaly_map, picture, geometry)


def read_ahead(
    files: Iterable[Path], decode: Callable[[Path], Pixels]
) -> Iterator[tuple[Path, Future[Pixels]]]:
    """Decode a few files ahead of the one in use, but for large ones."""
    with ThreadPoolExecutor(2, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[Path, Future[Any]]] = deque()
        for file in files:
            ahead = 0 if is_large(file) else READ_AHEAD
            while len(waiting) > ahead:
                yield waiting.popleft()
            waiting.append((file, pool.submit(decode, file)))
            while len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()


def detector_file(run: str | PathLike[str]) -> Path:
    """The detector of a run folder, or the file itself.

    Raises:
        DetectorError: nothing there.
    """
    path = Path(run)
    if path.is_dir():
        file = path / "detector.onnx"
        if not file.is_file():
            unfinished = (path / "checkpoints").is_dir()
            cure = "finish it with `ssim-ae train ... --resume`" if unfinished else "name a run"
            raise DetectorError(f"{path}: holds no detector.onnx: {cure}")
        return file
    if not path.is_file():
        raise DetectorError(f"{path}: does not exist: name a run folder or a detector.onnx")
    return path
