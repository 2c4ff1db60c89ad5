"""`train`: from good pictures to a calibrated detector."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssim_ae.cli.options import as_json, path

if TYPE_CHECKING:
    from ssim_ae.training.loop import Progress
    from ssim_ae.training.train import Run


@click.command()
@click.argument("dataset", type=path)
@click.option(
    "--preset",
    help="A starting point; auto by default (docs/settings.md).",
)
@click.option("--config", type=path, help="YAML file of settings, ours or the zoo's.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@click.option("--output", type=path, metavar="RUN", help="Run folder [runs/<dataset>].")
@click.option("--group", metavar="PATTERN", help="Regular expression on file names: pictures of "
              "one strip or part are held out together [auto: found in the names; "
              "none: each picture for itself].")  # fmt: skip
@click.option("--init-from", type=path, metavar="RUN", help="Start from another run's weights, or "
              "a zoo's .ckpt.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace an existing run.")
@as_json
def train(
    dataset: Path,
    preset: str | None,
    config: Path | None,
    changes: tuple[str, ...],
    output: Path | None,
    group: str | None,
    init_from: Path | None,
    resume: bool,
    overwrite: bool,
    json_: bool,
) -> None:
    """Train on DATASET's good pictures and write a calibrated detector."""
    from ssim_ae.errors import InputError
    from ssim_ae.evaluation.conformal import confident_rate, promise

    began = time.monotonic()
    if resume and (preset or config or changes or group or init_from or overwrite):
        raise InputError("--resume takes the run's own settings: leave the other options out")
    run = train_with_bar(
        dataset,
        preset=preset,
        config=config,
        changes=changes if group is None else [*changes, ("group", group)],
        output=output,
        overwrite=overwrite,
        resume=resume,
        init_from=init_from,
        json_=json_,
    )
    thresholds, calibration = run.record.thresholds, run.record.calibration
    if thresholds is None or calibration is None:  # a helper process of several
        return
    numbers = {
        "run": str(run.folder),
        "detector": str(run.folder / "detector.onnx"),
        **run.report,
        "threshold": thresholds.score,
        "pixel_threshold": thresholds.pixel,
        "promised_false_reject_rate": calibration.promised_false_reject_rate,
        "false_reject_rate_with_confidence": confident_rate(calibration),
        "held_out": calibration.pictures,
        "notes": run.notes + run.record.warnings,
        "unreadable": run.unreadable,
    }
    if json_:
        click.echo(json.dumps(numbers))
    else:
        seen_as = " ".join(word for word in (run.report["color"], run.report["kind"]) if word)
        click.echo(
            f"trained {run.report['steps']} steps in {run.report['seconds']:.0f} s "
            f"({time.monotonic() - began:.0f} s in all) on {seen_as} pictures, held-out loss "
            f"{run.report['held_out_loss']:.3f}\n"
            f"threshold {thresholds.score:.4f}: {promise(calibration)}\n"
            f"detector: {run.folder / 'detector.onnx'}"
        )
    if run.unreadable:
        sys.exit(1)


def train_with_bar(dataset: Path, json_: bool, **options: Any) -> Run:
    """Train with notes and, unless ``json_``, a bar on the terminal."""
    from tqdm import tqdm

    from ssim_ae.training.train import train as train_run

    def note(line: str) -> None:  # above the bar
        if sys.stderr is not None:
            tqdm.write(f"note: {line}", file=sys.stderr)

    with _training_bar(json_ or sys.stderr is None) as (show, phase):
        return train_run(
            dataset,
            on_progress=show,
            on_note=note,
            on_phase=phase,
            **options,
        )


@contextmanager
def _training_bar(
    quiet: bool,
) -> Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]:
    """A bar with loss, patches per second and time left, then what is being done; from the first
    step on, so that it does not stand before an error."""
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
    bars: list[tqdm[Any]] = []

    def show(line: Progress) -> None:
        if not bars:  # what was done before, by a resumed run too, says nothing of the pace
            bars.append(
                tqdm(desc="training", bar_format=layout, disable=quiet, total=line.steps,
                     initial=line.step)
            )  # fmt: skip
        speed = f"{line.patches_per_second:.0f} patches/s"
        bars[0].set_postfix_str(f"loss {line.loss:.3f}, {speed}", refresh=False)
        bars[0].update(line.step - bars[0].n)

    def phase(what: str) -> None:
        for bar in bars:
            bar.bar_format = "{desc} ({elapsed})"
            bar.set_description_str(what)

    try:
        yield show, phase
    finally:
        for bar in bars:
            bar.close()
