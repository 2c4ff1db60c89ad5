"""The settings: one pydantic model, YAML in and out, presets, ``key=value`` changes.

Files in the zoo's own key names load too (see zoo_config). Everything wrong is reported at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssim_ae import zoo_config
from ssim_ae.errors import SettingsError
from ssim_ae.files import write_atomically

PRESETS = (
    "auto",
    "texture",
    "object",
    "autoencoder",
    "fast",
    "reference-texture",
    "reference-object",
)
CELL = 16  # pixels to one feature at the joint network's bottleneck
Probability = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class AugmentSettings(_Section):
    """What happens to a training patch, each with its probability."""

    rotate_angle: float = Field(
        default=45.0, ge=0, le=180, description="degrees, drawn from +-angle"
    )
    p_rotate: Probability = 0.3
    p_horizontal_flip: Probability = 0.3
    p_vertical_flip: Probability = 0.3


class ResidualTerm(_Section):
    """One kind of difference between picture and reconstruction."""

    kind: Literal["ssim", "l1", "gradient", "band", "head", "rarity"]
    window: int = Field(11, ge=1, le=127, description="uniform window, pixels, odd")
    sigma: float | None = Field(None, gt=0, le=18, description="Gaussian window instead, pixels")
    weight: float = Field(1.0, gt=0)
    offset: float = Field(0.0, description="subtracted from the map ...")
    scale: float = Field(1.0, gt=0, description="... before it is divided by this")

    @model_validator(mode="after")
    def _odd(self) -> ResidualTerm:
        if self.window % 2 == 0:
            raise ValueError(f"window is {self.window}, but a centred window needs an odd number")
        if self.kind == "band" and self.sigma is None:
            raise ValueError("a residual of kind band needs sigma, its fine end in pixels")
        return self


class ResidualSettings(_Section):
    """How picture and reconstruction become one map."""

    terms: list[ResidualTerm] = Field(min_length=1)
    combine: Literal["sum", "max"] = "sum"
    smooth: float | None = Field(None, gt=0, le=18, description="Gaussian blur at last, pixels")


class ZooSettings(_Section):
    """The zoo's thresholds and post-processing, for its own ok / nok / acc numbers."""

    percent: float = Field(98.0, ge=0, le=100, description="percentile of training residuals")
    ssim_threshold: float | None = Field(None, gt=0, description="fixed; else by percent")
    l1_threshold: float | None = Field(None, gt=0, description="fixed; else by percent")
    bg_mask: Literal["B", "W"] | None = Field(None, description="black or white background")
    image_level: bool = True
    border: int = Field(5, ge=0, description="frame in pixels ...")
    border_weight: Probability = 0.2
    opening: int = Field(4, ge=0, description="radius of the disk, pixels")


class Settings(_Section):
    """Every setting of a training and of the detector it makes."""

    preset: str = "auto"
    network: Literal["reference", "joint"] = "reference"
    color: Literal["auto", "grey", "rgb"] = Field(
        "grey", description="auto: rgb when the training pictures are coloured"
    )
    resize: int | None = Field(256, ge=11, description="short side in pixels; none keeps the size")
    centre_crop: int | None = Field(None, ge=11, description="pixels, after resize")
    tile: Literal[128, 256] = Field(128, description="side of a patch, and of a tile")
    stride: int = Field(32, ge=1, le=256)
    blend: Literal["pixels", "features"] = "pixels"
    latent: int = Field(100, ge=1, le=4096)
    first_layer_channels: int = Field(32, ge=1, le=512)
    initialization: Literal["xavier", "kaiming"] = "xavier"
    augment: AugmentSettings = AugmentSettings()
    steps: int = Field(600, ge=1)
    batch_size: int = Field(32, ge=1, le=4096)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    weight_decay: float = Field(1e-5, ge=0, le=1)
    clip_gradient: float | None = Field(None, gt=0, description="largest norm; none: no clipping")
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "float32", description="auto: bf16 where the device multiplies it in hardware"
    )
    device: Literal["auto", "cpu"] = "auto"
    seed: int = Field(0, ge=0, lt=2**31)
    residual: ResidualSettings
    choose: bool = Field(
        False, description="weights and smoothing of the residual, on generated defects"
    )
    held_out: float = Field(0.2, gt=0, le=0.5, description="share of the good pictures")
    false_reject_rate: float = Field(0.05, gt=0, lt=1)
    pixel_false_reject_rate: float = Field(0.002, gt=0, lt=1)
    group: str | None = Field(None, description="regular expression on file names")
    zoo: ZooSettings | None = None

    @model_validator(mode="after")
    def _fit(self) -> Settings:
        size = self.centre_crop or self.resize
        if self.centre_crop and self.resize and self.centre_crop > self.resize:
            raise ValueError(
                f"centre_crop is {self.centre_crop}, larger than resize {self.resize}: lower it"
            )
        if size is not None and size < self.tile:
            raise ValueError(
                f"tile is {self.tile}, larger than the working size {size}: "
                "raise resize or centre_crop, or lower tile"
            )
        if not self.tile // 16 <= self.stride <= self.tile:
            raise ValueError(
                f"stride is {self.stride}, but tiles of {self.tile} need {self.tile // 16} "
                f"to {self.tile} (smaller ones do not fit in memory)"
            )
        joint_only = any(term.kind in ("head", "rarity") for term in self.residual.terms)
        if self.network == "reference" and (joint_only or self.choose):
            raise ValueError("residuals of kind head and rarity, and choose, need network=joint")
        kinds = [term.kind for term in self.residual.terms]
        known = {"head", "gradient", "band", "rarity"}
        if self.choose and not ("head" in kinds and set(kinds) <= known):
            raise ValueError(
                "choose weighs head against gradient, band and rarity: let residual.terms hold "
                "head and some of these, or set choose=false"
            )
        if self.choose and len(set(kinds)) < len(kinds):
            raise ValueError("choose takes each kind of residual once: remove one, or choose=false")
        # the kinds that halve the picture must halve blocks of large pictures at the same places
        cell = max({"gradient": 8, "band": 2}.get(kind, 1) for kind in kinds)
        if self.network == "reference" and self.stride % cell:
            raise ValueError(
                f"stride is {self.stride}, but this residual needs a multiple of {cell}"
            )
        if self.network == "joint" and self.zoo:
            raise ValueError("the zoo rule belongs to network=reference: leave zoo out")
        if self.blend == "features" and self.stride % (self.tile // 8):
            raise ValueError(
                f"stride is {self.stride}, but blend=features with tiles of {self.tile} needs a "
                f"multiple of {self.tile // 8}"
            )
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """(side of a tile, step between them) of inspection; the joint network has no tiles."""
        return (CELL, CELL) if self.network == "joint" else (self.tile, self.stride)

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3


def preset(name: str) -> dict[str, Any]:
    """The values of a named preset."""
    if name not in PRESETS:
        raise SettingsError(f"preset {name!r} is unknown: {_nearest(name, PRESETS)}")
    text = resources.files("ssim_ae.presets").joinpath(f"{name}.yaml").read_text()
    return {"preset": name, **yaml.safe_load(text)}


def load_settings(
    preset_name: str | None = None,
    file: str | Path | None = None,
    changes: Sequence[str | tuple[str, Any]] | Mapping[str, Any] = (),
) -> tuple[Settings, list[str]]:
    """Settings from a preset or a YAML file, then ``key=value`` changes on top.

    A change is ``key=value`` text, or a pair. A file in the zoo's key names is translated. Returns
    the settings and a line for every zoo key that does not act here.

    Raises:
        SettingsError: unreadable file, unknown key (names the nearest), value out of range; the
            message lists all of them.
    """
    notes: list[str] = []
    problems: list[str] = []
    values: dict[str, Any] = {}
    if file is not None:
        values = _read_yaml(Path(file))
        if zoo_config.speaks_zoo(values):
            if preset_name is not None:
                raise SettingsError(
                    f"{file} is in the zoo's key names, which choose their own preset: leave "
                    f"--preset {preset_name} out"
                )
            known, notes, problems = zoo_config.translate(values)
            base = preset(known.pop("preset"))
            values = _merge(base, known)
        else:
            values = _merge(preset(preset_name or str(values.get("preset", "auto"))), values)
    else:
        values = preset(preset_name or "auto")
    for key, value in _pairs(changes, problems):
        _assign(values, key, value, problems)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [_explain(e) for e in error.errors()]
    if problems:
        raise SettingsError("; ".join(problems))
    return settings, notes


def resolved_settings(file: Path) -> Settings:
    """What ``save_settings`` wrote, by itself: presets may have changed since.

    Raises:
        SettingsError: unreadable, or not such a file.
    """
    try:
        return Settings.model_validate(_read_yaml(file))
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(e) for e in error.errors())) from None


def save_settings(settings: Settings, file: Path, version: str) -> None:
    """Write every setting, resolved, as YAML that ``load_settings`` reads back."""
    body = yaml.safe_dump(settings.model_dump(), sort_keys=False)
    write_atomically(file, f"# ssim-ae {version}; every setting, resolved\n{body}".encode())


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror}): check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = str(error).replace("\n", " ")
        raise SettingsError(f"{file}: is not YAML ({line}): correct it") from None
    first = documents[0] if documents else None  # the zoo appends help texts as more documents
    if not isinstance(first, dict):
        raise SettingsError(f"{file}: holds no settings: write 'key: value' lines")
    return {str(k): v for k, v in first.items()}


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(dict(merged[key]), value)
        else:
            merged[key] = value
    return merged


def _pairs(
    changes: Sequence[str | tuple[str, Any]] | Mapping[str, Any], problems: list[str]
) -> Iterator[tuple[str, Any]]:
    if isinstance(changes, Mapping):
        yield from changes.items()
        return
    for text in changes:
        if not isinstance(text, str):
            yield text
            continue
        key, sign, value = text.partition("=")
        if not sign:
            problems.append(f"--set {text!r}: write key=value")
            continue
        try:
            parsed = yaml.safe_load(value)
            if isinstance(parsed, str):  # YAML 1.1 reads 2e-4 as text; "none" is no YAML word
                parsed = None if parsed.lower() == "none" else _number(parsed)
        except (yaml.YAMLError, ValueError, RecursionError):
            problems.append(f"--set {text!r}: the value is not YAML")
            continue
        yield key.strip(), parsed


def _number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _assign(values: dict[str, Any], key: str, value: Any, problems: list[str]) -> None:
    """Set ``a.b.0.c`` inside nested dicts and lists."""
    *path, last = key.split(".")
    node: Any = values
    try:
        for part in path:
            if isinstance(node, dict):
                if node.get(part) is None:
                    node[part] = {}
                node = node[part]
            else:
                node = node[int(part)]
        node[last if isinstance(node, dict) else int(last)] = value
    except (ValueError, IndexError, TypeError):
        problems.append(f"--set {key}: there is no such place in the settings")


def _explain(error: Any) -> str:
    where = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        section: Any = Settings
        for part in error["loc"][:-1]:
            section = _section_of(section, part)
        return f"{where} is no setting: {_nearest(str(error['loc'][-1]), section.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    if not where:
        return str(message)
    return f"{where} is {error['input']!r}: {message[0].lower()}{message[1:]}"


_SECTIONS: dict[str, type[BaseModel]] = {
    "augment": AugmentSettings,
    "residual": ResidualSettings,
    "terms": ResidualTerm,
    "zoo": ZooSettings,
}


def _section_of(section: Any, part: str | int) -> Any:
    return section if isinstance(part, int) else _SECTIONS[part]


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
