"""The generator of pictures, and what the pretraining shows to the network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ssim_ae.config_files import load_settings
from ssim_ae.data.shapes import draw_masks
from ssim_ae.model.joint import JointNetwork
from ssim_ae.training.start import load_start

FOLDER = Path(__file__).parents[1] / "benchmarks" / "pretraining"


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        names = ("pictures", "textures", "objects", "boards", "noise", "pretrain")
        yield {name: import_module(name) for name in names}


@pytest.fixture(scope="module")
def drawn(scripts) -> np.ndarray:
    return scripts["pictures"].worlds(40, 2, seed=11)


def test_pictures_depend_on_the_seed_and_their_number_alone(scripts, drawn) -> None:
    world = scripts["pictures"].world
    assert drawn.shape == (40, 2, 256, 256, 3)
    assert drawn.dtype == np.uint8
    for number in (0, 17):
        assert np.array_equal(world(number, 2, 11), drawn[number])
    assert not np.array_equal(world(0, 2, 12), drawn[0])


def test_worlds_vary(drawn) -> None:
    values = drawn.astype(np.float32)
    contrast = values.std((2, 3)).mean((1, 2))
    low, high = np.percentile(contrast, [10, 90])
    assert high > 4 * low
    brightness = values.mean((1, 2, 3, 4))
    assert brightness.std() > 25
    grey = (values.max(-1) == values.min(-1)).all((1, 2, 3))
    assert 0.25 < grey.mean() < 0.75


def test_pictures_of_a_world_differ_but_are_of_one_kind(drawn) -> None:
    assert all(not np.array_equal(first, second) for first, second in drawn)
    mean = drawn.astype(np.float32).mean((2, 3))
    within = np.abs(mean[:, 0] - mean[:, 1]).mean()
    across = np.abs(mean[:, 0] - np.roll(mean[:, 1], 1, 0)).mean()
    assert within < across / 4


def test_every_texture_has_structure_within_range(scripts) -> None:
    textures = scripts["textures"]
    for kind in set(textures.TEXTURES):
        for seed in range(6):
            rng = np.random.default_rng(seed)
            values = kind(rng)(rng)
            assert values.shape == (256, 256), kind
            assert values.dtype == np.float32, kind
            assert np.isfinite(values).all(), kind
            assert values.std() > 0.05, kind
            assert (np.abs(values - 0.5) < 1).mean() > 0.95, kind


def test_every_kind_of_object_covers_part_of_its_ground(scripts) -> None:
    objects = scripts["objects"]
    y, x = np.mgrid[-128:128, -128:128].astype(np.float32)
    for kind in objects.KINDS:
        for seed in range(6):
            parts = kind(np.random.default_rng(seed))
            covered = np.zeros((256, 256), bool)
            for part in parts:
                covered |= part.outline(x - part.x, y - part.y) < 0
            assert 0.01 < covered.mean() < 0.95, (kind, seed)


def test_outlines_are_distances(scripts) -> None:
    objects = scripts["objects"]
    x, y = np.array([0, 30, 30], np.float32), np.array([0, 0, 40], np.float32)
    assert objects.disc(10)(x, y) == pytest.approx([-10, 20, 40])
    assert objects.box(20, 10, 0)(x, y) == pytest.approx([-10, 10, np.hypot(10, 30)])
    assert objects.box(20, 10, 5)(x[:2], y[:2]) == pytest.approx([-10, 10])


def test_patches_come_from_the_world_that_was_asked_for(scripts) -> None:
    pretrain = scripts["pretrain"]
    pictures = torch.arange(6, dtype=torch.uint8).repeat_interleave(2)  # 6 worlds of 2 pictures
    pictures = (pictures * 40).view(12, 1, 1, 1).expand(12, 130, 130, 3)
    chosen = torch.tensor([5, 0, 3, 3])
    store = pretrain.Worlds(pictures, 2, chosen)
    plain = load_settings("object")[0].augment
    patches = pretrain.draw_patches(store, 4, 128, plain, 1)
    assert torch.allclose(patches.amax((1, 2, 3)) * 255, chosen * 40.0)
    assert torch.allclose(patches.amin((1, 2, 3)) * 255, chosen * 40.0)


def test_batches_depend_on_the_step_and_show_defects(scripts, drawn) -> None:
    pretrain = scripts["pretrain"]
    settings, _ = load_settings("object", changes=["color=rgb"])
    batches = pretrain.WorldBatches(torch.from_numpy(drawn).flatten(0, 1), 2, settings)
    batch, again = batches.draw(3, 0, 8), batches.draw(3, 0, 8)
    assert batch.shown.shape == (8, 3, 128, 128)
    assert all(torch.equal(a, b) for a, b in zip(batch, again, strict=True))
    assert not torch.equal(batches.draw(4, 0, 8).clean, batch.clean)
    changed = (batch.shown - batch.clean).abs().amax(1, keepdim=True) > 0.1
    assert int(changed.sum()) > 0
    assert bool((batch.label[changed] == 1).float().mean() > 0.9)
    for patches in (batch.shown, batch.clean):
        assert 0 <= float(patches.min()) <= float(patches.max()) <= 1


def test_most_grey_patches_get_grey_defects(scripts) -> None:
    pretrain = scripts["pretrain"]
    rng = torch.Generator().manual_seed(0)
    clean = torch.rand(64, 3, 128, 128, generator=rng)
    clean[:32] = clean[:32, :1]
    donors = torch.rand(64, 3, 128, 128, generator=rng)
    batch = pretrain.corrupted(clean.clone(), donors, draw_masks(128, 0, 64), rng)

    def grey(patches: torch.Tensor) -> torch.Tensor:
        return (patches.amax(1) - patches.amin(1)).amax((1, 2)) < 1e-6

    assert bool(grey(batch.clean)[:32].all())
    assert torch.allclose(batch.clean[:32], clean[:32], atol=1e-6)
    assert 22 <= int(grey(batch.shown)[:32].sum()) <= 32
    assert 1 <= int(grey(batch.shown)[32:].sum()) <= 12
    assert torch.equal(grey(batch.shown)[32:], grey(batch.clean)[32:])


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "pretrain.py", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_short_pretraining_gives_weights_to_start_from(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    words = ["--steps", "2", "--worlds", "25", "--each", "2", "--output", file]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.with_suffix(".json").read_text())
    assert found["steps"] == 2
    assert found["bytes"] == file.stat().st_size < 2_000_000
    for channels in (1, 3):
        assert load_start(JointNetwork(channels, 64, 16), file)


@pytest.mark.parametrize(
    "words", [[], ["--steps", "0"], ["--minutes", "-1"], ["--steps", "2", "--worlds", "3"]]
)
def test_wrong_options_end_with_one_line(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "error:" in done.stderr
