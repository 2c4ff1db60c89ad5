"""Evaluate a detector on labelled test pictures: metrics, controls beside them, maps, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from ssim_ae.data.images import Pixels, size_of
from ssim_ae.data.layouts import TestPicture, test_pictures
from ssim_ae.errors import InputError, PictureError
from ssim_ae.evaluation.conformal import surprise
from ssim_ae.evaluation.tally import Tally, metrics_of
from ssim_ae.evaluation.truth import checked
from ssim_ae.evaluation.zoo import zoo_mask
from ssim_ae.files import require_writable, write_atomically
from ssim_ae.runtime.detector import Detector, detector_file, read_ahead
from ssim_ae.runtime.light import other_light
from ssim_ae.runtime.record import picture_fingerprint
from ssim_ae.runtime.writers import tiff_bytes

CONTROL = "no_model.onnx"
IN_ONE_PASS = 1 << 24  # pixels that the control takes at most, at 41 bytes each (grey)


@dataclass
class Evaluation:
    """What ``evaluate`` found: ``metrics`` is the contract of metrics.json."""

    metrics: dict[str, Any]
    scores: list[tuple[TestPicture, float]]
    folder: Path
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate(
    run: str | PathLike[str],
    dataset: str | Path,
    output: str | Path | None = None,
    maps: bool = False,
    engine: str | None = None,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure a run's detector on a dataset's test pictures and write metrics.json, report.html.

    Args:
        run: run folder or detector.onnx.
        dataset: folder with test pictures and ground truth.
        output: ``evaluation`` inside the run (or beside the file) by default.
        maps: also write float TIFF maps at original size, in the layout that MVTec's evaluation
            script reads (maps/<dataset>/test/<defect>/<stem>.tiff).
        engine: see ``runtime.engines``; the control runs on ONNX Runtime.
        on_picture: called with (done, total).

    Metrics are computed at working size; ground truth is brought there with the picture.

    Raises:
        InputError: bad dataset or detector; a mask of another size than its picture.
    """
    detector = Detector.load(run, engine)
    _ = detector.thresholds  # an uncalibrated detector is told before work begins
    dataset = Path(dataset)
    pictures, unreadable, notes = checked(test_pictures(dataset))
    folder = Path(output) if output is not None else detector.file.parent / "evaluation"
    require_writable(folder)
    control_file = detector_file(run).parent / CONTROL
    control = Detector.load(control_file) if control_file.is_file() else None
    if maps:
        _require_own_names(pictures)
    notes += _leaks(detector, pictures) + _other_scale(detector, pictures)

    tally = Tally()
    decoding = read_ahead((p.file for p in pictures), detector.record.preparation.decode)
    for done, test in enumerate(pictures, 1):
        _, decoded = next(decoding)  # zip would keep it beside the next one
        name = folder / "maps" / dataset.resolve().name / "test" / test.defect
        try:
            too_large = _add(
                tally, test, decoded.result(), detector, control, name if maps else None
            )
        except PictureError as error:
            unreadable.append(str(error))
            continue
        finally:
            del decoded
        if too_large is not None:
            notes.append(too_large)
            control = None
        on_picture(done, len(pictures))
    if not tally.scores:
        raise InputError(f"{dataset}: no test picture could be read ({unreadable[0]})")
    metrics = metrics_of(detector, tally, control is not None, len(unreadable))
    notes += _surprise(detector, tally)
    if number := len(tally.in_other_light):
        more = "" if number == 1 else f" ({number} test pictures are like that)"
        notes.append(tally.in_other_light[0] + more)
    metrics |= {"notes": notes, "unreadable": unreadable}
    write_atomically(folder / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())
    result = Evaluation(metrics, tally.scores, folder, unreadable, notes)
    from ssim_ae.evaluation.report import write_report

    write_report(result, detector, dataset)
    return result


def _add(
    tally: Tally,
    test: TestPicture,
    picture: Pixels,
    detector: Detector,
    control: Detector | None,
    maps: Path | None,
) -> str | None:
    """Measure one picture; its map goes into the folder ``maps``.

    Returns a line if it is too large for the control.

    Raises:
        PictureError: it is too small, or too large.
    """
    mask = test.mask(picture.shape[:2])
    began = time.perf_counter()
    try:
        working, geometry = detector.record.preparation.apply(picture, test.file)
        anomaly_map, score = detector.measure(working, test.file)
    except MemoryError:
        raise PictureError(f"{test.file}: does not fit in memory: cut it into pieces") from None
    tally.seconds += time.perf_counter() - began
    truth = geometry.mask_to_working(mask)
    tally.scores.append((test, score))
    if (line := other_light(working, detector.record.settings.stretch)) is not None:
        tally.in_other_light.append(f"{test.file}: {line}")
    tally.brightness.append(float(working.mean()))
    if test.has_truth:
        tally.pixels.add(anomaly_map, truth)
    if test.masks:
        tally.reference.add(anomaly_map > detector.thresholds.pixel, truth)
    zoo = detector.record.settings.zoo
    if zoo is not None:  # its residuals are scaled to a threshold of 1
        predicted = zoo_mask(anomaly_map, 1.0, working, zoo)
        if test.has_truth:
            tally.zoo_pixels.add(predicted, truth)
        tally.zoo_rejects.append(bool(predicted.any()))
    if maps is not None:
        tiff = tiff_bytes(geometry.map_to_original(anomaly_map))
        write_atomically(maps / f"{test.file.stem}.tiff", tiff)
    if control is not None and working.shape[0] * working.shape[1] > IN_ONE_PASS:
        return (
            f"no figures of the control without a model: {test.file} is "
            f"{working.shape[1]}x{working.shape[0]}, too large for its one pass"
        )
    if control is not None:
        # in one pass: its median is the whole picture's, which blocks would not see
        control_maps, control_scores = control.engine.run(working[None])
        if test.has_truth:
            tally.control_pixels.add(control_maps[0], truth)
        tally.control_scores.append(float(control_scores[0]))
    return None


def _require_own_names(pictures: list[TestPicture]) -> None:
    """Raises InputError where the maps of two pictures would be one file."""
    seen: dict[tuple[str, str], Path] = {}
    for test in pictures:
        other = seen.setdefault((test.defect, test.file.stem), test.file)
        if other != test.file:
            raise InputError(
                f"{test.file}: its map would have the name of that of {other}: rename one of them"
            )


def _other_scale(detector: Detector, pictures: list[TestPicture]) -> list[str]:
    """A line about the first test picture of another scale, if there is one."""
    if (calibration := detector.record.calibration) is not None:
        for test in pictures:
            geometry = detector.record.preparation.geometry(*size_of(test.file))
            if (unlike := calibration.other_scale(geometry)) is not None:
                return [f"{test.file}: {unlike}"]
    return []


def _leaks(detector: Detector, pictures: list[TestPicture]) -> list[str]:
    """Lines about test pictures that the detector owes its weights or its thresholds to."""
    known = {t.file: picture_fingerprint(t.file) for t in pictures if t.file.is_file()}
    record = detector.record
    trained = [file for file, fingerprint in known.items() if fingerprint in record.seen]
    measured = [f for f, fingerprint in known.items() if fingerprint in record.calibrated_on]
    notes = []
    if trained:
        notes.append(
            f"{len(trained)} test pictures were trained on ({trained[0]}, ...): the figures "
            "flatter the detector; remove them from the test folder"
        )
    if measured:
        notes.append(
            f"{len(measured)} test pictures made the thresholds ({measured[0]}, ...): the false "
            "rejects among them are no evidence; remove them from the test folder"
        )
    return notes


def _surprise(detector: Detector, tally: Tally) -> list[str]:
    calibration, threshold = detector.record.calibration, detector.thresholds.score
    scores = [score for test, score in tally.scores if test.is_good]
    if calibration is None or not scores:
        return []
    line = surprise(calibration, sum(s > threshold for s in scores), len(scores))
    return [] if line is None else [line]


def worth_showing(
    evaluation: Evaluation, threshold: float, count: int = 4
) -> dict[str, list[TestPicture]]:
    """Strongest hits, misses, and the good pictures rejected or nearest to it."""
    ranked = sorted(evaluation.scores, key=lambda pair: pair[1])
    groups = {
        "Defective, found": [t for t, s in reversed(ranked) if not t.is_good and s > threshold],
        "Defective, missed": [t for t, s in ranked if not t.is_good and s <= threshold],
        "Good, rejected": [t for t, s in reversed(ranked) if t.is_good and s > threshold],
        "Good, accepted": [t for t, s in reversed(ranked) if t.is_good and s <= threshold],
    }
    return {title: tests[:count] for title, tests in groups.items() if tests}
