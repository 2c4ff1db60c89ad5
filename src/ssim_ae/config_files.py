"""Settings from presets, YAML files and ``key=value`` changes; and back to YAML.

Files in the zoo's own key names load too (see zoo_config). Everything wrong is reported at once.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ssim_ae import zoo_config
from ssim_ae.config import (
    AugmentSettings,
    ResidualSettings,
    ResidualTerm,
    Settings,
    Stretch,
    ZooSettings,
)
from ssim_ae.errors import SettingsError
from ssim_ae.files import write_atomically

HEADER = "# ssim-ae "  # of the files written here; the version follows
BLUR = ("smooth", "smooth_share")
WHOLE = 1.0  # share of a blur that names none
PRESETS = (
    "auto",
    "features",
    "texture",
    "object",
    "autoencoder",
    "fast",
    "reference-texture",
    "reference-object",
)


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
    chosen_anyway: list[str] = []
    changed: set[str] = set()
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
            notes.insert(0, f"{file}: read as the zoo's settings, on preset {base['preset']}")
            values = _merge(copy.deepcopy(base), known)
        else:
            base = preset(preset_name or str(values.get("preset", "auto")))
            values = _merge(copy.deepcopy(base), _whole_blur(values))
    else:
        base = preset(preset_name or "auto")
        values = copy.deepcopy(base)
    for key, value in _pairs(changes, problems):
        if key == "preset":  # here it would change the name alone
            problems.append(f"preset is no single setting: choose it with --preset {value}")
        _assign(values, key, value, problems)
        changed.add(key)
        if key.startswith("residual.terms.") and key.endswith(".weight"):
            chosen_anyway.append(key)
    if "residual.smooth" in changed and "residual.smooth_share" not in changed:
        _assign(values, "residual.smooth_share", WHOLE, problems)
    try:
        settings = Settings.model_validate(values)
        problems += _contradictions(settings)
        if settings.choose:
            given = ResidualSettings.model_validate(base["residual"])
            if any(getattr(settings.residual, k) != getattr(given, k) for k in BLUR):
                chosen_anyway.append("residual.smooth and its share")
            lost = "of no effect, as choose weighs and blurs the maps; set choose=false"
            notes += [f"{key}: {lost}" for key in chosen_anyway]
    except ValidationError as error:
        problems += [_explain(e) for e in error.errors()]
    if problems:
        raise SettingsError("; ".join(problems))
    return settings, notes


def _contradictions(settings: Settings) -> list[str]:
    """What can be read, as in the record of an older detector, but not be trained."""
    found, residual = [], settings.residual
    more = (residual.smooth, residual.bound, residual.surround, residual.mean_beyond)
    altered = any(value is not None for value in more)
    if settings.zoo and (
        altered or residual.combine != "max" or any(t.weight != 1 for t in residual.terms)
    ):
        found.append(
            "the zoo rule takes residual.combine=max and nothing more: leave weight, smooth, "
            "bound, surround and mean_beyond out, or zoo=none"
        )
    if settings.choose and residual.combine != "sum":
        found.append("choose adds up: leave residual.combine out, or choose=false")
    if residual.smooth is None and residual.smooth_share != 1:
        found.append("residual.smooth_share is of a blur: set residual.smooth, or a share of 1")
    if settings.network == "joint" and any(t.offset or t.scale != 1 for t in residual.terms):
        found.append("offset and scale of residual.terms are measured on good pictures: leave out")
    if settings.precision == "fp16" and settings.device == "cpu":
        found.append("precision is fp16, in which no CPU trains: set bf16 or float32")
    return found


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
    write_atomically(file, f"{HEADER}{version}; every setting, resolved\n{body}".encode())


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
    return {str(k): _without(v) for k, v in first.items()}


def _without(value: Any) -> Any:
    """The word none, which is no YAML word, as nothing; at any depth."""
    if isinstance(value, dict):
        return {k: _without(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without(v) for v in value]
    return None if isinstance(value, str) and value.lower() == "none" else value


def _whole_blur(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file; a blur that names no share is one of the whole map, as it always was."""
    residual = values.get("residual")
    if not isinstance(residual, Mapping) or "smooth" not in residual or BLUR[1] in residual:
        return values
    return {**values, "residual": {**residual, BLUR[1]: WHOLE}}


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
                parsed = None if _without(parsed) is None else _number(parsed)
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
    "stretch": Stretch,
    "residual": ResidualSettings,
    "terms": ResidualTerm,
    "zoo": ZooSettings,
}


def _section_of(section: Any, part: str | int) -> Any:
    return section if isinstance(part, int) else _SECTIONS[part]


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
