"""The memory of good pictures: distances, axes, and a detector that holds one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional as F

from ssim_ae import Detector, train
from ssim_ae.config import ResidualSettings
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.core_set import SOFTENING
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import JointNetwork, WholePicture
from ssim_ae.model.memory import CENTRES, STRIDE
from ssim_ae.training.core_set import learned_memory, uncorrelated
from tests.test_features import store, with_noise

__all__ = ["store"]  # a fixture


@pytest.fixture(scope="module")
def network(store) -> JointNetwork:
    torch.manual_seed(0)
    made = JointNetwork(1, latent=4, first_layer_channels=4).eval()
    made.memory, _ = learned_memory(made, store, 0)
    return made


def remembered(network: JointNetwork, picture: Tensor) -> Tensor:
    found = network(picture).memory
    assert found is not None
    return found


@torch.inference_mode()
def test_distance_equals_scipy_s(network) -> None:
    picture = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(3))
    memory = network.memory
    _, fine, coarse, _ = network.encoded(picture)
    both = torch.cat([F.avg_pool2d(fine, 2), coarse], 1)
    centred = both[0].flatten(1).t().double() - memory.mean.double()
    rows = centred @ memory.axes.double().t()
    apart = cdist(rows, memory.centres.double()).min(1)
    expected = np.sqrt(apart**2 / rows.shape[1] + SOFTENING).reshape(1, 1, 8, 12)
    large = F.interpolate(torch.from_numpy(expected), scale_factor=STRIDE, mode="bilinear")
    np.testing.assert_allclose(remembered(network, picture)[0], large[0, 0], rtol=2e-3)


def test_axes_are_uncorrelated_and_weigh_as_much_as_the_features() -> None:
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(5000, 3, generator=rng)
    rows = torch.cat([base, base[:, :1] * 7 + 0.1 * base[:, 1:2], torch.zeros(5000, 1)], 1)
    rows = rows - rows.mean(0)
    found = rows @ uncorrelated(rows).t()
    covariance = found.t() @ found / len(found)
    variances = covariance.diagonal()
    assert float((covariance - torch.diag(variances)).abs().max()) < 1e-3
    assert float(variances.mean()) == pytest.approx(1, rel=1e-3)
    assert float(variances.min()) < 1e-6  # what never varied is not blown up


def test_axes_follow_the_units_of_the_features() -> None:
    rng = torch.Generator().manual_seed(1)
    rows = torch.randn(2000, 4, generator=rng) @ torch.randn(4, 4, generator=rng)
    rows = rows - rows.mean(0)
    units = torch.tensor([1.0, 100.0, 0.01, 5.0])
    gram = []
    for scaled in (rows, rows * units):
        found = (scaled @ uncorrelated(scaled).t())[:50]
        gram.append(found @ found.t())
    torch.testing.assert_close(gram[0], gram[1], rtol=1e-2, atol=1e-2)


def test_good_pictures_are_near_and_other_textures_far(network, store) -> None:
    good, odd = with_noise(store)
    good, odd = good[..., :144, :144], odd[..., :144, :144]
    with torch.inference_mode():
        near, far = remembered(network, good)[0], remembered(network, odd)[0]
    assert float(far[56:88, 60:100].mean()) > 2 * float(near.mean())
    assert float(near.mean()) < 1


def test_learning_is_repeated_exactly_and_is_the_seed_s(network, store) -> None:
    again, other = (learned_memory(network, store, seed)[0].centres for seed in (0, 1))
    assert torch.equal(again, network.memory.centres)
    assert not torch.equal(again, other)


def test_a_map_without_a_memory_is_refused() -> None:
    network = WholePicture(JointNetwork(1, latent=4, first_layer_channels=2).eval())
    settings = ResidualSettings.model_validate({"terms": [{"kind": "memory"}]})
    inspector = Inspector(network, Residual(settings)).eval()
    with pytest.raises(ValueError, match="finds no memory"):
        inspector(torch.zeros(1, 128, 128, dtype=torch.uint8))


def test_a_run_keeps_its_memory(fabric: Path, tmp_path: Path) -> None:
    """Trained, exported, calibrated; the same weights in torch and in the exported graph."""
    changes = {
        "first_layer_channels": 4, "latent": 4, "steps": 2, "batch_size": 2, "resize": None,
        "choose": False, "precision": "float32",
    }  # fmt: skip
    run = train(fabric, output=tmp_path / "run", changes=changes).folder
    detector = Detector.load(run)
    (term,) = (t for t in detector.record.settings.residual.terms if t.kind == "memory")
    assert term.weight == 1
    assert term.scale != 1
    picture = next((fabric / "test" / "good").glob("*.png"))
    ours, theirs = (
        Detector.load(run, engine=engine).inspect(picture) for engine in ("torch", "onnxruntime")
    )
    np.testing.assert_allclose(ours.working_map, theirs.working_map, rtol=1e-3, atol=1e-3)
    assert (run / "detector.onnx").stat().st_size > CENTRES * 4 * 20
