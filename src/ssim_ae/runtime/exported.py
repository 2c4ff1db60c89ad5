"""Detectors in other engines' formats: their record lies beside them, bound to them by SHA-256.

``detector.xml`` and ``detector.bin`` (OpenVINO) or ``detector.mindir`` (MindSpore) come with
``detector.xml.json`` or ``detector.mindir.json``. Thresholds are constants in those graphs, so such
a detector is never calibrated: calibrate the run and export it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from ssim_ae.errors import DetectorError
from ssim_ae.files import write_atomically
from ssim_ae.runtime.record import Record, claimed_format, damage, refuse_newer, sha256


class Sidecar(BaseModel):
    """What lies beside an exported graph: the files it belongs to, by name their SHA-256, and the
    detector's record; of a MindIR, which does not say it of itself, the shape of its pictures,
    ``[height, width]`` or ``[height, width, 3]``, and the names of its outputs in order."""

    model_config = ConfigDict(extra="forbid")
    files: dict[str, str]
    record: Record
    picture: list[PositiveInt] = []
    outputs: list[str] = []


def parts_of(file: Path) -> list[Path]:
    """The files of an exported graph, without the record beside it."""
    return [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]


def sidecar_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def write_sidecar(
    file: Path, record: Record, picture: Sequence[int] = (), outputs: Sequence[str] = ()
) -> None:
    """What lies beside an exported graph, atomically; see ``Sidecar``."""
    files = {part.name: sha256(part.read_bytes()) for part in parts_of(file)}
    sidecar = Sidecar(files=files, record=record, picture=list(picture), outputs=list(outputs))
    write_atomically(sidecar_of(file), sidecar.model_dump_json(indent=1).encode())


def read_sidecar(file: Path) -> Sidecar:
    """What lies beside an exported graph.

    Raises:
        DetectorError: missing, damaged, or of other files than those that lie there now.
    """
    beside = sidecar_of(file)
    text = ""
    try:
        text = beside.read_text(encoding="utf-8")
        found = Sidecar.model_validate(json.loads(text))
        now = {part.name: sha256(part.read_bytes()) for part in parts_of(file)}
    except OSError as error:
        missing = error.filename or beside
        raise DetectorError(f"{missing}: cannot be read ({error.strerror}): copy it too") from None
    except (ValueError, ValidationError, RecursionError) as error:
        refuse_newer(claimed_format(text, "record"), beside)
        first = str(error).splitlines()[0]
        reason = damage(error) if isinstance(error, ValidationError) else first
        raise DetectorError(f"{beside}: is damaged ({reason}): export the run again") from None
    refuse_newer(found.record.format, beside)
    if list(found.files.values()) != list(now.values()):
        raise DetectorError(f"{file}: is not what {beside.name} was written for: export it again")
    return found
