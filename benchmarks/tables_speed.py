"""Time and memory as tables; see tables.py."""

from __future__ import annotations

from typing import Any

from results_as_text import QUALITY, markdown, result

WAYS = {
    "torch_plain": "torch eager, written plainly",
    "torch_eager": "torch eager",
    "torch_channels_last": "torch eager, channels last",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "openvino:bf16": "OpenVINO in bf16",
}

REFERENCE_STEPS = 15_600  # 200 epochs of 10,000 patches in batches of 128


def train_step() -> str:
    """One row for each size of network and batch."""
    return steps_of("train_step")


def train_step_avx2() -> str:
    """The first of these rows on another processor, beside MindSpore."""
    return steps_of("train_step_avx2")


def steps_of(file: str) -> str:
    r = result(file)
    rows = []
    for name, part in {"128x128x1, batch 128": r, **r.get("others", {})}.items():
        others = [
            f"{part[f'{who}_patches_per_second']} ({part[f'speedup_over_{who}']}x)"
            if f"{who}_patches_per_second" in part
            else "-"
            for who in ("plain", "msssim", "mindspore", "mindspore_as_installed")
        ]
        half = str(part.get("bf16_patches_per_second", "-"))
        rows.append([
            name, str(part["patches_per_second"]), *others, half, str(part["sgemm_gflops"]),
            f"{part['fraction_of_roof']:.0%}",
        ])  # fmt: skip
    head = [
        "patches per second", "ours", "plain (ours is ... times faster)", "with pytorch-msssim",
        "MindSpore", "MindSpore as installed", "ours in bf16", "sgemm GFLOP/s",
        "ours, of the roof",
    ]  # fmt: skip
    return markdown(head, rows)


def time_to_quality() -> str:
    """One row for each curve that is long enough, beside the reference's own schedule."""
    summary = result("time_to_quality")["summary"]
    longest = summary["reference-texture"]["longest"]  # its rate is constant: steps take alike
    schedule = REFERENCE_STEPS * longest["seconds"] / longest["steps"]
    rows = []
    for name, s in summary.items():
        keys = ("close_to_ten_times_as_long", "that_training", "longest")
        if all(s[key] for key in keys):
            close = s["close_to_ten_times_as_long"]
            rows.append(
                [name, *(point(s[key]) for key in keys), f"{schedule / close['seconds']:.0f}"]
            )
    head = [
        "training",
        "the shortest that is close to ten times as long",
        "that one",
        "the longest",
        f"the reference's {REFERENCE_STEPS:,} steps take ... times as long",
    ]
    return markdown(head, rows)


def point(p: dict[str, Any]) -> str:
    return f"{p['steps']} steps, {p['seconds']:.0f} s: {p['pixel_auroc']:.3f}"


def precision() -> str:
    """float32 beside bf16, at the lengths that both have."""
    curves = result("precision")["curves"]
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
    """One row for each engine: a picture, a strip, pictures in fours."""
    r = result("inspect_latency")
    picture, strip = r["picture"], r["strip"]
    rows = []
    for key, name in WAYS.items():
        if key not in picture["ms"]:
            continue
        cells = [
            f"{p['ms'][key]} ms ({p['times_faster_than_torch_plain'][key]}x)"
            for p in (picture, strip)
        ]
        two = picture["two_caches"]
        apart = f"{two['ms'][key]} ms" if two["cores"]["on_two_caches"] else "-"
        rows.append([name, *cells, f"{picture['pictures_per_second'][key]}", apart])
    sizes = [f"{p['size'][1]}x{p['size'][0]}" for p in (picture, strip)]
    head = [
        "engine", *(f"{s} (times faster than written plainly)" for s in sizes),
        f"{sizes[0]} a second, in fours", f"{sizes[0]} on cores without a common cache",
    ]  # fmt: skip
    return markdown(head, rows)


def latency_avx2() -> str:
    """One row for each engine, a picture."""
    picture = result("inspect_latency_avx2")["picture"]
    rows = [
        [name, f"{picture['ms'][key]} ms", f"{picture['times_faster_than_torch_plain'][key]}x"]
        for key, name in WAYS.items()
        if key in picture["ms"]
    ]
    size = f"{picture['size'][1]}x{picture['size'][0]}"
    return markdown(["engine", size, "times faster than written plainly"], rows)


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


def precisions() -> str:
    """One row for each precision: time on both engines, quality, size."""
    r = result("inspect_latency")["precisions"]
    rows = [
        [
            precision,
            *(
                f"{r['ms'][way]} ms" if (way := f"{e} {precision}") in r["ms"] else "-"
                for e in ("onnxruntime", "openvino")
            ),
            *(f"{r['quality'][precision][k]:.3f}" for k in QUALITY),
            f"{r['bytes'][precision] / 2**20:.1f} MiB",
        ]
        for precision in r["quality"]
    ]
    head = [
        "precision", "ONNX Runtime", "OpenVINO", "pixel AUROC", "AU-PRO", "image AUROC", "file",
    ]  # fmt: skip
    return markdown(head, rows)


def start_and_memory() -> str:
    """One row for each command."""
    r = {**result("large_pictures"), **result("start_and_memory")}
    names = {
        "`ssim-ae --help`": r["start_up"]["help"],
        "`ssim-ae inspect`, one picture": r["start_up"]["inspect_one"],
        "training, reference settings, batch 128, 78 steps": r["training"][
            "reference_texture_batch_128"
        ],
        **{f"evaluation of {n} pictures": m for n, m in r["evaluation"].items()},
        **{
            f"`inspect` of 20,000x20,000: {n[6:].replace('_', ' ')}": m
            for n, m in r.items()
            if n.startswith("large_")
        },
    }
    rows = [[n, f"{m['seconds']:.2f} s", f"{m['peak_mib']:.0f} MiB"] for n, m in names.items()]
    return markdown(["command", "time", "peak memory"], rows)


def shared_machine() -> str:
    """Steps a second of all trainings together."""
    r = result("shared_machine")
    ways = list(r["steps_per_second"]["alone"])
    rows = [
        [company, *(f"{speeds[way]:.2f}" for way in ways)]
        for company, speeds in r["steps_per_second"].items()
    ]
    return markdown(["steps a second, together", *(f"threads that wait: {w}" for w in ways)], rows)


def export_time() -> str:
    """Ours beside all of torch's exporter."""
    r = result("export_time")
    rows = [
        [
            f"`{name}`, {row['color']}",
            f"{row['seconds']['short']:.1f} s",
            f"{row['seconds']['exporters_own']:.1f} s ({row['times_faster']:.1f}x)",
            f"{row['sgemm_gflops']:.0f}",
        ]
        for name, row in r.items()
        if name != "machine"
    ]
    return markdown(["graph of", "ours", "all of torch's exporter", "sgemm GFLOP/s"], rows)
