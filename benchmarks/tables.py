"""Write the tables of the README from the committed results: ``python benchmarks/tables.py``."""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def main_path_table() -> str:
    """One row for each run of main_path.json, as Markdown."""
    runs = json.loads((HERE / "results" / "main_path.json").read_text())["runs"]
    head = (
        "| set and preset | steps | training | pixel AUROC | AU-PRO (30 %) | image AUROC | "
        "false rejects | recall | no model: pixel / AU-PRO / image |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = []
    for name, run in runs.items():
        m, at = run["metrics"], run["metrics"]["at_threshold"]
        control = m["baselines"]["no_model"]
        cells = [
            name,
            str(run["training"]["steps"]),
            f"{run['seconds']['training']:.0f} s",
            *(f"{m[k]:.3f}" for k in ("pixel_auroc", "aupro_30", "image_auroc")),
            *(f"{at[k]:.3f}" for k in ("false_reject_rate", "recall")),
            " / ".join(f"{control[k]:.3f}" for k in ("pixel_auroc", "aupro_30", "image_auroc")),
        ]
        if run["training"]["contrast"] < 0.1:
            cells[0] += " (collapsed)"
        rows.append("| " + " | ".join(cells) + " |\n")
    return head + "".join(rows)


def with_tables(text: str) -> str:
    """The README's text with its tables made anew."""
    return re.sub(
        r"(<!-- main_path -->\n).*?(<!-- /main_path -->)",
        lambda m: m[1] + "\n" + main_path_table() + "\n" + m[2],
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
