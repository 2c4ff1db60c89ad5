"""Write the tables of README and docs from the committed results: ``python benchmarks/tables.py``.

A table stands between ``<!-- name -->`` and ``<!-- /name -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import tables_deployment
import tables_quality
import tables_speed

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> None:
    for file in DOCUMENTS:
        file.write_text(with_tables(file.read_text()))


def with_tables(text: str) -> str:
    """The text with its tables made anew."""
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- /\1 -->",
        lambda m: f"<!-- {m[1]} -->\n\n{TABLES[m[1]]()}\n<!-- /{m[1]} -->",
        text,
        flags=re.DOTALL,
    )


TABLES: dict[str, Callable[[], str]] = {
    f.__name__: f
    for f in (
        tables_quality.main_path,
        tables_quality.quality,
        tables_quality.quality_in_280_steps,
        tables_quality.other_pictures,
        tables_quality.detector_latency,
        tables_quality.ranks,
        tables_quality.left_out,
        tables_quality.memory,
        tables_quality.controls,
        tables_quality.surround,
        tables_quality.smoothed,
        tables_quality.clipped,
        tables_quality.placed,
        tables_quality.drawn,
        tables_quality.grouped,
        tables_quality.as_a_whole,
        tables_quality.units,
        tables_quality.evenness,
        tables_quality.features,
        tables_quality.ablation,
        tables_quality.repeated,
        tables_quality.pretraining,
        tables_deployment.deployment,
        tables_deployment.installation,
        tables_speed.train_step,
        tables_speed.train_step_avx2,
        tables_speed.shared_machine,
        tables_speed.precision,
        tables_speed.time_to_quality,
        tables_speed.latency,
        tables_speed.latency_avx2,
        tables_speed.choices,
        tables_speed.precisions,
        tables_speed.start_and_memory,
        tables_speed.export_time,
    )
}


if __name__ == "__main__":
    main()
