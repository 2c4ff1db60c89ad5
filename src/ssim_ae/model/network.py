"""The reference autoencoder (Bergmann et al., VISAPP 2019, table 1), exactly."""

from __future__ import annotations

from torch import Tensor, nn

from ssim_ae.model.layers import LastLayer, Transposed

SLOPE = 0.2  # LeakyReLU
BOTTLENECK = 8  # side of the last feature map before the latent vector, pixels


class Autoencoder(nn.Module):
    """Picture patches in, reconstructions of the same shape out.

    Args:
        tile: side of the square input in pixels, 128 or 256.
        channels: 1 (grey) or 3 (RGB).
        latent: length d of the latent vector.
        first_layer_channels: width of the first layer; every other width scales with it.

    Input and output: float32 ``[n, channels, tile, tile]`` in 0..1.
    """

    def __init__(
        self, tile: int = 128, channels: int = 1, latent: int = 100, first_layer_channels: int = 32
    ) -> None:
        super().__init__()
        if tile not in (128, 256):
            raise ValueError(f"tile is {tile}, but the reference network takes 128 or 256 pixels")
        f = first_layer_channels
        extra = [(f, f, 4, 2)] if tile == 256 else []  # 256 pixels: one more halving on both sides
        # (inputs, outputs, kernel, stride); a 4x4 stride-2 layer halves or doubles, a 3x3 keeps
        down = [
            (channels, f, 4, 2),
            (f, f, 4, 2),
            *extra,
            (f, f, 3, 1),
            (f, 2 * f, 4, 2),
            (2 * f, 2 * f, 3, 1),
            (2 * f, 4 * f, 4, 2),
            (4 * f, 2 * f, 3, 1),
            (2 * f, f, 3, 1),
        ]
        up = [
            (f, 2 * f, 3, 1),
            (2 * f, 4 * f, 3, 1),
            (4 * f, 2 * f, 4, 2),
            (2 * f, 2 * f, 3, 1),
            (2 * f, f, 4, 2),
            (f, f, 3, 1),
            (f, f, 4, 2),
            *extra,
        ]
        encoder: list[nn.Module] = []
        for i, o, k, s in down:
            encoder += [nn.Conv2d(i, o, k, s, 1), _activation()]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(f, latent, BOTTLENECK))
        decoder: list[nn.Module] = [nn.ConvTranspose2d(latent, f, BOTTLENECK), _activation()]
        for i, o, k, s in up:
            layer = Transposed(i, o) if s == 2 else nn.Conv2d(i, o, k, s, 1)
            decoder += [layer, _activation()]
        self.decoder = nn.Sequential(*decoder, LastLayer(f, channels), nn.Sigmoid())
        self.tile, self.channels = tile, channels
        initialize(self, "xavier")

    def forward(self, patches: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.encoder(patches))
        return out


def initialize(network: nn.Module, scheme: str) -> None:
    """Set weights anew, biases to zero.

    "xavier": Xavier-uniform, the reference. "kaiming": uniform with the variance that keeps the
    signal's size through LeakyReLU layers (He et al., ICCV 2015), fan = values that meet in one
    output value. Under Xavier the signal shrinks by half a layer, eighteen layers deep, and on
    low-contrast pictures the network can stay at plain grey for hundreds of steps.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        if scheme == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            taps = module.kernel_size[0] * module.kernel_size[1]
            if isinstance(module, nn.ConvTranspose2d):
                # stride 2: a quarter of the taps meets; the first one spreads a single pixel
                taps = taps // 4 if module.stride[0] == 2 else 1
            bound = (6 / ((1 + SLOPE**2) * module.in_channels * taps)) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _activation() -> nn.LeakyReLU:
    return nn.LeakyReLU(SLOPE, inplace=True)  # in place: the layer is bound by memory


def parameter_count(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in network.parameters())
