"""Strips and parts by file names."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssim_ae.config_files import load_settings
from ssim_ae.data.groups import group_names, pattern_in_names
from ssim_ae.errors import InputError
from ssim_ae.training.pictures import divide


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
        ("line 1 strip {} {}.png", "line 1 strip 0"),
        ("tile_of_strip_{}_no_{}.x.png", "tile_of_strip_0"),
    ],
)
def test_names_tell_strips_or_parts(template: str, group: str) -> None:
    files = names(template, 6, 4)
    pattern = pattern_in_names(files)
    assert pattern is not None
    found = group_names(files, pattern)
    assert found[0] == group
    assert [found.count(g) for g in sorted(set(found))] == [4] * 6


def test_of_lots_and_parts_the_larger_groups_count_if_there_are_enough() -> None:
    def files(lots: int) -> list[Path]:
        return [Path(f"lot{k}_part{p}_{i}.png") for k in range(lots) for p in "abc" for i in "12"]

    assert group_names(files(6)[:1], pattern_in_names(files(6))) == ["lot0"]
    assert group_names(files(2)[:1], pattern_in_names(files(2))) == ["lot0_parta"]


@pytest.mark.parametrize(
    "files",
    [
        names("{}{}.png", 9, 9),  # no separators
        names("train_{}{}.png", 9, 9),  # all begin alike
        names("{}_{}.png", 20, 1),  # each alone
        names("camera{}_{}.png", 2, 20),
        # one strip of many rows: rows would be no strips
        [
            Path(f"strip{s}_row{r}_{i}.png")
            for s in range(6)
            for r in range(3 + 9 * (s == 0))
            for i in range(4)
        ],
        [*names("{}_{}.png", 6, 4), Path("other.png")],
        [*names("{}_{}.png", 6, 4), *names("many_{}{}.png", 5, 9)],
        [],
    ],
)
def test_names_that_tell_nothing(files: list[Path]) -> None:
    assert pattern_in_names(files) is None


def test_training_tells_what_names_say_and_takes_the_pattern_it_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for file in names("strip{}_{}.png", 5, 4):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / file)
    settings, _ = load_settings("auto", changes=["color=grey"])
    told: list[str] = []
    divide(tmp_path, settings, set(), told.append)
    (line,) = told
    assert line.startswith("file names tell 5 groups (strip0, strip1, strip2, ...)")
    named = re.search('--group "(.+)"', line)
    assert named is not None
    told.clear()
    parts = divide(tmp_path, settings.model_copy(update={"group": named[1]}), set(), told.append)
    held, trained = ({f.name.split("_")[0] for f in p} for p in (parts.held_out, parts.train))
    assert not told
    assert not held & trained
