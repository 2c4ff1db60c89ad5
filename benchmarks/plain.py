"""The yardstick: the same network and loss, written as one would without thinking of speed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def plain_network(tile: int = 128, channels: int = 1, latent: int = 100, f: int = 32) -> nn.Module:
    """The reference autoencoder: NCHW, no operation in place. Names as in the package."""
    extra = [(f, f, 4, 2)] if tile == 256 else []
    down = [
        (channels, f, 4, 2), (f, f, 4, 2), *extra, (f, f, 3, 1), (f, 2 * f, 4, 2),
        (2 * f, 2 * f, 3, 1), (2 * f, 4 * f, 4, 2), (4 * f, 2 * f, 3, 1), (2 * f, f, 3, 1),
    ]  # fmt: skip
    up = [
        (f, 2 * f, 3, 1), (2 * f, 4 * f, 3, 1), (4 * f, 2 * f, 4, 2), (2 * f, 2 * f, 3, 1),
        (2 * f, f, 4, 2), (f, f, 3, 1), (f, f, 4, 2), *extra,
    ]  # fmt: skip
    encoder: list[nn.Module] = []
    for i, o, k, s in down:
        encoder += [nn.Conv2d(i, o, k, s, 1), nn.LeakyReLU(0.2)]
    encoder.append(nn.Conv2d(f, latent, 8))
    decoder: list[nn.Module] = [nn.ConvTranspose2d(latent, f, 8), nn.LeakyReLU(0.2)]
    for i, o, k, s in up:
        layer = nn.ConvTranspose2d(i, o, k, s, 1) if s == 2 else nn.Conv2d(i, o, k, s, 1)
        decoder += [layer, nn.LeakyReLU(0.2)]
    decoder += [nn.ConvTranspose2d(f, channels, 4, 2, 1), nn.Sigmoid()]
    network = nn.Sequential()
    network.add_module("encoder", nn.Sequential(*encoder))
    network.add_module("decoder", nn.Sequential(*decoder))
    return network


class PlainSsimLoss(nn.Module):
    """1 - mean SSIM as five depthwise 11x11 convolutions under autograd."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        x = torch.arange(11, dtype=torch.float64) - 5
        g = torch.exp(-(x**2) / (2 * 1.5**2))
        g = g / g.sum()
        window = torch.outer(g, g).expand(channels, 1, 11, 11).contiguous()
        self.register_buffer("window", window)
        self.channels = channels

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        def blur(t: Tensor) -> Tensor:
            return F.conv2d(t, self.get_buffer("window").to(t.dtype), groups=self.channels)

        mx, my = blur(x), blur(y)
        vx, vy = blur(x * x) - mx * mx, blur(y * y) - my * my
        cov = blur(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        top = (2 * mx * my + c1) * (2 * cov + c2)
        bottom = (mx * mx + my * my + c1) * (vx + vy + c2)
        return 1 - (top / bottom).mean()


def flops(network: nn.Module, channels: int, tile: int) -> float:
    """Multiply-adds times two of one patch forward and backward, in FLOP.

    Backward costs twice the forward, but the first layer needs no gradient of its input.
    """
    per_layer: list[float] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        taps = module.kernel_size[0] * module.kernel_size[1]
        pixels = output if isinstance(module, nn.Conv2d) else inputs[0]
        side = pixels.shape[-1] * pixels.shape[-2]
        per_layer.append(2.0 * taps * module.in_channels * module.out_channels * side)

    hooks = [
        m.register_forward_hook(note)
        for m in network.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    with torch.no_grad():
        network(torch.zeros(1, channels, tile, tile))
    for hook in hooks:
        hook.remove()
    return 3 * sum(per_layer) - per_layer[0]
