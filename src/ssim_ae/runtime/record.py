"""What a detector file says about itself: preparation, thresholds, calibration, fingerprints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssim_ae.config import Settings
from ssim_ae.data.working_size import UNLIKE, Geometry, Preparation
from ssim_ae.errors import DetectorError
from ssim_ae.files import write_atomically
from ssim_ae.runtime.constants import read_constants, replace_constants
from ssim_ae.runtime.metadata import read_metadata, replace_metadata

KEY = "ssim_ae"
FORMAT = 10  # raised when an older version could no longer read the file; older formats stay read
WITH_CONSTANTS = 4  # the first format whose graphs hold the thresholds


class Calibration(BaseModel):
    """How the thresholds came about (split conformal on held-out good pictures)."""

    model_config = ConfigDict(extra="forbid")
    pictures: int
    groups: int
    asked_false_reject_rate: float
    promised_false_reject_rate: float = Field(description="smallest that so many can promise")
    rank: int = Field(description="the threshold is the rank-th smallest held-out score")
    pixel_false_reject_rate: float
    pixels: int = Field(description="of the largest held-out picture at working size")
    reduced: list[float] | None = Field(
        None, description="how many times they were reduced to working size, least and most"
    )
    scores: list[float]
    source: str

    def other_scale(self, geometry: Geometry) -> str | None:
        """What to say of a picture that is reduced otherwise than those were; None: it is not."""
        if self.reduced is None:  # of an earlier format
            return None
        least, most = self.reduced
        if least / UNLIKE <= geometry.reduction <= most * UNLIKE:
            return None
        (height, width), those = geometry.original, f"{least:.2g}"
        those += "" if f"{most:.2g}" == those else f" to {most:.2g}"
        return (
            f"{width}x{height} is reduced {geometry.reduction:.2g} times to working size, the "
            f"pictures that the threshold comes from {those} times: unless it shows as much with "
            "other pixels, things are at another scale than the detector knows; then cut it to "
            "their size, or train with resize=none"
        )


class Thresholds(BaseModel):
    """A picture is defective above ``score``; a pixel is marked above ``pixel``."""

    model_config = ConfigDict(extra="forbid")
    score: float
    pixel: float


class Record(BaseModel):
    """Everything in the file's metadata but the graph."""

    model_config = ConfigDict(extra="forbid")
    format: int = FORMAT
    version: str
    settings: Settings
    reach: int = Field(ge=0, description="pixels that a pixel's value looks beyond its tiles")
    thresholds: Thresholds | None = None
    calibration: Calibration | None = None
    fingerprints: dict[str, str] = {}
    trained_on: list[str] = Field(default=[], description="fingerprints of the training pictures")
    chosen_on: list[str] = Field(default=[], description="... of others that its maps are made by")
    calibrated_on: list[str] = Field(default=[], description="... that the thresholds come from")
    warnings: list[str] = []
    precision: Literal["float32", "fp16", "int8"] = "float32"  # of the graph

    @property
    def seen(self) -> set[str]:
        """Fingerprints of the pictures that thresholds must not come from."""
        return {*self.trained_on, *self.chosen_on}

    @property
    def preparation(self) -> Preparation:
        s = self.settings
        return Preparation(s.color, s.resize, s.centre_crop, s.depth)


def read_record(model: bytes, name: object) -> Record:
    """The record inside a detector's bytes.

    Raises:
        DetectorError: truncated, another ONNX file, a format of a newer version, or a graph with
            other thresholds than the record.
    """
    try:
        entries = read_metadata(model)
        constants = read_constants(model)
    except (ValueError, UnicodeDecodeError) as error:
        raise DetectorError(
            f"{name}: is no detector or is damaged ({error}): copy it again, or train anew"
        ) from None
    if KEY not in entries:
        raise DetectorError(
            f"{name}: is an ONNX file, but no ssim-ae detector: name a run folder or its "
            "detector.onnx"
        )
    try:
        found = Record.model_validate_json(entries[KEY])
    except ValidationError as error:
        refuse_newer(claimed_format(entries[KEY]), name)
        raise DetectorError(
            f"{name}: its record is damaged ({damage(error)}): copy it again"
        ) from None
    refuse_newer(found.format, name)
    held = found.thresholds if found.format >= WITH_CONSTANTS else None
    if held is not None and constants != constants_of(held):
        raise DetectorError(
            f"{name}: its graph has other thresholds than its record: copy it again, or train anew"
        )
    return found


def write_detector(graph: bytes, record: Record, file: Path) -> None:
    """Graph and record as one file, atomically; the graph's own thresholds become the record's."""
    if record.thresholds is not None:
        graph = replace_constants(graph, constants_of(record.thresholds))
    write_atomically(
        file, replace_metadata(graph, {KEY: record.model_dump_json(), **plain(record)})
    )


def plain(record: Record) -> dict[str, str]:
    """What clients in other languages need of the record, as single words beside it."""
    s = record.settings
    words = {
        "color": s.color,
        "resize": str(s.resize or "none"),
        "centre_crop": str(s.centre_crop or "none"),
        "depth": str(s.depth),
        "smallest": str(s.tile),
        "licence": "of the weights: whoever trained them decides; made with ssim-ae (Apache-2.0)",
    }
    if s.residual.has("features"):
        words["licence"] += "; holds weights of EfficientNet-Lite0 (Apache-2.0)"
    if record.thresholds is not None:
        words |= {name: repr(value) for name, value in constants_of(record.thresholds).items()}
    return words


def constants_of(thresholds: Thresholds) -> dict[str, float]:
    """The graph's two constants, as float32 holds them."""
    pair = {"score_threshold": thresholds.score, "pixel_threshold": thresholds.pixel}
    return {name: float(np.float32(value)) for name, value in pair.items()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def picture_fingerprint(file: Path) -> str:
    """First 64 bits of the SHA-256 of a file's bytes, hexadecimal."""
    return sha256(file.read_bytes())[:16]


def damage(error: ValidationError) -> str:
    """Place and reason of the first thing that is wrong."""
    first = error.errors()[0]
    return f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"


def refuse_newer(version: int | None, name: object) -> None:
    """
    Raises:
        DetectorError: the format is of a newer version of ssim-ae.
    """
    if version is not None and version > FORMAT:
        raise DetectorError(
            f"{name}: detector format {version} is newer than {FORMAT}: upgrade ssim-ae"
        ) from None


def claimed_format(text: str, *place: str) -> int | None:
    """The format that a record in JSON, at ``place`` within it, gives itself; None if none."""
    import json

    try:
        value = json.loads(text)
        for key in (*place, "format"):
            value = value[key]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return value if isinstance(value, int) else None
