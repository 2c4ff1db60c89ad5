"""The model zoo's configuration keys (SSIM-AE, MindSpore) translated into our settings.

Each key acts, or is answered with one line that says why not.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

# zoo key -> our key, where the value carries over as it is
DIRECT = {
    "im_resize": "resize",
    "rotate_angle": "augment.rotate_angle",
    "p_rotate": "augment.p_rotate",
    "p_ratate": "augment.p_rotate",  # the zoo's own spelling
    "p_horizontal_flip": "augment.p_horizontal_flip",
    "p_vertical_flip": "augment.p_vertical_flip",
    "z_dim": "latent",
    "batch_size": "batch_size",
    "lr": "learning_rate",
    "decay": "weight_decay",
    "flc": "first_layer_channels",
    "stride": "stride",
    "percent": "zoo.percent",
    "image_level": "zoo.image_level",
}
_CHECKPOINT = "no effect on settings: name the checkpoint as --init-from FILE.ckpt"
_CLOUD = "no effect: datasets and runs are local folders; pass them as DATASET and --output"
_PATH = "no effect: name the dataset as DATASET and the run as --output on the command line"
_EVAL = "no effect: nothing is evaluated while training, since test pictures must choose nothing"
ANSWERED = {
    "distribute": "no effect: `torchrun --nproc_per_node N -m ssim_ae train ...` starts processes",
    "model_arts": _CLOUD,
    "data_url": _CLOUD,
    "train_url": _CLOUD,
    "checkpoint_url": _CLOUD,
    "cache_ckpt_file": _CLOUD,
    "checkpoint_path": _CHECKPOINT,
    "chcekpoint_path": _CHECKPOINT,
    "ckpt_file": _CHECKPOINT,
    "load_ckpt_path": _CHECKPOINT,
    "dataset": _PATH,
    "dataset_path": _PATH,
    "train_data_dir": _PATH,
    "test_dir": _PATH,
    "gt_dir": _PATH,
    "sub_folder": _PATH,
    "tmp": _PATH,
    "save_dir": "no effect: say where with `evaluate --output`",
    "aug_dir": "no effect: patches are cut in memory, none are written to disk",
    "online_aug": "no effect: patches are always cut while training",
    "img_suffix": "no effect: pictures of every known format are found by their suffix",
    "mask_suffix": "no effect: masks are found by the layout (<stem>_mask.png or <stem>.png)",
    "run_eval": _EVAL,
    "start_epoch": _EVAL,
    "eval_epochs": _EVAL,
    "interval": _EVAL,
    "p_crop": "no effect: every training patch is a random crop",
}
ACTING = {
    "grayscale", "do_aug", "augment_num", "crop_size", "epochs", "ssim_threshold", "l1_threshold",
    "bg_mask", "device_target", "data_augment",
}  # fmt: skip
_OURS = {"stride", "batch_size"}  # names that both sides use
KEYS = {*DIRECT, *ANSWERED, *ACTING}


def speaks_zoo(values: Mapping[str, Any]) -> bool:
    """Whether a YAML file is written in the zoo's key names."""
    return bool(set(values) & (KEYS - _OURS))


def translate(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Zoo values -> (ours, with ``preset`` set), lines about keys without effect, problems."""
    flat = dict(values)
    augment = flat.pop("data_augment", None) or {}  # nested in some of the zoo's versions
    problems: list[str] = []
    if isinstance(augment, Mapping):
        flat.update(augment)
    else:
        problems.append("data_augment is no section: write its keys below it")
    ours: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in flat.items():
        if key in DIRECT:
            _put(ours, DIRECT[key], value)
        elif key in ANSWERED:
            if value not in (None, "", False):
                notes.append(f"{key}: {ANSWERED[key]}")
        elif key not in ACTING:
            near = difflib.get_close_matches(key, sorted(KEYS), n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else "see docs/settings.md"
            problems.append(f"{key} is no setting of the zoo: {hint}")
    crop = flat.get("crop_size", 128)
    ours["preset"] = "reference-object" if crop == 256 else "reference-texture"
    ours["tile"] = crop
    resize = flat.get("im_resize", 256)
    ours.setdefault("resize", resize)
    margin = resize - crop if isinstance(resize, int) and isinstance(crop, int) else 0
    # as the zoo: a margin smaller than a stride is cropped off for inspection, not tiled
    stride = flat.get("stride", 32)
    small = isinstance(stride, int) and 0 < margin < stride  # what is no number is told later
    ours["centre_crop"] = crop if small else None
    ours["color"] = "grey" if flat.get("grayscale", False) else "rgb"
    if flat.get("do_aug") is False:
        for name in ("p_rotate", "p_horizontal_flip", "p_vertical_flip"):
            _put(ours, f"augment.{name}", 0.0)
        notes.append("do_aug: false switches rotation and flips off; patches stay random crops")
    _steps(flat, ours, problems)
    for key in ("ssim_threshold", "l1_threshold"):
        value = flat.get(key, -1)
        if not isinstance(value, int | float):
            problems.append(f"{key} is {value!r}: write a number, or -1 for the percentile")
        else:  # below 0 the zoo takes the percentile of the training residuals
            _put(ours, f"zoo.{key}", value if value > 0 else None)
    _put(ours, "zoo.bg_mask", flat.get("bg_mask") or None)
    device = flat.get("device_target", "CPU")
    ours["device"] = "cpu" if str(device).upper() == "CPU" else "auto"
    if ours["device"] == "auto":
        notes.append(f"device_target: {device} is used when present, else the CPU")
    return ours, notes, problems


def _steps(flat: Mapping[str, Any], ours: dict[str, Any], problems: list[str]) -> None:
    """The zoo counts epochs of ``augment_num`` patches, the last incomplete batch dropped."""
    counts = {
        "epochs": flat.get("epochs", 200),
        "augment_num": flat.get("augment_num", 10000),
        "batch_size": flat.get("batch_size", 128),
    }
    for key, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(f"{key} is {value!r}: write a whole number from 1 upwards")
            return
    ours["steps"] = counts["epochs"] * max(1, counts["augment_num"] // counts["batch_size"])


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[last] = value
