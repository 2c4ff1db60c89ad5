"""Inspect files and folders: verdicts as they come, a table and pictures on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

from ssim_ae.data.folders import pictures_in
from ssim_ae.data.images import SUFFIXES
from ssim_ae.errors import InputError, PictureError
from ssim_ae.files import require_writable
from ssim_ae.runtime.detector import Detector, Inspection
from ssim_ae.runtime.light import other_light
from ssim_ae.runtime.writers import FORMATS, PICTURES, row, table, unreadable, write_pictures

LARGER = 1.5  # a picture this many times the calibrated size has that many more chances to alarm
LONGEST = 240  # bytes of a name, without number and suffix
LISTED = 1000  # results handed back in the summary; a table on disk holds all of them


def find_pictures(inputs: Sequence[Path]) -> list[Path]:
    """The named files, and the pictures directly in named folders, sorted.

    Raises:
        InputError: a path that does not exist, a folder without pictures.
    """
    files: list[Path] = []
    for item in inputs:
        if item.is_dir():
            found = pictures_in(item)
            if not found:
                raise InputError(
                    f"{item}: holds no pictures ({', '.join(sorted(SUFFIXES))}): name a folder "
                    "that directly holds some"
                )
            files += found
        elif item.exists():
            files.append(item)
        else:
            raise InputError(f"{item}: does not exist: check the path")
    return files


def inspect_pictures(
    run: str | PathLike[str],
    inputs: Sequence[Path],
    output: Path | None,
    kind: str,
    maps: bool,
    engine: str | None,
    show: Callable[[str], None],
    complain: Callable[[str], None],
) -> dict[str, Any]:
    """Inspect in bounded memory; unreadable files are told and the others go on.

    Args:
        run: run folder or detector.onnx.
        inputs: files and folders.
        output: folder for results.<kind>, overlays/, masks/ and maps/; none writes nothing.
        kind: jsonl, csv or parquet.
        show, complain: take one line for each verdict and for each unreadable file.

    Returns counts {pictures, good, defective, unreadable}, ``errors``, and the first ``results``.
    """
    if kind not in FORMATS:
        raise InputError(f"format {kind!r} is unknown: known are {', '.join(FORMATS)}")
    files = find_pictures(inputs)
    detector = Detector.load(run, engine)
    _ = detector.thresholds  # an uncalibrated detector is told before work begins
    calibration = detector.record.calibration
    calibrated = calibration.pixels if calibration is not None else 1 << 62
    doubts: dict[str, Callable[[Inspection], str | None]] = {
        "scale": lambda found: calibration.other_scale(found.geometry) if calibration else None,
        "light": lambda found: other_light(found.picture, detector.record.settings.stretch),
    }
    warned = False
    said: set[str] = set()
    if output is not None:
        _require_own(output, files)
        require_writable(output)
        if any((output / pictures).exists() for pictures in PICTURES):
            complain(
                f"note: {output}: holds pictures of an earlier inspection; where this one has none "
                f"of their name they stay: results.{kind} names its own, an empty folder has no mix"
            )
    names = _distinct_names(files)
    counts = {"good": 0, "defective": 0, "unreadable": 0}
    results: list[dict[str, Any]] = []
    errors: list[str] = []
    with ExitStack() as stack:
        write = stack.enter_context(table(output, kind)) if output is not None else None
        found = detector.inspect_files(files)
        for file, name in zip(files, names, strict=True):
            inspection = next(found)  # zip would keep it beside the next one
            if isinstance(inspection, PictureError):
                counts["unreadable"] += 1
                complain(f"error: {inspection}")
                if len(errors) < LISTED:
                    errors.append(str(inspection))
                if write is not None:
                    write(unreadable(file, inspection))
                continue
            if not warned and inspection.working_map.size > LARGER * calibrated:
                warned = True
                complain(
                    f"note: {inspection.source}: {inspection.working_map.size / calibrated:.0f} "
                    "times the size of the pictures that the threshold comes from: the promised "
                    "false-reject rate does not hold for it; calibrate on pictures of its size"
                )
            for what, unlike in doubts.items():
                if what not in said and (told := unlike(inspection)) is not None:
                    said.add(what)
                    complain(f"note: {inspection.source}: {told}")
            line = row(inspection, name)
            counts[line["verdict"]] += 1
            regions = f", {len(line['regions'])} region(s)" if inspection.is_defective else ""
            show(f"{line['verdict']:9} {line['score']:.4f}  {line['source']}{regions}")
            if len(results) < LISTED:
                results.append(line)
            if write is not None and output is not None:
                write(line)
                write_pictures(inspection, output, name, maps)
            del inspection  # the next picture's map does not have to fit beside this one's
    return {
        "pictures": len(files),
        **counts,
        "errors": errors,
        "results": results,
        "results_left_off": len(files) - counts["unreadable"] - len(results),
    }


def _require_own(output: Path, files: Sequence[Path]) -> None:
    """Refuse to write where pictures would be replaced that no inspection has made.

    Raises:
        InputError: one of ``files`` lies where results go, or the folders are somebody else's.
    """
    folders = [(output / pictures).resolve() for pictures in PICTURES]
    for file in files:
        if file.resolve().parent in folders:
            raise InputError(f"{file}: lies where results are written: choose another --output")
    if any((output / f"results.{kind}").exists() for kind in FORMATS):
        return
    for folder in folders:
        if folder.exists():
            raise InputError(
                f"{output / folder.name}: is there already, and not from an inspection: choose "
                "another --output"
            )


def _distinct_names(files: Sequence[Path]) -> list[str]:
    """A name for each file's pictures on disk: the stem, with what sets it apart if it recurs."""
    names: list[str] = []
    seen: set[str] = set()
    for file in files:
        candidates = [
            _fitting(c) for c in (file.stem, f"{file.parent.name}_{file.stem}", file.name)
        ]
        name = next((c for c in candidates if c.casefold() not in seen), None)
        number = 2
        while name is None or name.casefold() in seen:
            name = f"{_fitting(file.stem)}_{number}"
            number += 1
        seen.add(name.casefold())  # some file systems do not tell Part.png from part.png
        names.append(name)
    return names


def _fitting(name: str) -> str:
    """With a number and a suffix no longer than a file's name may be."""
    return os.fsdecode(os.fsencode(name)[:LONGEST]) if len(os.fsencode(name)) > LONGEST else name
