"""`demo`: all of it on a generated fabric."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ssim_ae.cli.evaluate import evaluate_with_bar, finish_evaluation
from ssim_ae.cli.options import as_json, path
from ssim_ae.cli.train import train_with_bar

DEMO_STEPS = "steps=300"  # its defects are plain: a quarter of the usual training finds them

MARK = "generated.txt"  # in the folder with the fabric


@click.command()
@click.option("--output", type=path, default=Path("runs/demo"), show_default=True, metavar="RUN")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@as_json
def demo(output: Path, changes: tuple[str, ...], json_: bool) -> None:
    """Make a woven fabric with defects, train, evaluate, and write the report."""
    from ssim_ae.config_files import load_settings
    from ssim_ae.data.synthetic import make_dataset
    from ssim_ae.errors import InputError
    from ssim_ae.files import write_atomically, writing

    whole = output.resolve()
    fabric = whole.with_name(f"{whole.name}-fabric") if whole.name else whole
    output, data = (Path(os.path.relpath(p)) for p in (whole, fabric))
    if output.exists() and not data.exists():
        raise InputError(f"{output}: exists and was not made by the demo: choose another --output")
    if data.exists() and any(data.iterdir()) and not (data / MARK).exists():
        raise InputError(f"{data}: exists and was not made by the demo: choose another --output")
    load_settings("auto", changes=changes)  # what is wrong is told before anything is written
    write_atomically(data / MARK, b"made by ssim-ae demo\n")
    with writing(data):
        make_dataset(data)
    if not json_:
        click.echo(f"fabric with defects: {data}")
    changes = (DEMO_STEPS, *changes)
    run = train_with_bar(
        data, preset="auto", changes=changes, output=output, overwrite=True, json_=json_
    )
    result = evaluate_with_bar(run.folder, data, None, False, None, json_)
    if not json_:
        click.echo(f"detector: {run.folder / 'detector.onnx'}")
    finish_evaluation(result, json_)
