"""`inspect`: scores, outlines and verdicts of pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ssim_ae.cli.options import as_json, engine_option, path


@click.command()
@click.argument("run", type=path)
@click.argument("pictures", type=path, nargs=-1, required=True, metavar="PICTURE|FOLDER...")
@click.option("--output", type=path, metavar="DIR", help="Write a table, overlays and masks here.")
@click.option("--format", "kind", default="jsonl", show_default=True, help="jsonl, csv, parquet.")
@click.option("--maps", is_flag=True, help="Also write float TIFF maps.")
@engine_option
@as_json
def inspect(
    run: Path,
    pictures: tuple[Path, ...],
    output: Path | None,
    kind: str,
    maps: bool,
    engine: str | None,
    json_: bool,
) -> None:
    """Score PICTUREs, or every picture in FOLDERs, and say which are defective."""
    from ssim_ae.errors import InputError
    from ssim_ae.runtime.inspect import inspect_pictures

    if output is None and (maps or kind in ("csv", "parquet")):
        raise InputError("--maps and --format are for files: say where with --output DIR")
    show = (lambda line: None) if json_ else click.echo
    summary = inspect_pictures(
        run, pictures, output, kind, maps, engine, show, lambda line: click.echo(line, err=True)
    )
    if json_:
        click.echo(json.dumps(summary))
    elif output is not None:
        click.echo(f"results: {output}")
    if summary["unreadable"]:
        sys.exit(1)
