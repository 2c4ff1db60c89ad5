"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

path = click.Path(path_type=Path)
as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object instead.")
engine_option = click.option(
    "--engine", help="Default: the one that RUN's file is for; `ssim-ae doctor` lists them."
)
