"""The map of ImageNet features: with random weights, and with the real ones where installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional as F

from ssim_ae import Detector, evaluate, train
from ssim_ae.config import ResidualSettings
from ssim_ae.config_files import load_settings
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.working_size import Preparation
from ssim_ae.deploy.fold import folded
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.errors import SettingsError
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.build import inspector_of, network_of
from ssim_ae.model.core_set import SOFTENING
from ssim_ae.model.features import (
    CENTRES,
    REACH,
    STRIDE,
    WIDTH,
    FeatureDistance,
)
from ssim_ae.model.findings import Findings
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import REACH as JOINT_REACH
from ssim_ae.model.joint import JointNetwork, WholePicture
from ssim_ae.runtime.blocks import Tiling, run_in_blocks
from ssim_ae.training.core_set import core_set, learn, standard_units
from ssim_ae.training.imagenet import imagenet_weights, load_imagenet
from tests.test_imagenet import TINY, installed, package_weights


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PictureStore:
    folder = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    along = np.arange(176)
    for i in range(4):
        stripes = 128 + 60 * np.sin((along[None] + 3 * i) / 5) + 0 * np.arange(150)[:, None]
        noisy = stripes + rng.normal(0, 8, (150, 176))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    files = sorted(folder.glob("*.png"))
    return PictureStore(files, Preparation("grey", None, None), 128, 1 << 30)


def learned(channels: int, store: PictureStore | None = None) -> FeatureDistance:
    """Random weights; centres from the store's pictures, or drawn at random too."""
    made = FeatureDistance(channels).eval()
    load_imagenet(made.backbone, package_weights())
    if store is not None:
        learn(made, made.described, standard_units, store, 0)
    else:
        rng = torch.Generator().manual_seed(1)
        found = made.described(torch.rand(2, channels, 256, 256, generator=rng))
        rows = found.permute(0, 2, 3, 1).reshape(-1, WIDTH)
        made.mean.copy_(rows.mean(0))
        made.axes.copy_(standard_units(rows - rows.mean(0)))
        made.centres.copy_(torch.randn(CENTRES, WIDTH, generator=rng))
    return made


@cache
def inspector(channels: int) -> Inspector:
    torch.manual_seed(0)
    network = JointNetwork(channels, latent=4, first_layer_channels=2)
    network.features = learned(channels)
    terms = [{"kind": "head"}, {"kind": "features"}]
    settings = ResidualSettings.model_validate({"terms": terms, "mean_beyond": 0.075})
    return Inspector(WholePicture(network.eval()), Residual(settings)).eval()


@cache
def exported(channels: int) -> bytes:
    return graph_bytes(inspector(channels), channels, 128)


def test_distance_equals_scipy_s() -> None:
    made = learned(1)
    picture = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(3))
    rows = made.standardised(made.described(picture))[0].double().numpy()
    nearest = cdist(rows, made.centres.double().numpy()).min(1) / WIDTH**0.5
    expected = np.sqrt(nearest**2 + SOFTENING).reshape(64 // STRIDE, 96 // STRIDE)
    large = F.interpolate(torch.from_numpy(expected)[None, None], scale_factor=8, mode="bilinear")
    np.testing.assert_allclose(made(picture)[0], large[0, 0], rtol=1e-3)


def test_core_set_is_the_greedy_cover() -> None:
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(400, 3, generator=rng)
    cloud = torch.cat([points, torch.tensor([[30.0, 0.0, 0.0], [0.0, -40.0, 0.0]])])
    chosen = core_set(cloud, 50, torch.Generator().manual_seed(1))
    assert len(set(chosen.tolist())) == 50
    assert {400, 401} <= set(chosen[:3].tolist())  # what lies far from all others comes first
    apart = cdist(cloud, cloud[chosen]).min(1).max()
    at_random = cdist(cloud, cloud[torch.randperm(402, generator=rng)[:50]]).min(1).max()
    assert apart < at_random
    assert len(core_set(cloud[:5], 20, rng)) == 20  # fewer than asked for: some come twice


def with_noise(store: PictureStore) -> tuple[Tensor, Tensor]:
    """A good picture, and the same with noise at rows 56 to 88, columns 60 to 100."""
    good = Inspector.picture(store.picture(0))[:, :, :144]
    odd = good.clone()
    odd[..., 56:88, 60:100] = torch.rand(32, 40, generator=torch.Generator().manual_seed(5))
    return good, odd


def test_good_pictures_are_near_and_other_textures_far(store: PictureStore) -> None:
    made = learned(1, store)
    good, odd = with_noise(store)
    near, far = made(good)[0], made(odd)[0]
    assert float(far[56:88, 60:100].mean()) > 2 * float(near.mean())
    assert float(near.mean()) < 1


def test_learning_is_repeated_exactly(store: PictureStore) -> None:
    first, second = learned(1, store), learned(1, store)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize("channels", [1, 3])
def test_the_exported_graph_equals_the_module_at_any_size(channels: int) -> None:
    graph = inspector(channels)
    content = exported(channels)
    session = onnxruntime.InferenceSession(content)
    rng = np.random.default_rng(0)
    for n, h, w in ((1, 128, 128), (2, 150, 203), (1, 257, 131)):
        shape = (n, h, w) if channels == 1 else (n, h, w, 3)
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        with torch.inference_mode():
            expected = graph(torch.from_numpy(image))
        found = session.run(None, {"image": image})
        np.testing.assert_allclose(found[0], expected.anomaly_map, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found[1], expected.score, rtol=1e-3, atol=1e-3)
    small = folded(content, 150, 134).SerializeToString()
    image = rng.integers(0, 256, (2, 150, 134, 3)[: 3 + (channels == 3)], dtype=np.uint8)
    whole, fixed = (
        onnxruntime.InferenceSession(c).run(None, {"image": image}) for c in (content, small)
    )
    np.testing.assert_allclose(fixed[0], whole[0], rtol=1e-3, atol=1e-3)


def test_nothing_beyond_reach_is_seen_and_reach_is_no_waste() -> None:
    """Changing pixels further away than ``REACH`` changes nothing; almost as near, something."""
    made = learned(1).double()
    picture = torch.rand(1, 1, 768, 16, generator=torch.Generator().manual_seed(4)).double()
    for edge, far, near in ((384, slice(384 + REACH, None), slice(384 + REACH - 48, None)),
                            (384, slice(0, 384 - REACH), slice(0, 384 - REACH + 48))):  # fmt: skip
        changed = picture.clone()
        side = slice(0, edge) if far.start else slice(edge, None)
        changed[:, :, side] = 1 - changed[:, :, side]
        difference = (made(picture) - made(changed)).abs()[0].amax(1)
        assert float(difference[far].max()) == 0
        assert float(difference[near].max()) > 0


class Eager:
    name = "eager"

    def __init__(self, graph: Inspector) -> None:
        self.graph, self.shapes = graph, []

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.shapes.append(images.shape)
        with torch.inference_mode():
            maps, scores, *_ = self.graph(torch.from_numpy(images))
        return maps.numpy(), scores.numpy()


def test_blocks_equal_one_pass() -> None:
    graph = inspector(1)
    assert graph.reach == REACH > JOINT_REACH
    settings = load_settings("features", changes={"first_layer_channels": 2, "color": "grey"})[0]
    settings = settings.model_copy(update={"residual": graph.residual.settings})
    picture = np.random.default_rng(0).integers(0, 256, (1100, 500), np.uint8)
    engine = Eager(graph)
    blocks, score = run_in_blocks(engine, picture, Tiling(settings, graph.reach, 1))
    assert len(engine.shapes) > 1
    whole, expected = Eager(graph).run(picture[None])
    np.testing.assert_allclose(blocks, whole[0], rtol=1e-3, atol=1e-3)
    assert score == pytest.approx(float(expected[0]), rel=1e-3)


def test_a_term_without_features_says_so() -> None:
    settings = ResidualSettings.model_validate({"terms": [{"kind": "features"}]})
    picture = torch.rand(1, 1, 32, 32)
    with pytest.raises(ValueError, match="features"):
        Residual(settings)(picture, Findings(picture))
    with pytest.raises(SettingsError, match="network=joint"):
        load_settings("autoencoder", changes=["residual.terms=[{kind: features}]"])


def test_other_presets_have_no_features() -> None:
    network = network_of(load_settings("auto")[0])
    assert isinstance(network, JointNetwork)
    assert network.features is None
    assert WholePicture(network).reach == JOINT_REACH
    assert not any(name.startswith("features") for name in network.state_dict())


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssim_ae.training.train.collapse", lambda *_: None)
        patch.setattr("ssim_ae.training.train.imagenet_weights", dict)
        patch.setattr("ssim_ae.training.core_set.imagenet_weights", package_weights)
        yield


@pytest.mark.e2e
@pytest.mark.parametrize("choose", [True, False])
def test_from_training_to_inspection(
    fabric: Path, tmp_path: Path, quick: None, choose: bool
) -> None:
    run = tmp_path / "run"
    train(fabric, "features", changes=[*TINY, f"choose={choose}"], output=run)
    record = Detector.load(run).record
    kinds = {t.kind: t for t in record.settings.residual.terms}
    assert record.thresholds is not None
    graph = (run / "detector.onnx").read_bytes()
    if choose:
        rows = json.loads((run / "choice.json").read_text())["candidates"]
        assert {"features" in row["weights"] for row in rows} == {True, False}
        (chosen,) = [row for row in rows if row["chosen"]]
        assert ("features" in kinds) == ("features" in chosen["weights"])
    assert ("features" in kinds) == (b"EfficientNet-Lite0" in graph) == (b"backbone" in graph)
    if not choose:
        assert set(kinds) == {"head", "gradient", "band", "rarity", "memory", "features"}
        assert kinds["features"].scale != 1
    metrics = evaluate(run, fabric, output=run / "evaluation").metrics
    assert 0 <= metrics["pixel_auroc"] <= 1
    picture = np.random.default_rng(0).integers(0, 256, (160, 176), np.uint8)
    # the weights travel with the run: no package is needed to inspect, whatever the engine
    maps = [Detector.load(run, engine=e).inspect(picture) for e in ("onnxruntime", "torch")]
    np.testing.assert_allclose(maps[0].anomaly_map, maps[1].anomaly_map, rtol=1e-2, atol=1e-2)


@installed
def test_the_package_s_weights_tell_textures_apart(store: PictureStore) -> None:
    made = FeatureDistance(1).eval()
    load_imagenet(made.backbone, imagenet_weights())
    learn(made, made.described, standard_units, store, 0)
    good, odd = with_noise(store)
    assert float(made(odd)[0, 56:88, 60:100].mean()) > 2 * float(made(good).mean())


def test_a_run_s_network_is_built_as_it_was_saved() -> None:
    settings, _ = load_settings("features", changes={"color": "rgb"})
    network = network_of(settings)
    assert isinstance(network, JointNetwork)
    assert network.features is not None
    assert network.features.backbone.stem.in_channels == 3
    assert inspector_of(network, settings).reach > REACH


def test_int8_leaves_the_features_alone() -> None:
    import onnx

    from ssim_ae.deploy.int8 import network_nodes

    model = onnx.load_model_from_string(exported(3))
    chosen = network_nodes(model)
    weights = {n.name: n.input[1] for n in model.graph.node if n.op_type == "Conv"}
    assert any("encode" in weights.get(name, "") for name in chosen)
    assert not any("features" in weights.get(name, "") for name in chosen)
    assert sum("features" in name for name in weights.values()) > 30
