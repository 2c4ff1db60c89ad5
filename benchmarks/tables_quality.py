"""What is found on real pictures, as tables; see tables.py."""

from __future__ import annotations

from statistics import median
from typing import Any

from results_as_text import QUALITY, markdown, mean, result, spread


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
    """Two rows for each set: mean and spread over the seeds (median of seconds), by how the network
    was computed."""
    return quality_of({"bf16": "runs", "float32": "runs_float32"})


def quality_in_280_steps() -> str:
    """The same of short trainings."""
    return quality_of({"280 steps, bf16": "runs_280_steps"})


def other_pictures() -> str:
    """The default command on sets that were made of the four."""
    rows = []
    found = result("other_pictures")
    for name, run in found["runs"].items():
        m, pictures = run["metrics"], run["pictures"]
        before, control = found["runs_highest_alone"][name]["metrics"], m["baselines"]["no_model"]
        rows.append([
            name,
            f"{pictures['train']}; {pictures['good']}, {pictures['defective']}",
            " / ".join(f"{m[k]:.3f}" for k in QUALITY),
            decided(m),
            f"{before['image_auroc']:.3f}, {decided(before)}",
            " / ".join(f"{control[k]:.3f}" for k in QUALITY),
        ])  # fmt: skip
    head = [
        "pictures", "to train on; good, defective", "pixel AUROC / AU-PRO / image AUROC",
        "recall at false rejects (asked 0.05)", "image AUROC and recall by the maximum alone",
        "no model",
    ]  # fmt: skip
    return markdown(head, rows)


def decided(metrics: dict[str, Any]) -> str:
    """What the threshold made of the test pictures."""
    at = metrics["at_threshold"]
    return f"{at['recall']:.3f} at {at['false_reject_rate']:.3f}"


def quality_of(parts: dict[str, str]) -> str:
    """A row for each set and part of quality.json, by what the part is called."""
    rows = []
    for name in result("quality")["runs"]:
        for label, part in parts.items():
            runs = result("quality")[part][name].values()
            metrics = [run["metrics"] for run in runs]
            control = [m["baselines"]["no_model"] for m in metrics]
            at = [m["at_threshold"] for m in metrics]
            brightness = metrics[0]["baselines"]["brightness_image_auroc"]
            rows.append([
                f"{name}, {label}, {len(runs)} seeds",
                f"{median(r['seconds']['train_command'] for r in runs):.0f} s",
                *(spread(m[k] for m in metrics) for k in QUALITY),
                *(spread(a[k] for a in at) for k in ("recall", "false_reject_rate")),
                " / ".join(f"{mean(c[k] for c in control):.3f}" for k in QUALITY),
                f"{brightness:.3f}",
            ])  # fmt: skip
    head = [
        "set", "`train` took", "pixel AUROC", "AU-PRO (30 %)", "image AUROC", "recall",
        "false rejects (asked 0.05)", "no model: pixel / AU-PRO / image",
        "brightness alone: image AUROC",
    ]  # fmt: skip
    return markdown(head, rows)


def controls() -> str:
    """One row for each set: what no model finds, without and with what is done to the map at last,
    beside the trained one, whose map has the same done to it."""
    rows = []
    for name, alone in result("quality")["filters_alone"].items():
        runs = result("quality")["runs"][name]
        metrics = [runs[seed]["metrics"] for seed in alone]
        columns = [
            list(alone.values()), [m["baselines"]["no_model"] for m in metrics], metrics
        ]  # fmt: skip
        rows.append([
            f"{name}, {len(metrics)} seeds",
            *(" / ".join(f"{mean(m[k] for m in found):.3f}" for k in QUALITY) for found in columns),
        ])  # fmt: skip
    head = [
        "set",
        "no model: the filters alone",
        "no model, clipped, surroundings, blur, mean",
        "trained",
    ]
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
            kept = true[usual(candidates)]
            found.append((spearmanr(worth, true)[0], chosen, kept, max(true), min(true)))
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


def left_out() -> str:
    """Each set in turn: the candidate that the other set of its kind would have settled."""
    ranks = result("quality")["ranks"]
    found = {name: averaged(runs) for name, runs in ranks.items()}
    rows = []
    for name, candidates in found.items():
        others = [o for o in found if o != name and usual(found[o]) == usual(candidates)]
        picked = [usual(candidates)]
        picked += [best(found[n], confounded=n == "screw") for n in (*others[:1], name)]
        cells = [
            " / ".join(f"{candidates[i]['test'][k]:.3f}" for k in QUALITY)
            + ("" if i == picked[0] else f" ({described(candidates[i])})")
            for i in picked
        ]
        rows.append([name, *(cells if others else [cells[0], "-", cells[1]])])
    head = ["set", "usual weights", "settled by the other set of its kind", "best on itself"]
    return markdown(head, rows)


def memory() -> str:
    """One row for each set whose run kept a memory: the usual weights without and with it."""
    rows = []
    for name, runs in result("quality")["ranks"].items():
        candidates = averaged(runs)
        kept = candidates[usual(candidates)]
        if "memory" not in kept["weights"]:
            continue
        others = {k: v for k, v in kept["weights"].items() if k != "memory"}
        (without,) = (
            c
            for c in candidates
            if c["weights"] == others and c["smooth_share"] == kept["smooth_share"]
        )
        rows.append([
            name, *(" / ".join(f"{c['test'][k]:.3f}" for k in QUALITY) for c in (without, kept))
        ])  # fmt: skip
    return markdown(["set", "without", "with the memory"], rows)


def surround() -> str:
    """The usual weights without and with the surroundings subtracted."""
    return _without_and_with("surround", "surroundings subtracted")


def clipped() -> str:
    """The usual weights on pictures as they are and on clipped ones."""
    return _without_and_with("clipped", "pictures clipped")


def smoothed() -> str:
    """The usual weights without the last blur and with a share of it."""
    return _without_and_with("smoothed", "a third blurred")


def placed() -> str:
    """Generated defects about places inside the patch, and at its border as well."""
    return _two_ways(
        {"inside": "runs_defects_inside", "as often at the border": "runs_not_blurred"}
    )


def drawn() -> str:
    """Patches: of two the one with more structure, and every one."""
    structured = "runs_highest_alone"  # as drawn evenly, before means counted to scores
    return _two_ways(
        {"the more structured of two": structured, "drawn evenly": "runs_drawn_evenly"}
    )


def as_a_whole() -> str:
    """Scores of the map's maximum alone, and of its mean as well."""
    return _two_ways(
        {"the maximum alone": "runs_highest_alone", "the mean as well": "runs_units_of_few"}
    )


def units() -> str:
    """Maps measured on few pictures, all fresh, and on many, most of them trained on."""
    return _two_ways({"fresh ones alone": "runs_units_of_few", "trained ones as well": "runs"})


def grouped() -> str:
    """Held out: whole strips, and tiles of strips that were trained on."""
    return _two_ways({"each tile for itself": "runs_without_group", "whole strips": "runs"})


def _two_ways(parts: dict[str, str]) -> str:
    """One row for each set of both: the seeds that were trained in two ways."""
    found = {label: result("quality")[part] for label, part in parts.items()}
    first, second = found.values()
    rows = []
    for name in [name for name in second if name in first]:
        seeds = [seed for seed in second[name] if seed in first[name]]
        cells = []
        for part in found.values():
            metrics = [part[name][seed]["metrics"] for seed in seeds]
            areas = " / ".join(f"{mean(m[k] for m in metrics):.3f}" for k in QUALITY)
            at = [m["at_threshold"] for m in metrics]
            recall, rejected = (mean(a[k] for a in at) for k in ("recall", "false_reject_rate"))
            cells.append(f"{areas}, {recall:.3f} at {rejected:.3f}")
        rows.append([f"{name}, {len(seeds)} seeds", *cells])
    return markdown(["set", *found], rows)


def _without_and_with(part: str, head: str) -> str:
    """One row for each set, the same trainings without and with a part."""
    rows = []
    for name, runs in result("quality")[part].items():
        found = runs.values()
        rows.append([
            f"{name}, {len(runs)} seeds",
            *(" / ".join(f"{mean(r[how][k] for r in found):.3f}" for k in QUALITY)
              for how in ("without", "with")),
        ])  # fmt: skip
    return markdown(["set", "without", head], rows)


def averaged(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The candidates with the mean of their results on the test pictures over the seeds."""
    return [
        {**same[0], "test": {k: mean(c["test"][k] for c in same) for k in QUALITY}}
        for same in zip(*runs.values(), strict=True)
    ]


def best(candidates: list[dict[str, Any]], confounded: bool) -> int:
    """By the mean of the three areas on the test pictures; of two where brightness tells labels."""
    kept = QUALITY[:2] if confounded else QUALITY
    return max(range(len(candidates)), key=lambda i: mean(candidates[i]["test"][k] for k in kept))


def usual(candidates: list[dict[str, Any]]) -> int:
    """Which of the candidates has the usual weights of the set's kind."""
    return next(i for i, c in enumerate(candidates) if c["usual"])


def described(candidate: dict[str, Any]) -> str:
    """Weights beside the head's 1."""
    weights = candidate["weights"]
    blur = ", blurred" if candidate["smooth_share"] == 1 else ""
    memory = f", memory {weights['memory']:g}" if "memory" in weights else ""
    return f"filters {weights.get('band', 0):g}, rarity {weights.get('rarity', 0):g}{memory}{blur}"


def features() -> str:
    """One row for each set: whether ImageNet features were taken, and what came of it."""
    rows = []
    for name, variants in result("features")["runs"].items():
        row = next(iter(variants["features"].values()))
        default = [run["metrics"] for run in result("quality")["runs"][name].values()]
        rows.append([
            name,
            "yes" if "features" in row["weights"] else "no",
            *(f"{row['metrics'][k]:.3f} ({mean(m[k] for m in default):.3f})" for k in QUALITY),
            decided(row["metrics"]),
            f"{row['seconds']['train_command']:.0f} s",
            f"{row['latency']['engines']['onnxruntime']['latency_ms']} ms",
            f"{row['detector_megabytes']} MB",
        ])  # fmt: skip
    head = [
        "set", "taken", "pixel AUROC (default)", "AU-PRO (default)", "image AUROC (default)",
        "recall at false rejects", "train command", "a picture, ONNX Runtime", "detector",
    ]  # fmt: skip
    return markdown(head, rows)


def evenness() -> str:
    """Of generated worlds, and of the real sets, which did not decide."""
    found = result("evenness")
    rows = [
        [f"generated {kind}s", str(row["number"]), *(f"{q:.2f}" for q in row["quantiles_10_50_90"])]
        for kind, row in found["worlds"].items()
    ]
    rows += [[name, "1", "-", f"{value:.2f}", "-"] for name, value in found["real"].items()]
    right = found["told_right"][str(found["border"])]
    rows.append([f"told right at {found['border']}", f"{right:.0%}", "-", "-", "-"])
    return markdown(["worlds", "number", "10 %", "median", "90 %"], rows)


def ablation() -> str:
    """One row for each set and variant."""
    rows = [
        [name, variant, *(f"{r[k]:.3f}" for k in ("held_out_loss", "contrast", *QUALITY))]
        for name, variants in result("ablation")["sets"].items()
        for variant, r in variants.items()
    ]
    head = ["set", "variant", "held-out loss", "contrast", "pixel AUROC", "AU-PRO", "image AUROC"]
    return markdown(head, rows)


def repeated() -> str:
    """One row for each set and variant: mean and spread over the seeds."""
    rows = []
    for name, runs in result("ablation")["repeated"].items():
        for variant in dict.fromkeys(key.rpartition(", seed ")[0] for key in runs):
            of_it = [r for key, r in runs.items() if key.rpartition(", seed ")[0] == variant]
            keys = ("held_out_loss", *QUALITY)
            rows.append([name, variant, *(spread(r[k] for r in of_it) for k in keys)])
    head = ["set, 3 seeds", "variant", "held-out loss", "pixel AUROC", "AU-PRO", "image AUROC"]
    return markdown(head, rows)


def pretraining() -> str:
    """One row for each set and length: from random weights, and from the package's."""
    rows = []
    for name, lengths in result("pretraining")["sets"].items():
        for length, starts in lengths.items():
            random, pretrained = starts["random"], starts["pretrained"]
            keys = ("held_out_loss", *QUALITY)
            rows.append([
                name, length.split(",")[0],
                *(f"{random[k]:.3f} / {pretrained[k]:.3f}" for k in keys)
            ])  # fmt: skip
    head = ["set", "training", "held-out loss", "pixel AUROC", "AU-PRO (30 %)", "image AUROC"]
    return markdown(head, rows)
