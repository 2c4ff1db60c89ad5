"""`doctor` and `benchmark`: what this machine can do, and how fast."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ssim_ae.cli.options import as_json, path


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Say what this machine can do, and why not the rest."""
    from ssim_ae.runtime.doctor import doctor as examine

    found = examine()
    if json_:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"ssim-ae {found['ssim_ae']}, Python {found['python']}, {found['system']}, "
        f"{found['cores']} cores"
    )
    for name, reason in found["engines"].items():
        click.echo(f"{name:22} {'usable' if reason is None else f'no: {reason}'}")
    training = found["training"]
    if training["why_not"]:
        click.echo(f"{'training':22} no: {training['why_not']}")
    else:
        devices = ", ".join(training["devices"])
        click.echo(f"{'training':22} usable: {devices}, {training['precision_auto']}")
    for name, reason in found["extras"].items():
        click.echo(f"{name:22} {'usable' if reason is None else f'no: {reason}'}")


@click.command()
@click.argument("run", type=path)
@click.option("--size", nargs=2, type=int, metavar="HEIGHT WIDTH", help="At working size.")
@as_json
def benchmark(run: Path, size: tuple[int, int] | None, json_: bool) -> None:
    """Time RUN on this machine with every usable engine."""
    from ssim_ae.runtime.benchmark import benchmark as time_run

    result = time_run(run, size)
    if json_:
        click.echo(json.dumps(result))
        return
    height, width = result["size"]
    tiles = "in one piece" if result["tiles"] == 1 else f"{result['tiles']} tiles"
    click.echo(f"{height}x{width}, {tiles}; sgemm {result['sgemm_gflops']} GFLOP/s")
    for name, found in result["engines"].items():
        if "not_usable" in found:
            click.echo(f"{name:27} not usable: {found['not_usable']}")
        else:
            click.echo(
                f"{name:27} {found['latency_ms']:8.1f} ms a picture, "
                f"{found['pictures_per_second']:.1f} pictures/s in batches, "
                f"loads in {found['load_ms']:.0f} ms"
            )
