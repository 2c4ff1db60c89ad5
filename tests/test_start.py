from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ssim_ae.config_files import load_settings
from ssim_ae.errors import InputError
from ssim_ae.model.joint import JointNetwork
from ssim_ae.training.start import grey_start, load_start, new_network


def random_network(seed: int = 0, latent: int = 8, width: int = 4) -> JointNetwork:
    """RGB, with BatchNorm statistics of its own."""
    torch.manual_seed(seed)
    network = JointNetwork(3, latent, width).eval()
    for name, tensor in network.state_dict().items():
        if name.startswith("colors."):
            tensor.fill_(7)
        elif tensor.is_floating_point() and tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return network


def saved(network: JointNetwork, file: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    weights = {
        k: (v.to(dtype) if v.is_floating_point() else v).contiguous()
        for k, v in network.state_dict().items()
        if not k.startswith("colors.")
    }
    save_file(weights, file)
    return weights


def test_weights_that_do_not_fit_are_told() -> None:
    told: list[str] = []
    for preset, changes in (
        ("auto", []),
        ("auto", ["latent=8"]),
        ("autoencoder", ["pretrained=1"]),
    ):
        settings, _ = load_settings(preset, changes=[*changes, "color=grey", "precision=float32"])
        new_network(settings, told.append)
    assert len(told) == 2
    assert all(line.endswith("starts from random ones") for line in told)


def test_a_grey_network_does_to_grey_pictures_what_the_rgb_network_does(tmp_path: Path) -> None:
    rgb = random_network()
    with torch.no_grad():  # a decoder that gives three equal channels
        out = rgb.decode[7]
        out.weight.copy_(out.weight[:, :1].expand_as(out.weight))
        out.bias.fill_(0.3)
    saved(rgb, tmp_path / "w", torch.float32)
    grey = JointNetwork(1, 8, 4).eval()
    assert load_start(grey, tmp_path / "w")
    picture = torch.rand(2, 1, 64, 48)
    with torch.no_grad():
        expected, found = rgb(picture.expand(-1, 3, -1, -1)), grey(picture)
    assert float(found.logit.std()) > 1e-3  # not the same because nothing arrives
    assert torch.allclose(found.reconstruction, expected.reconstruction[:, :1], atol=1e-6)
    assert torch.allclose(found.logit, expected.logit, rtol=1e-4, atol=1e-5)


def test_the_output_is_the_mean_of_the_channels_before_the_sigmoid(tmp_path: Path) -> None:
    rgb = random_network()
    grey = JointNetwork(1, 8, 4).eval()
    grey.load_state_dict(grey_start(saved(rgb, tmp_path / "w", torch.float32)), strict=False)
    features = torch.rand(1, 8, 8, 8)
    with torch.no_grad():
        expected = rgb.decode[7](features).mean(1, keepdim=True)
        assert torch.allclose(grey.decode[7](features), expected, atol=1e-6)


def test_float16_is_widened_and_counted_colours_stay(tmp_path: Path) -> None:
    half = saved(random_network(1), tmp_path / "w", torch.float16)
    network = random_network(2)
    assert load_start(network, tmp_path / "w")
    for name, tensor in network.state_dict().items():
        if name.startswith("colors."):
            assert bool((tensor == 7).all())
            continue
        assert tensor.dtype == (torch.float32 if tensor.is_floating_point() else torch.int64)
        assert torch.equal(tensor, half[name].to(tensor.dtype))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("latent", "width"), [(9, 4), (8, 5)])
def test_another_latent_or_width_starts_anew(
    tmp_path: Path, channels: int, latent: int, width: int
) -> None:
    saved(random_network(), tmp_path / "w", torch.float16)
    network = JointNetwork(channels, latent, width)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert not load_start(network, tmp_path / "w")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layer", ["logit.bias", "encode1.0.weight", "decode.7.bias"])
def test_weights_that_lack_a_layer_do_not_fit(tmp_path: Path, channels: int, layer: str) -> None:
    weights = saved(random_network(), tmp_path / "w", torch.float16)
    del weights[layer]
    save_file(weights, tmp_path / "w")
    assert not load_start(JointNetwork(channels, 8, 4), tmp_path / "w")


def test_weights_of_a_grey_network_stay_as_they_are(tmp_path: Path) -> None:
    weights = saved(JointNetwork(1, 8, 4), tmp_path / "w", torch.float32)
    assert load_start(other := JointNetwork(1, 8, 4), tmp_path / "w")
    assert all(torch.equal(other.state_dict()[k], v) for k, v in weights.items())
    assert not load_start(random_network(), tmp_path / "w")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: weights to start from cannot be read"):
        load_start(random_network(), tmp_path / "none")
    saved(random_network(), tmp_path / "w", torch.float16)
    data = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="install ssim-ae again"):
        load_start(random_network(), tmp_path / "w")
