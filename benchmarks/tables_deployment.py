"""Exports and installation as tables; see tables.py."""

from __future__ import annotations

from results_as_text import markdown, result


def deployment() -> str:
    """One row for each set, file and engine."""
    rows = []
    for name, found in result("deployment")["sets"].items():
        for file, row in found["rows"].items():
            if "refused" in row:
                rows.append([name, file, "", "", "", "", "", "", f"refused: {row['refused']}"])
                continue
            parity = row["parity"]
            rows.append([
                name,
                f"{file} on {row['engine']}",
                row["precision"],
                f"{row['bytes'] / 1e6:.1f} MB",
                f"{row['load_ms']:.0f} ms",
                f"{row['ms']:.1f} ms",
                f"{parity['map']:.1e} / {parity['score']:.1e}",
                f"{parity['verdicts']} of {parity['pictures']}, {parity['mask']:.1e} of the pixels",
                f"{row['aupro_30']:.4f}",
            ])  # fmt: skip
    head = [
        "set", "what", "precision", "size", "load", "a picture", "map / score differ by",
        "verdicts, mask differ", "AU-PRO",
    ]  # fmt: skip
    return markdown(head, rows)


def installation() -> str:
    """What `pip install .` brings, without extras."""
    found = result("deployment")["install"]
    rows = [
        ["size on disk", f"{found['megabytes']:.0f} MB"],
        ["packages beside ssim-ae", str(found["packages"])],
        ["cold `inspect` of one picture", f"{found['cold_inspect_seconds']:.2f} s"],
    ]
    return markdown(["", ""], rows)
