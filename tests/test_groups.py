"""Strips and parts by file names."""

import re
import shutil
from collections.abc import Set
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssim_ae.config_files import PRESETS, load_settings, resolved_settings
from ssim_ae.data.groups import group_names, pattern_in_names
from ssim_ae.errors import InputError
from ssim_ae.runtime.record import picture_fingerprint
from ssim_ae.training.calibrate import calibrate
from ssim_ae.training.pictures import Parts, divide
from ssim_ae.training.train import train
from tests.conftest import TINY


def test_a_pattern_that_matches_without_its_group() -> None:
    with pytest.raises(InputError, match=r"b1\.png: does not match the group pattern"):
        group_names([Path("a1.png"), Path("b1.png")], r"a(\d)|b\d")


def test_group_patterns() -> None:
    assert group_names([Path("ab_1.png")], "^[a-z]+") == ["ab"]
    assert group_names([Path("ab_1.png")], "_([0-9])") == ["1"]
    assert group_names([Path("a_1.png"), Path("a_2.png")], None) == ["0", "1"]
    with pytest.raises(InputError, match="does not match"):
        group_names([Path("x.png")], r"^\d")
    with pytest.raises(InputError, match="no regular expression"):
        group_names([Path("x.png")], "(")


def names(template: str, groups: int, each: int) -> list[Path]:
    return [Path(template.format(g, i)) for g in range(groups) for i in range(each)]


@pytest.mark.parametrize(
    ("template", "group"),
    [
        ("{:04}_000_01_t{:02}.png", "0000"),  # strip, defect, fabric, tile
        ("part-{}-{}.bmp", "part-0"),
        ("line 1 {} {}.png", "line 1 0"),
        ("cloth__strip{}_no_{}.x.png", "cloth__strip0"),
    ],
)
def test_names_tell_strips_or_parts(template: str, group: str) -> None:
    files = names(template, 12, 4)
    pattern = pattern_in_names(files)
    assert pattern is not None
    found = group_names(files, pattern)
    assert found[0] == group
    assert [found.count(g) for g in sorted(set(found))] == [4] * 12


def test_of_lots_and_parts_the_larger_groups_count_if_there_are_enough() -> None:
    def files(lots: int) -> list[Path]:
        return [
            Path(f"lot{k}_part{p}_{i}.png") for k in range(lots) for p in range(6) for i in "12"
        ]

    assert group_names(files(12)[:1], pattern_in_names(files(12))) == ["lot0"]
    assert group_names(files(12), "auto") == group_names(files(12), "^(lot[0-9]+)_")
    assert group_names(files(2)[:1], pattern_in_names(files(2))) == ["lot0_part0"]


@pytest.mark.parametrize(
    "files",
    [
        names("{}{}.png", 9, 9),  # no separators
        names("train_{}{}.png", 9, 9),  # all begin alike
        names("{}_{}.png", 20, 1),  # each alone
        names("camera{}_{}.png", 8, 20),
        names("2024-05-01_08-{}-{}.png", 60, 4),  # minutes
        [Path(f"{kind}_{i}.png") for kind in "abcdefghijkl" for i in range(4)],
        [*names("{}_{}.png", 12, 4), Path("other.png")],
        [*names("{}_{}.png", 12, 4), *names("99_{}{}.png", 5, 5)],
        # one strip of many rows: rows would be no strips
        [
            Path(f"strip{s}_row{r}_{i}.png")
            for s in range(12)
            for r in range(3 + 9 * (s == 0))
            for i in range(4)
        ],
        [],
    ],
)
def test_names_that_tell_nothing(files: list[Path]) -> None:
    assert pattern_in_names(files) is None


@pytest.fixture
def strips(tmp_path: Path) -> Path:
    """48 small pictures of 12 strips."""
    rng, folder = np.random.default_rng(0), tmp_path / "strips"
    folder.mkdir()
    for file in names("strip{}_{}.png", 12, 4):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(folder / file)
    return folder


def divided(
    folder: Path, group: str | None, seen: Set[str] = frozenset()
) -> tuple[Parts, list[str]]:
    settings, _ = load_settings("auto", changes=[("group", group), "color=grey"])
    told: list[str] = []
    return divide(folder, settings, set(seen), told.append), told


def shared(parts: Parts) -> set[str]:
    """Strips on both sides."""
    held, trained = ({f.name.split("_")[0] for f in p} for p in (parts.held_out, parts.train))
    return held & trained


def test_training_finds_strips_by_itself_and_says_so(strips: Path) -> None:
    parts, (line,) = divided(strips, "auto")
    assert line.startswith("file names tell 12 groups (strip0, strip1, strip10, ...)")
    assert parts.group is not None
    assert not shared(parts)
    assert divided(strips, parts.group) == (parts, [])  # what the run records, given by hand


@pytest.mark.parametrize("group", [None, "none"])
def test_pictures_are_taken_one_by_one_where_that_is_asked(strips: Path, group: str | None) -> None:
    parts, told = divided(strips, group)
    assert shared(parts)
    assert told == []


def test_groups_that_cannot_be_held_out_are_given_up_and_told(strips: Path) -> None:
    of_each = {picture_fingerprint(f) for f in strips.glob("*_0.png")}
    parts, (line,) = divided(strips, "auto", of_each)  # trained on before
    assert parts.group is None
    assert "too many were trained on before: single pictures are held out" in line
    with pytest.raises(InputError, match="cannot be split"):
        divided(strips, "^(.*)_", of_each)
    # one strip that was not: its four pictures would be the only ones
    of_most = {picture_fingerprint(f) for f in strips.glob("strip[1-9]*_0.png")}
    parts, (line,) = divided(strips, "auto", of_most)
    assert len(parts.held_out) == len(divided(strips, None, of_most)[0].held_out) > 4
    assert "single pictures" in line


def test_few_groups_are_proposed_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for file in names("roll{}_{}.png", 6, 4):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / file)
    parts, (line,) = divided(tmp_path, "auto")
    assert parts.group is None
    assert line.startswith(
        "file names tell 6 groups (roll0, roll1, roll2, ...): if each is a strip"
    )
    named = re.search('--group "(.+)"', line)
    assert named is not None
    assert not shared(divided(tmp_path, named[1])[0])
    settings, _ = load_settings("auto", changes=["color=grey"])
    told: list[str] = []
    divide(tmp_path, settings, set(), told.append, resumed=True)
    assert told == []


def test_every_preset_of_our_own_finds_groups() -> None:
    found = {name: load_settings(name)[0].group for name in PRESETS}
    references = {"reference-object", "reference-texture"}
    assert found == {name: None if name in references else "auto" for name in PRESETS}


def test_a_run_of_strips_and_what_comes_after_it(fabric: Path, tmp_path: Path) -> None:
    good, plain = tmp_path / "good", fabric / "train" / "good"
    good.mkdir()
    for i, file in enumerate(sorted(plain.iterdir())):
        shutil.copy(file, good / f"roll-{i // 4}-{i % 4}.png")
    run = train(good, "autoencoder", changes=TINY, output=tmp_path / "run")
    assert run.record.calibration is not None
    assert run.record.calibration.pictures == 4 * run.record.calibration.groups
    # other names are met with the same settings, not with the pattern that was found in these
    config = run.folder / "config.yaml"
    assert resolved_settings(config).group == run.record.settings.group == "auto"
    again = train(plain, config=config, changes=["steps=1"], output=tmp_path / "again")
    assert again.record.calibration is not None
    assert again.record.calibration.groups == again.record.calibration.pictures
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (160, 176), np.uint8)
        Image.fromarray(pixels).save(fresh / f"IMG_{i}.png")
    for group in (None, "auto", "none"):
        record, _, notes = calibrate(run.folder, fresh, 0.3, group)
        assert record.calibration is not None
        assert record.calibration.groups == 3
        assert not any("group" in note for note in notes)
