"""The unit of each map: from which good pictures, and what a memory is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.config import ResidualSettings, ResidualTerm
from ssim_ae.config_files import load_settings
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.split import folds
from ssim_ae.data.working_size import Preparation
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.core_set import SOFTENING
from ssim_ae.model.findings import Findings
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import JointNetwork, WholePicture
from ssim_ae.training.core_set import learned_memory
from ssim_ae.training.units import ENOUGH, good_pictures, normalised
from tests.test_choose import Known, flat_store, fresh

__all__ = ["flat_store"]  # a fixture
HEAD = ResidualSettings.model_validate({"terms": [{"kind": "head"}]})
MEMORY = ResidualSettings.model_validate({"terms": [{"kind": "memory"}]})


class Brightness(nn.Module):
    """Its head's log odds are the picture; remembers the mean of each that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def forward(self, picture: Tensor) -> Findings:
        self.seen.append(round(float(picture.mean()), 3))
        return Findings(picture, picture.mean(1))


def of_levels(folder: Path, levels: Sequence[int]) -> PictureStore:
    """Flat pictures."""
    folder.mkdir()
    files = [folder / f"{i:03}.png" for i in range(len(levels))]
    for file, level in zip(files, levels, strict=True):
        Image.fromarray(np.full((128, 128), level, np.uint8)).save(file)
    return PictureStore(files, Preparation("grey", None, None), 128, 1 << 30)


def test_one_good_pixel_in_a_thousand_exceeds_a_term_s_unit(flat_store) -> None:
    residual = load_settings("auto")[0].residual
    settings = normalised(Known(sees=True), residual, fresh(flat_store))
    picture = Inspector.picture(torch.cat([flat_store.picture(i) for i in range(4)]))
    for i, term in enumerate(settings.terms):
        maps = torch.cat(
            [Residual(settings).terms(p, Known(sees=True)(p))[i] for p in picture.split(1)]
        )
        values = (maps.double() - term.offset) / term.scale
        assert float(values.mean()) == pytest.approx(0, abs=1e-4)
        assert float((values > 1.001).double().mean()) <= 0.001
        assert float((values > 0.98).double().mean()) >= 0.0009


def measured(
    network: nn.Module, few: PictureStore, trained: PictureStore | None = None
) -> ResidualTerm:
    """The head's term."""
    pictures = fresh(few)
    if trained is not None:
        pictures = good_pictures(few, trained, folds([str(i) for i in range(len(trained))]))
    (term,) = normalised(network, HEAD, pictures).terms
    return term


def test_pictures_trained_on_are_looked_at_as_well(tmp_path: Path) -> None:
    few, old = of_levels(tmp_path / "few", [51]), of_levels(tmp_path / "old", [102, 204])
    network = Brightness()
    term = measured(network, few, old)
    assert network.seen == [0.2, 0.4, 0.8]
    assert term.offset == pytest.approx(1.4 / 3, rel=1e-3)
    assert term.scale == pytest.approx(0.8 - 1.4 / 3, rel=1e-2)
    network = Brightness()
    measured(network, few)
    assert network.seen == [0.2]


@pytest.mark.parametrize("number", [4, ENOUGH - 1, ENOUGH, ENOUGH + 3])
def test_they_are_as_many_as_make_enough_and_always_the_same(tmp_path: Path, number: int) -> None:
    few = of_levels(tmp_path / "few", [51] * number)
    old = of_levels(tmp_path / "old", [55 + i for i in range(200)])
    networks = Brightness(), Brightness()
    for network in networks:
        measured(network, few, old)
    assert networks[0].seen == networks[1].seen
    assert networks[0].seen[:number] == [0.2] * number
    others = [round(255 * value) - 55 for value in networks[0].seen[number:]]
    assert len(set(others)) == len(others) == max(0, ENOUGH - number)
    if number == 4:  # of all of them
        assert min(others) < 20 < 180 < max(others)


def noisy(folder: Path, number: int, seed: int) -> PictureStore:
    """Noise on a gentle slope, of another height in each picture; a third of each is flat."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    files = [folder / f"{i:02}.png" for i in range(number)]
    for file in files:
        picture = rng.integers(100, 160, (128, 128)) + rng.uniform(0, 60)
        picture[:, :42] = 40
        Image.fromarray(picture.astype(np.uint8)).save(file)
    return PictureStore(files, Preparation("grey", None, None), 128, 1 << 30)


def with_memory(store: PictureStore, parts: Sequence[int]) -> tuple[JointNetwork, list[Tensor]]:
    torch.manual_seed(0)
    network = JointNetwork(1, latent=4, first_layer_channels=4).eval()
    network.memory, without = learned_memory(network, store, 0, parts)
    return network, without


@torch.inference_mode()
def distances(network: JointNetwork, store: PictureStore, index: int, centres: Tensor) -> Tensor:
    """From a picture's features to the nearest of these centres, by SciPy, ``[h, w]``."""
    _, fine, coarse, _ = network.encoded(Inspector.picture(store.picture(index)))
    memory = network.memory
    assert memory is not None
    found = memory.described(fine, coarse)
    near = cdist(memory.standardised(found)[0].double(), centres.double()).min(1)
    apart = np.sqrt(near**2 / found.shape[1] + SOFTENING).reshape(1, 1, *found.shape[2:])
    return F.interpolate(torch.from_numpy(apart), scale_factor=8, mode="bilinear")[0, 0]


def test_a_memory_is_asked_as_it_would_be_without_the_picture_s_fold(tmp_path: Path) -> None:
    store = noisy(tmp_path / "noise", 8, seed=2)
    parts = folds(["a", "a", "b", "b", "c", "c", "d", "d"])
    network, without = with_memory(store, parts)
    memory = network.memory
    assert memory is not None
    before = memory.centres.clone()
    other = noisy(tmp_path / "other", 1, seed=3)
    pictures = good_pictures(other, store, parts)
    (term,) = normalised(WholePicture(network), MEMORY, pictures, {memory: without}).terms
    assert torch.equal(memory.centres, before)
    maps = [distances(network, other, 0, before)]
    maps += [distances(network, store, i, without[parts[i]]) for i in range(8)]
    every = torch.stack(maps)
    assert term.offset == pytest.approx(float(every.mean()), rel=1e-3)
    unit = float(torch.quantile(every.flatten(), 0.999)) - term.offset
    assert term.scale == pytest.approx(unit, rel=1e-2)
    for fold, centres in enumerate(without):  # of other pictures, but for the flat part of all
        for index in range(8):
            near = cdist(centres.unique(dim=0), _rows(network, store, index)).min(1) < 1e-3
            assert near.mean() < 0.05 if parts[index] == fold else near.mean() > 0.1


@torch.inference_mode()
def _rows(network: JointNetwork, store: PictureStore, index: int) -> Tensor:
    _, fine, coarse, _ = network.encoded(Inspector.picture(store.picture(index)))
    memory = network.memory
    assert memory is not None
    return memory.standardised(memory.described(fine, coarse))[0]


def test_a_memory_s_unit_from_pictures_it_knows_is_that_of_fresh_ones(tmp_path: Path) -> None:
    store = noisy(tmp_path / "trained", 12, seed=4)
    parts = folds([str(i) for i in range(12)])
    network, without = with_memory(store, parts)
    memory = network.memory
    assert memory is not None
    whole = WholePicture(network)
    (truth,) = normalised(whole, MEMORY, fresh(noisy(tmp_path / "others", 40, seed=5))).terms
    pictures = good_pictures(noisy(tmp_path / "one", 1, seed=6), store, parts)
    (ours,) = normalised(whole, MEMORY, pictures, {memory: without}).terms
    (itself,) = normalised(whole, MEMORY, pictures).terms
    assert ours.offset == pytest.approx(truth.offset, rel=0.1)
    assert ours.scale == pytest.approx(truth.scale, rel=0.15)
    assert itself.offset < 0.8 * truth.offset


def test_pictures_of_a_single_fold_are_not_looked_at(tmp_path: Path) -> None:
    store, others = noisy(tmp_path / "one", 1, seed=7), noisy(tmp_path / "others", 2, seed=8)
    _, without = with_memory(store, [0])
    assert without == []
    assert [fold for _, fold in good_pictures(others, store, [0])] == [None, None]


def test_folds_leave_the_memory_as_it_is(tmp_path: Path) -> None:
    store = noisy(tmp_path / "noise", 4, seed=9)
    alone, (parted, without) = with_memory(store, [])[0], with_memory(store, [0, 1, 2, 3])
    assert alone.memory is not None
    assert parted.memory is not None
    assert torch.equal(alone.memory.centres, parted.memory.centres)
    assert len(without) == 4
