"""One HTML page with the figures and the pictures worth looking at; pictures inside the file."""

from __future__ import annotations

import base64
import json
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssim_ae.data.images import Pixels
from ssim_ae.evaluation.conformal import promise
from ssim_ae.evaluation.evaluate import Evaluation, worth_showing
from ssim_ae.files import write_atomically
from ssim_ae.runtime.detector import Detector, Inspection
from ssim_ae.runtime.overlay import overlay

HEIGHT = 200  # of a picture on the page, pixels
LONGEST = 1024  # pictures are shrunk to this side before they go into the page


def write_report(evaluation: Evaluation, detector: Detector, dataset: Path) -> None:
    """Write ``report.html`` into the evaluation's folder."""
    from jinja2 import Environment

    metrics, record = evaluation.metrics, detector.record
    template = resources.files("ssim_ae.evaluation").joinpath("report.html").read_text()
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            dataset=dataset.resolve().name,
            counts=metrics["counts"],
            preset=record.settings.preset,
            engine=metrics["engine"],
            version=record.version,
            notes=evaluation.notes + record.warnings + evaluation.unreadable,
            table=_table(metrics),
            verdicts=_verdicts(metrics, detector),
            per_defect=metrics["per_defect"],
            choice=_choice(detector),
            pictures={
                title: [_figure(detector.inspect(test.file)) for test in tests]
                for title, tests in worth_showing(evaluation, detector.thresholds.score).items()
            },
            height=HEIGHT,
        )
    )
    write_atomically(evaluation.folder / "report.html", page.encode(errors="backslashreplace"))


def _table(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    control = metrics["baselines"]["no_model"] or {}
    names = {
        "pixel_auroc": "pixel AUROC",
        "aupro_30": "AU-PRO (up to 30 % false positives)",
        "aupro_05": "AU-PRO (up to 5 %)",
        "pixel_ap": "pixel AP",
        "image_auroc": "image AUROC",
        "image_ap": "image AP",
    }
    return [(name, number(metrics[key]), number(control.get(key))) for key, name in names.items()]


def _verdicts(metrics: dict[str, Any], detector: Detector) -> list[tuple[str, str, str]]:
    at, baselines = metrics["at_threshold"], metrics["baselines"]
    calibration = detector.record.calibration
    promised = ""
    if calibration is not None:
        promised = f"promised: {promise(calibration)}"
    rows = [
        ("threshold", number(at["threshold"]), "a picture that scores higher is defective"),
        ("false-reject rate", number(at["false_reject_rate"]), promised),
        ("recall", number(at["recall"]), "defective pictures found (nok)"),
        ("ok", number(at["ok"]), "good pictures accepted"),
        ("acc", number(at["acc"]), "right verdicts among all"),
        (
            "acc of calling all defective",
            number(baselines["all_defective_acc"]),
            "control: what no detector at all would get",
        ),
        (
            "image AUROC of brightness",
            number(baselines["brightness_image_auroc"]),
            "control: near 1 means that the labels can be read off the mean grey",
        ),
        (
            "pixel ok / nok / acc",
            " / ".join(number(metrics["reference_pixel"][k]) for k in ("ok", "nok", "acc")),
            "defect pixels found / good pixels kept / right, over defective pictures",
        ),
    ]
    for level in ("image_level", "pixel_level") if "zoo" in metrics else ():
        numbers = metrics["zoo"][level]
        shares = " / ".join(number(numbers[k]) for k in ("ok", "nok", "acc"))
        rows.append((f"zoo's rule, {level.replace('_', ' ')}", shares, "ok / nok / acc"))
    return rows


def _choice(detector: Detector) -> dict[str, Any] | None:
    """How training weighed the maps, best candidate first; None where nothing was chosen, or the
    file beside the detector is another one's."""
    residual = detector.record.settings.residual
    taken = {term.kind: term.weight for term in residual.terms}, _blur(residual.model_dump())
    try:
        choice = json.loads((detector.file.parent / "choice.json").read_text())
        if taken not in [(r["weights"], _blur(r)) for r in choice["candidates"] if r["chosen"]]:
            return None
        terms = [term["kind"] for term in choice["residual"]["terms"]]
        rows = [
            {
                "weights": [f"{row['weights'].get(term, 0):g}" for term in terms],
                "blur": _blur(row),
                "figures": [number(row[k]) for k in ("aupro_30", "pixel_auroc", "image_auroc")],
                "chosen": row["chosen"],
            }
            for row in sorted(choice["candidates"], key=lambda row: -row["aupro_30"])
        ]
        return {
            "kind": choice["kind"], "unevenness": number(choice["unevenness"]),
            "terms": terms, "rows": rows,
        }  # fmt: skip
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # not made by this version's train: nothing to show
        return None


def _blur(row: dict[str, Any]) -> str:
    """Sigma and share of a candidate's last blur."""
    if row["smooth"] is None:
        return "-"
    share = row.get("smooth_share", 1.0)  # older runs know no other
    return f"{row['smooth']:g} px" + ("" if share == 1 else f", {share:.0%}")


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def _figure(inspection: Inspection) -> dict[str, str]:
    caption = (
        f"{Path(inspection.source).parent.name}/{Path(inspection.source).name}: score "
        f"{inspection.score:.3f}, threshold {inspection.thresholds.score:.3f}"
    )
    return {"data": _png(_side_by_side(inspection)), "caption": caption}


def _side_by_side(inspection: Inspection) -> Pixels:
    height, width = inspection.picture.shape[:2]
    axis = 0 if width > 2 * height else 1
    factor = min(1.0, LONGEST / max((height, 2 * width) if axis else (2 * height, width)))
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    # each by itself: two line scans beside each other would not fit in memory
    parts = [
        Image.fromarray(pixels).resize(size, Image.Resampling.BOX).convert("RGB")
        for pixels in (inspection.picture, overlay(inspection))
    ]
    return np.concatenate([np.asarray(part) for part in parts], axis=axis)


def _png(pixels: Pixels) -> str:
    image = Image.fromarray(pixels)
    stream = BytesIO()
    image.save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()
