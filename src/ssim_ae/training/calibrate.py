"""Thresholds from held-out good pictures (see ``evaluation.conformal``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ssim_ae import value_bins
from ssim_ae.data.groups import group_names
from ssim_ae.data.images import named, readable
from ssim_ae.data.layouts import training_pictures
from ssim_ae.data.split import distinct
from ssim_ae.errors import InputError
from ssim_ae.evaluation.conformal import conformal_rank
from ssim_ae.files import require_writable
from ssim_ae.runtime.detector import Detector
from ssim_ae.runtime.record import (
    FORMAT,
    WITH_CONSTANTS,
    Calibration,
    Record,
    Thresholds,
    picture_fingerprint,
    sha256,
    write_detector,
)


def calibrated(
    detector: Detector, files: Sequence[Path], groups: Sequence[str], rate: float, source: str
) -> tuple[Record, list[str]]:
    """The detector's record with new thresholds, and lines about what could not be promised.

    Args:
        detector: whose maps are measured; it needs no thresholds yet.
        files: good pictures that it was not trained on.
        groups: the strip or part of each (see ``data.split``).
        rate: asked false-reject rate, 0..1.
        source: where the pictures came from, for the record.
    """
    rank, promised = conformal_rank(len(files), rate)
    pixel_rate = detector.record.settings.pixel_false_reject_rate
    counts = np.zeros(value_bins.BINS, np.int64)
    scores, reduced, largest = [], [], 0
    for file in files:
        working, geometry = detector.record.preparation.read(file)
        anomaly_map, score = detector.measure(working, file)
        largest = max(largest, anomaly_map.size)
        value_bins.count(counts, anomaly_map)
        scores.append(score)
        reduced.append(geometry.reduction)
    threshold = sorted(scores)[rank - 1]
    # never above the score threshold: a peak that makes a picture defective is always marked
    pixel = min(value_bins.quantile(counts, pixel_rate), threshold)
    old = detector.record.format
    record = detector.record.model_copy(
        update={
            "format": FORMAT if old >= WITH_CONSTANTS else old,
            "calibrated_on": sorted(picture_fingerprint(f) for f in files),
            "thresholds": Thresholds(score=threshold, pixel=pixel),
            "calibration": Calibration(
                pictures=len(files),
                groups=len(set(groups)),
                asked_false_reject_rate=rate,
                promised_false_reject_rate=promised,
                rank=rank,
                pixel_false_reject_rate=pixel_rate,
                pixels=largest,
                reduced=[min(reduced), max(reduced)],
                scores=sorted(scores),
                source=source,
            ),
        }
    )
    notes = []
    if promised > rate:
        needed = math.ceil(1 / rate - 1 - 1e-9)
        notes.append(
            f"{len(files)} held-out pictures can promise a false-reject rate of {promised:.3f} at "
            f"best, not {rate}: {needed} are needed; using {promised:.3f}"
        )
    if len(set(groups)) < len(files):
        notes.append(
            f"the {len(files)} held-out pictures come from {len(set(groups))} groups: the rate is "
            "promised for further pictures of such groups taken together; between few groups it "
            "can be larger, so calibrate on more of them"
        )
    return record, notes


def calibrate(
    run: str | PathLike[str],
    dataset: str | Path,
    false_reject_rate: float | None = None,
    group: str | None = None,
) -> tuple[Record, float | None, list[str]]:
    """Set new thresholds in a run's detector from good pictures, without training.

    ``dataset`` is any layout that ``train`` takes; pictures that the detector was trained on are
    left out by their fingerprint; ``false_reject_rate`` is by default what was asked for before.
    Returns the new record, the score threshold before, if there was
    one, and lines to show.

    Raises:
        InputError: the rate is no rate, a picture that cannot be read, or every one was trained on.
    """
    detector = Detector.load(run)
    rate = false_reject_rate
    if rate is None:
        last = detector.record.calibration
        rate = last.asked_false_reject_rate if last else detector.record.settings.false_reject_rate
    if not 1e-6 <= rate <= 0.999:
        raise InputError(f"false-reject rate is {rate}: give a share, such as 0.01")
    if detector.file.suffix in (".xml", ".mindir"):
        raise InputError(
            f"{detector.file}: an exported detector keeps its thresholds: calibrate the run and "
            "export it again"
        )
    every = training_pictures(Path(dataset))
    _, unreadable = readable(every, detector.record.settings.depth)
    if unreadable:  # thresholds are a promise about the pictures meant, not about some of them
        raise InputError(f"{named(unreadable, len(every))}: save them again or remove them")
    fingerprints = {f: picture_fingerprint(f) for f in every}
    files, notes = distinct(fingerprints)
    fresh = [f for f in files if fingerprints[f] not in detector.record.seen]
    if not fresh:
        raise InputError(
            f"{dataset}: the detector has seen all {len(files)} pictures there: calibrate "
            "on good pictures that it has not seen"
        )
    target = detector.file.resolve()  # a link stays one
    require_writable(target.parent)
    if group is not None:
        groups = group_names(fresh, group)
    else:  # these pictures may be named unlike those trained on
        try:
            groups = group_names(fresh, detector.record.settings.group)
        except InputError:
            groups = group_names(fresh, None)
            notes.append("file names do not match the run's group pattern: counted one by one")
    name = Path(dataset).resolve().name.encode(errors="backslashreplace").decode()
    record, more = calibrated(detector, fresh, groups, rate, name)
    notes += more
    if len(fresh) < len(files):
        notes.insert(0, f"{len(files) - len(fresh)} pictures were trained on and are left out")
    graph = target.read_bytes()
    if sha256(graph) != detector.sha256:
        raise InputError(f"{target}: was replaced meanwhile, by a training: calibrate it again")
    write_detector(graph, record, target)
    if (exports := detector.file.parent / "exports").is_dir():
        notes.append(f"files in {exports} keep the thresholds before: export them again")
    if (measured := detector.file.parent / "evaluation").is_dir():
        notes.append(f"{measured} holds figures at the thresholds before: evaluate again")
    before = detector.record.thresholds
    return record, None if before is None else before.score, notes
