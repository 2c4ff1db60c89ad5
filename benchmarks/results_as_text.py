"""Committed results, read and set as Markdown: what the tables share."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
QUALITY = ("pixel_auroc", "aupro_30", "image_auroc")


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def spread(values: Iterable[float]) -> str:
    """Mean, and half of the range over seeds."""
    found = list(values)
    return f"{mean(found):.3f} ± {(max(found) - min(found)) / 2:.3f}"
