"""`evaluate`: a run measured on test pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssim_ae.cli.options import as_json, engine_option, path

if TYPE_CHECKING:
    from ssim_ae.evaluation.evaluate import Evaluation


@click.command()
@click.argument("run", type=path)
@click.argument("dataset", type=path)
@click.option("--output", type=path, metavar="DIR", help="Folder [RUN/evaluation].")
@click.option("--maps", is_flag=True, help="Also write float TIFF maps for MVTec's script.")
@engine_option
@as_json
def evaluate(
    run: Path, dataset: Path, output: Path | None, maps: bool, engine: str | None, json_: bool
) -> None:
    """Measure RUN on DATASET's test pictures; writes metrics.json and report.html."""
    result = evaluate_with_bar(run, dataset, output, maps, engine, json_)
    finish_evaluation(result, json_)


def evaluate_with_bar(
    run: Path, dataset: Path, output: Path | None, maps: bool, engine: str | None, json_: bool
) -> Evaluation:
    """Evaluate with, unless ``json_``, a bar on the terminal."""
    from tqdm import tqdm

    from ssim_ae.evaluation.evaluate import evaluate as evaluate_run

    with tqdm(
        unit="picture", desc="evaluating", disable=json_ or sys.stderr is None, leave=False
    ) as bar:

        def on_picture(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return evaluate_run(run, dataset, output, maps, engine, on_picture)


def finish_evaluation(result: Evaluation, json_: bool) -> None:
    """Print the figures; exit code 1 when pictures could not be read."""
    from ssim_ae.evaluation.report import number

    m = result.metrics
    if json_:
        click.echo(json.dumps(m))
    else:
        for line in result.notes + result.unreadable:
            click.echo(f"note: {line}", err=True)
        control = m["baselines"]["no_model"] or {}
        rows = [
            ("pixel AUROC", m["pixel_auroc"], control.get("pixel_auroc")),
            ("AU-PRO (30 %)", m["aupro_30"], control.get("aupro_30")),
            ("image AUROC", m["image_auroc"], control.get("image_auroc")),
            ("false-reject rate", m["at_threshold"]["false_reject_rate"], None),
            ("recall", m["at_threshold"]["recall"], None),
        ]
        for name, value, baseline in rows:
            beside = "" if baseline is None else f"   (no trained model: {number(baseline)})"
            click.echo(f"{name:18} {number(value)}{beside}")
        if "zoo" in m:
            found = m["zoo"][f"{m['zoo']['level']}_level"]
            shares = ", ".join(f"{k} {number(found[k])}" for k in ("ok", "nok", "acc"))
            click.echo(f"zoo's rule         {shares} (by {m['zoo']['level']})")
        click.echo(f"metrics: {result.folder / 'metrics.json'}")
        click.echo(f"report:  {result.folder / 'report.html'}")
    if result.unreadable:
        sys.exit(1)
