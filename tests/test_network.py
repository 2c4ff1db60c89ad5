import pytest
import torch
from torch import nn

from plain import PlainSsimLoss, plain_network
from ssim_ae.model.layers import LastLayer, Transposed
from ssim_ae.model.network import Autoencoder, initialize, parameter_count
from ssim_ae.model.ssim import ssim_loss


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_last_layer_equals_a_transposed_convolution(channels: int, training: bool) -> None:
    torch.manual_seed(0)
    fast = LastLayer(4, channels).double().train(training)
    plain = nn.ConvTranspose2d(4, channels, 4, 2, 1).double()
    plain.load_state_dict(fast.state_dict())
    x = torch.rand(2, 4, 9, 7, dtype=torch.float64)
    assert_equal_gradients(fast, plain, x, atol=1e-12, rtol=1e-9)


def test_transposed_layer_equals_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    fast, plain = (
        Transposed(4, 5).double(), nn.ConvTranspose2d(4, 5, 4, 2, 1).double(),
    )  # fmt: skip
    plain.load_state_dict(fast.state_dict())
    x = torch.rand(2, 4, 9, 7, dtype=torch.float64)
    assert_equal_gradients(fast, plain, x, atol=1e-12, rtol=1e-9)


def assert_equal_gradients(
    fast: nn.Module, plain: nn.Module, x: torch.Tensor, **tolerance: float
) -> None:
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    a, b = fast(ours), plain(theirs)
    torch.testing.assert_close(a, b, **tolerance)
    weights = torch.rand_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, **tolerance)
    for mine, other in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, **tolerance)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-3)], ids=["float64", "float32"]
)
@pytest.mark.parametrize(("tile", "channels"), [(128, 1), (256, 3)])
def test_loss_and_every_gradient_equal_the_plain_network_s(
    tile: int, channels: int, dtype: torch.dtype, bound: float
) -> None:
    """The yardstick of benchmarks/train_step.py. Bound: largest difference of a gradient over its
    largest value; in float32 rounding alone makes 2e-4."""
    torch.manual_seed(0)
    fast = Autoencoder(tile, channels, latent=6, first_layer_channels=4)
    initialize(fast, "kaiming")  # Xavier's gradients are all rounding this early
    plain = plain_network(tile, channels, latent=6, f=4)
    plain.load_state_dict(fast.state_dict())
    patches = torch.rand(2, channels, tile, tile, dtype=dtype)
    losses = []
    for network, loss_of in ((fast, ssim_loss), (plain, PlainSsimLoss(channels))):
        network.to(dtype)
        loss = loss_of(network(patches), patches)
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=min(bound, 1e-5))
    for (name, ours), (_, theirs) in zip(
        fast.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert ours.grad is not None
        assert theirs.grad is not None
        difference = (ours.grad - theirs.grad).abs().max() / theirs.grad.abs().max()
        assert difference < bound, name
    Autoencoder(tile, channels, latent=6, first_layer_channels=4).load_state_dict(
        plain.state_dict()
    )


def test_bf16_autocast_trains_the_same_layers() -> None:
    torch.manual_seed(0)
    network = Autoencoder(128, 1, latent=6, first_layer_channels=4)
    initialize(network, "kaiming")
    patches = torch.rand(2, 1, 128, 128)
    gradients = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            reconstruction = network(patches)
        assert reconstruction.dtype == (torch.bfloat16 if enabled else torch.float32)
        ssim_loss(reconstruction, patches).backward()
        gradients.append([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    full, half = (torch.cat(g) for g in gradients)
    assert torch.nn.functional.cosine_similarity(full, half, dim=0) > 0.99
