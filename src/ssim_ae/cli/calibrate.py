"""`calibrate`: thresholds anew."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ssim_ae.cli.options import as_json, path


@click.command()
@click.argument("run", type=path)
@click.argument("dataset", type=path)
@click.option("--false-reject-rate", type=float, help="Default: the rate asked for before.")
@click.option("--group", metavar="PATTERN", help="Regular expression on file names, auto or "
              "none [as the detector was trained].")  # fmt: skip
@as_json
def calibrate(
    run: Path, dataset: Path, false_reject_rate: float | None, group: str | None, json_: bool
) -> None:
    """Set RUN's thresholds anew from good pictures it was not trained on."""
    from ssim_ae.evaluation.conformal import confident_rate, promise
    from ssim_ae.training.calibrate import calibrate as recalibrate

    record, before, notes = recalibrate(run, dataset, false_reject_rate, group)
    calibration, thresholds = record.calibration, record.thresholds
    assert calibration is not None
    assert thresholds is not None
    if json_:
        body = {
            "threshold": thresholds.score,
            "threshold_before": before,
            "pixel_threshold": thresholds.pixel,
            "false_reject_rate_with_confidence": confident_rate(calibration),
            "calibration": calibration.model_dump(),
            "notes": notes,
        }
        click.echo(json.dumps(body))
        return
    for note in notes:
        click.echo(f"note: {note}", err=True)
    old = "" if before is None else f" (was {before:.4f})"
    click.echo(f"threshold {thresholds.score:.4f}{old}: {promise(calibration)}")
