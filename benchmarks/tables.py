"""Write the tables of README and docs from the committed results: ``python benchmarks/tables.py``.

A table stands between ``<!-- name -->`` and ``<!-- /name -->``.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENTS = [HERE.parent / "README.md", *sorted((HERE.parent / "docs").glob("*.md"))]
QUALITY = ("pixel_auroc", "aupro_30", "image_auroc")
ENGINES = {
    "torch_eager": "torch eager",
    "torch_channels_last": "torch eager, channels last",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}


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


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text())
    return found


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main_path() -> str:
    """One row for each run."""
    rows = []
    for name, run in result("main_path")["runs"].items():
        m, at = run["metrics"], run["metrics"]["at_threshold"]
        control = m["baselines"]["no_model"]
        collapsed = " (collapsed)" if run["training"]["contrast"] < 0.1 else ""
        rows.append([
            name + collapsed,
            str(run["training"]["steps"]),
            f"{run['seconds']['training']:.0f} s",
            *(f"{m[k]:.3f}" for k in QUALITY),
            *(f"{at[k]:.3f}" for k in ("false_reject_rate", "recall")),
            " / ".join(f"{control[k]:.3f}" for k in QUALITY),
        ])  # fmt: skip
    head = [
        "set and preset", "steps", "training", "pixel AUROC", "AU-PRO (30 %)", "image AUROC",
        "false rejects", "recall", "no model: pixel / AU-PRO / image",
    ]  # fmt: skip
    return markdown(head, rows)


def quality() -> str:
    """One row for each set: mean and spread over the seeds."""
    rows = []
    for name, runs in result("quality")["runs"].items():
        metrics = [run["metrics"] for run in runs.values()]
        control = [m["baselines"]["no_model"] for m in metrics]
        at = [m["at_threshold"] for m in metrics]
        brightness = metrics[0]["baselines"]["brightness_image_auroc"]
        rows.append([
            f"{name}, {len(runs)} seeds",
            f"{mean(r['seconds']['training'] for r in runs.values()):.0f} s",
            *(spread(m[k] for m in metrics) for k in QUALITY),
            *(spread(a[k] for a in at) for k in ("recall", "false_reject_rate")),
            " / ".join(f"{mean(c[k] for c in control):.3f}" for k in QUALITY),
            f"{brightness:.3f}",
        ])  # fmt: skip
    head = [
        "set", "training", "pixel AUROC", "AU-PRO (30 %)", "image AUROC", "recall",
        "false rejects (asked 0.05)", "no model: pixel / AU-PRO / image",
        "brightness alone: image AUROC",
    ]  # fmt: skip
    return markdown(head, rows)


def detector_latency() -> str:
    """One row for each set: what `ssim-ae benchmark` says of its first detector."""
    rows = []
    for name, found in result("quality")["latency"].items():
        first = next(iter(result("quality")["runs"][name].values()))
        engines = found["engines"]
        rows.append([
            name,
            "x".join(str(n) for n in found["size"]),
            *(f"{engines[e]['latency_ms']} ms" for e in ("onnxruntime", "openvino")),
            f"{first['detector_megabytes']} MB",
        ])  # fmt: skip
    return markdown(["set", "working size", "ONNX Runtime", "OpenVINO", "detector"], rows)


def ranks() -> str:
    """How the self-made score orders the candidates, against their true results."""
    from scipy.stats import spearmanr

    rows = []
    for name, runs in result("quality")["ranks"].items():
        found = []
        for candidates in runs.values():
            worth = [c["self_made"]["aupro_30"] for c in candidates]
            true = [c["test"]["aupro_30"] for c in candidates]
            chosen = next(t for c, t in zip(candidates, true, strict=True) if c["chosen"])
            usual = next(
                t for c, t in zip(candidates, true, strict=True)
                if c["weights"] == {"head": 1, "gradient": 0.5, "band": 0.5, "rarity": 0.25}
                and c["smooth"] is None
            )  # fmt: skip
            found.append((spearmanr(worth, true)[0], chosen, usual, max(true), min(true)))
        columns = list(zip(*found, strict=True))
        rows.append([name, *(spread(c) for c in columns)])
    head = [
        "set",
        "rank correlation",
        "chosen",
        "usual weights",
        "best candidate",
        "worst candidate",
    ]
    return markdown(head, rows)


def ablation() -> str:
    """One row for each set and variant."""
    rows = [
        [name, variant, *(f"{r[k]:.3f}" for k in ("held_out_loss", "contrast", *QUALITY))]
        for name, variants in result("ablation")["sets"].items()
        for variant, r in variants.items()
    ]
    head = ["set", "variant", "held-out loss", "contrast", "pixel AUROC", "AU-PRO", "image AUROC"]
    return markdown(head, rows)


def pretraining() -> str:
    """One row for each set and length: from random weights, and from the package's."""
    rows = []
    found = result("quality")
    for name, runs in found["runs"].items():
        random, pretrained = (
            {k: mean(r["metrics"][k] for r in runs.values()) for k in QUALITY}
            for runs in (found["runs_random_start"][name], runs)
        )
        length = f"1,200 steps, {len(runs)} seeds"
        rows.append([
            name, length, "", *(f"{random[k]:.3f} / {pretrained[k]:.3f}" for k in QUALITY)
        ])  # fmt: skip
    for name, lengths in result("pretraining")["sets"].items():
        for length, starts in lengths.items():
            random, pretrained = starts["random"], starts["pretrained"]
            keys = ("held_out_loss", *QUALITY)
            rows.append([
                name, length, *(f"{random[k]:.3f} / {pretrained[k]:.3f}" for k in keys)
            ])  # fmt: skip
    head = ["set", "training", "held-out loss", "pixel AUROC", "AU-PRO (30 %)", "image AUROC"]
    return markdown(head, rows)


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


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def spread(values: Iterable[float]) -> str:
    """Mean, and half of the range over seeds."""
    found = list(values)
    return f"{mean(found):.3f} ± {(max(found) - min(found)) / 2:.3f}"


def train_step() -> str:
    """One row for each size of network and batch."""
    r = result("train_step")
    rows = []
    for name, part in {"128x128x1, batch 128": r, **r.get("others", {})}.items():
        others = [
            f"{part[f'{who}_patches_per_second']} ({part[f'speedup_over_{who}']}x)"
            if f"{who}_patches_per_second" in part
            else "-"
            for who in ("plain", "msssim", "mindspore")
        ]
        half = str(part.get("bf16_patches_per_second", "-"))
        rows.append([
            name, str(part["patches_per_second"]), *others, half, str(part["sgemm_gflops"]),
            f"{part['fraction_of_roof']:.0%}",
        ])  # fmt: skip
    head = [
        "patches per second", "ours", "plain (ours is ... times faster)", "with pytorch-msssim",
        "MindSpore", "ours in bf16", "sgemm GFLOP/s", "ours, of the roof",
    ]  # fmt: skip
    return markdown(head, rows)


def time_to_quality() -> str:
    """One row for each curve that is long enough."""
    rows = []
    for name, s in result("time_to_quality")["summary"].items():
        keys = ("close_to_ten_times_as_long", "that_training", "longest")
        if all(s[key] for key in keys):
            rows.append([name, *(point(s[key]) for key in keys)])
    head = [
        "training",
        "the shortest that is close to ten times as long",
        "that one",
        "the longest",
    ]
    return markdown(head, rows)


def point(p: dict[str, Any]) -> str:
    return f"{p['steps']} steps, {p['seconds']:.0f} s: {p['pixel_auroc']:.3f}"


def precision() -> str:
    """float32 beside bf16, at the lengths that both have."""
    curves = result("time_to_quality")["curves"]
    full, half = ({p["steps"]: p for p in curves[n]} for n in ("autoencoder", "autoencoder bf16"))
    rows = [
        [
            str(steps),
            *(f"{p['seconds']:.0f} s" for p in (full[steps], half[steps])),
            *(f"{p[k]:.3f}" for k in QUALITY[:2] for p in (full[steps], half[steps])),
        ]
        for steps in sorted(full.keys() & half.keys())
    ]
    head = [
        "steps",
        "float32",
        "bf16",
        *(f"{k}, {p}" for k in ("pixel AUROC", "AU-PRO") for p in ("float32", "bf16")),
    ]
    return markdown(head, rows)


def latency() -> str:
    """One row for each engine: a picture, pictures in fours, a strip."""
    r = result("inspect_latency")
    picture, strip = r["picture"], r["strip"]
    rows = []
    for key, name in ENGINES.items():
        cells = [
            f"{p['ms'][key]} ms ({p['times_faster_than_torch_eager'][key]}x)"
            for p in (picture, strip)
        ]
        rows.append([name, *cells, f"{picture['pictures_per_second'][key]}"])
    sizes = [f"{p['size'][1]}x{p['size'][0]}" for p in (picture, strip)]
    head = [
        "engine", *(f"{s} (times faster than torch eager)" for s in sizes),
        f"{sizes[0]} a second, in fours",
    ]  # fmt: skip
    return markdown(head, rows)


def choices() -> str:
    """One row for each way of tiling."""
    rows = [
        [
            f"`blend={c['blend']}`, `stride={c['stride']}`",
            *(f"{c[k]:.3f}" for k in QUALITY),
            *(
                f"{c[f'{e}_ms']} ms ({c[f'{e}_share_of_stride_32']:.0%})"
                for e in ("onnxruntime", "openvino")
            ),
        ]
        for c in result("inspect_latency")["choices"]
    ]
    head = ["choice", "pixel AUROC", "AU-PRO", "image AUROC", "ONNX Runtime", "OpenVINO"]
    return markdown(head, rows)


def int8() -> str:
    """One row for each precision: time on both engines, quality, size."""
    r = result("inspect_latency")["int8"]
    rows = [
        [
            precision,
            *(f"{r['ms'][f'{e} {precision}']} ms" for e in ("onnxruntime", "openvino")),
            *(f"{r['quality'][precision][k]:.3f}" for k in QUALITY),
            f"{r['bytes'][precision] / 2**20:.1f} MiB",
        ]
        for precision in ("float32", "int8")
    ]
    head = [
        "precision", "ONNX Runtime", "OpenVINO", "pixel AUROC", "AU-PRO", "image AUROC", "file",
    ]  # fmt: skip
    return markdown(head, rows)


def start_and_memory() -> str:
    """One row for each command."""
    r = result("start_and_memory")
    names = {
        "`ssim-ae --help`": r["start_up"]["help"],
        "`ssim-ae inspect`, one picture": r["start_up"]["inspect_one"],
        "training, reference settings, batch 128, 78 steps": r["training"][
            "reference_texture_batch_128"
        ],
        **{f"evaluation of {n} pictures": m for n, m in r["evaluation"].items()},
        **{
            f"`inspect` of 20,000x20,000, {n}": m
            for n, m in {**r["large_picture"], **r["large_picture_written"]}.items()
        },
    }
    rows = [[n, f"{m['seconds']:.2f} s", f"{m['peak_mib']:.0f} MiB"] for n, m in names.items()]
    return markdown(["command", "time", "peak memory"], rows)


TABLES: dict[str, Callable[[], str]] = {
    f.__name__: f
    for f in (
        main_path,
        quality,
        detector_latency,
        ranks,
        ablation,
        pretraining,
        deployment,
        installation,
        train_step,
        precision,
        time_to_quality,
        latency,
        choices,
        int8,
        start_and_memory,
    )
}


if __name__ == "__main__":
    main()
