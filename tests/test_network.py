import pytest
import torch
from torch import nn

from ssim_ae.model.network import Autoencoder, LastLayer, initialize, parameter_count


def test_parameter_counts_of_the_reference() -> None:
    assert parameter_count(Autoencoder(128, 1, 100)) == 1_048_549
    # by hand: 256 px adds a 4x4 32->32 layer on both sides (2 * 16416), three channels add
    # 2 * 512 weights to the first and 2 * 512 + 2 to the last layer, d = 500 adds 400 latents
    # (400 * (2048 + 1) in, 400 * 2048 out)
    extra = 2 * 16416 + 1024 + (1024 + 2) + 400 * 2049 + 400 * 2048
    assert parameter_count(Autoencoder(256, 3, 500)) == 1_048_549 + extra == 2_722_231


@pytest.mark.parametrize(("tile", "channels"), [(128, 1), (128, 3), (256, 1), (256, 3)])
def test_output_has_the_input_s_shape_and_lies_in_0_1(tile: int, channels: int) -> None:
    network = Autoencoder(tile, channels, latent=7, first_layer_channels=4)
    out = network(torch.rand(2, channels, tile, tile))
    assert out.shape == (2, channels, tile, tile)
    assert out.min() > 0
    assert out.max() < 1


def test_layers_are_those_of_the_table() -> None:
    def shapes(part: nn.Sequential) -> list[tuple[int, int, int, int]]:
        return [
            (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
            for m in part
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
        ]

    network = Autoencoder(128, 1, 100)
    assert shapes(network.encoder) == [
        (1, 32, 4, 2), (32, 32, 4, 2), (32, 32, 3, 1), (32, 64, 4, 2), (64, 64, 3, 1),
        (64, 128, 4, 2), (128, 64, 3, 1), (64, 32, 3, 1), (32, 100, 8, 1),
    ]  # fmt: skip
    assert shapes(network.decoder) == [
        (100, 32, 8, 1), (32, 64, 3, 1), (64, 128, 3, 1), (128, 64, 4, 2), (64, 64, 3, 1),
        (64, 32, 4, 2), (32, 32, 3, 1), (32, 32, 4, 2), (32, 1, 4, 2),
    ]  # fmt: skip
    assert not isinstance(network.encoder[-1], nn.LeakyReLU)  # none after the bottleneck
    slopes = {m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}


def test_xavier_weights_and_zero_biases() -> None:
    network = Autoencoder()
    layer = network.encoder[2]
    assert isinstance(layer, nn.Conv2d)
    bound = (6 / (32 * 16 + 32 * 16)) ** 0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.abs().max() > 0.9 * bound
    assert all(not p.detach().any() for n, p in network.named_parameters() if "bias" in n)


def test_another_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="128 or 256"):
        Autoencoder(64)


def test_kaiming_keeps_the_signal_s_size_where_xavier_loses_it() -> None:
    torch.manual_seed(0)
    patches = torch.rand(4, 1, 128, 128)

    def spread(scheme: str) -> float:
        network = Autoencoder()
        initialize(network, scheme)
        before_sigmoid = network.decoder[:-1](network.encoder(patches))
        return float(before_sigmoid.detach().std())

    assert 0.1 < spread("kaiming") < 3
    assert spread("xavier") < spread("kaiming") / 20


@pytest.mark.parametrize(("tile", "channels"), [(128, 1), (256, 3)])
def test_equals_the_plain_layers_in_value_and_gradients(tile: int, channels: int) -> None:
    torch.manual_seed(0)
    network = Autoencoder(tile, channels, latent=6, first_layer_channels=4).double()
    fast, plain = network.decoder[-2], nn.ConvTranspose2d(4, channels, 4, 2, 1).double()
    assert isinstance(fast, LastLayer)
    with torch.no_grad():
        fast.bias.uniform_()
    plain.load_state_dict(fast.state_dict())
    x = torch.rand(2, 4, 9, 7, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    a, b = fast(ours), plain(theirs)
    torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)
    weights = torch.rand_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(fast.bias.grad, plain.bias.grad, atol=1e-12, rtol=1e-9)
