"""`export`: the detector for other engines, and zoo checkpoints as runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ssim_ae.cli.options import as_json, path


@click.command()
@click.argument("run", type=path, required=False)
@click.option("--to", help="onnx, openvino, mindir or ckpt.")
@click.option("--precision", default="float32", show_default=True, help="float32, fp16 or int8.")
@click.option("--output", type=path, metavar="FILE", help="[RUN/exports/detector...]")
@click.option("--pictures", type=path, multiple=True, metavar="PATH", help="Compare on these too: "
              "good and defective pictures, or folders of them.")  # fmt: skip
@click.option("--size", nargs=2, type=int, metavar="HEIGHT WIDTH", help="Of a MindIR.")
@click.option("--check", type=path, metavar="FILE", help="Compare an export with RUN again.")
@click.option("--engine", help="With --check: the engine to run FILE on.")
@click.option("--from-ckpt", type=path, metavar="FILE", help="Make the run --output from a zoo "
              "checkpoint, without training.")  # fmt: skip
@click.option("--config", type=path, help="With --from-ckpt: settings, ours or the zoo's.")
@as_json
def export(
    run: Path | None,
    to: str | None,
    precision: str,
    output: Path | None,
    pictures: tuple[Path, ...],
    size: tuple[int, int] | None,
    check: Path | None,
    engine: str | None,
    from_ckpt: Path | None,
    config: Path | None,
    json_: bool,
) -> None:
    """Write RUN's detector for other engines; each file is kept only if it proves equal."""
    from ssim_ae.errors import InputError

    if [to, check, from_ckpt].count(None) != 2 or (run is None) != (from_ckpt is not None):
        raise InputError(
            "say what to do: export RUN --to FORMAT, export RUN --check FILE, or "
            "export --from-ckpt FILE --output RUN"
        )
    given = {
        "--precision": precision != "float32", "--output": output, "--pictures": pictures,
        "--size": size, "--engine": engine, "--config": config,
    }  # fmt: skip
    acts = {
        "--from-ckpt": ("--output", "--config"),
        "--check": ("--pictures", "--engine"),
        "--to ckpt": ("--output",),
        "--to mindir": ("--output", "--pictures", "--size"),
        "--to": ("--precision", "--output", "--pictures"),
    }
    what = "--from-ckpt" if from_ckpt else "--check" if check else f"--to {to}"
    useless = [k for k, v in given.items() if v and k not in acts.get(what, acts["--to"])]
    if useless and to in (None, "onnx", "openvino", "mindir", "ckpt"):
        raise InputError(f"{', '.join(useless)} does nothing with {what}: leave it out")
    if from_ckpt is not None:
        from ssim_ae.training.from_checkpoint import run_from_checkpoint

        if output is None:
            raise InputError("--from-ckpt needs --output RUN: the folder to make")
        notes = run_from_checkpoint(from_ckpt, output, config)
        if json_:
            click.echo(json.dumps({"run": str(output), "notes": notes}))
            return
        for note in notes:
            click.echo(f"note: {note}", err=True)
        click.echo(f"detector: {output / 'detector.onnx'}")
        return
    from ssim_ae.deploy import export as exporting
    from ssim_ae.deploy.parity import BOUNDS

    assert run is not None
    if check is not None:
        found = exporting.check(run, check, engine, pictures)
    else:
        assert to is not None
        found = exporting.export(run, to, output, precision, pictures, size)
    files = [str(file) for file in found.files]
    if json_:
        figures = None if found.parity is None else found.parity.__dict__
        click.echo(json.dumps({"files": files, "precision": found.precision, "parity": figures}))
        return
    if found.parity is not None:
        click.echo(found.parity.table(BOUNDS[found.precision]))
    click.echo(f"{'equal' if check else 'exported'}: {', '.join(files)}")
