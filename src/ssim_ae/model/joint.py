"""The joint network: a denoising autoencoder and a segmentation head that share an encoder.

Fully convolutional, so it runs once over a picture of any size. The autoencoder sees a picture with
generated defects and gives back the one without them, through a bottleneck a sixteenth of the
side wide, without skips (Vincent et al., ICML 2008; loss: SSIM). The head outlines what was
generated; it sees the encoder's features and, like DRAEM's (Zavrtanik et al., ICCV 2021), picture
and reconstruction side by side, here at half size and with their difference and SSIM already taken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.config import CELL
from ssim_ae.model.colors import ColorRarity
from ssim_ae.model.features import FeatureDistance
from ssim_ae.model.filters import cropped, enlarged, mirrored
from ssim_ae.model.findings import Findings
from ssim_ae.model.memory import Memory
from ssim_ae.model.ssim import C1, C2

SLOPE = 0.1  # LeakyReLU
REACH = 144  # pixels: 44 of the encoder, 58 of the decoder, 26 of the head, a cell to align
WINDOW = 7  # of the head's SSIM, at half size
PRIOR = -2.0  # the head's first logit: few pixels are defective


class JointNetwork(nn.Module):
    """Denoising autoencoder and segmentation head.

    Args:
        channels: 1 (grey) or 3 (RGB).
        latent: channels of the bottleneck.
        first_layer_channels: width of the first layer; every other width scales with it.

    Input ``[n, channels, h, w]`` float32, h and w multiples of 16; ``Findings`` of the same size,
    the logit ``[n, 1, h/2, w/2]`` at half size.
    """

    def __init__(self, channels: int = 1, latent: int = 64, first_layer_channels: int = 16) -> None:
        super().__init__()
        f = first_layer_channels
        c1, c2, c3, c4, c5 = f, 2 * f, 3 * f, 4 * f, 6 * f
        self.encode1 = _layer(channels, c1, 5, 2)
        self.encode2 = nn.Sequential(_layer(c1, c2, 3, 2), _layer(c2, c2))
        self.encode3 = nn.Sequential(_layer(c2, c3, 3, 2), _layer(c3, c3))
        self.encode4 = nn.Sequential(_layer(c3, c5, 3, 2), _layer(c5, c5))
        self.decode = nn.Sequential(
            nn.Conv2d(c5, latent, 1),
            _layer(latent, c5),
            _doubling(c5, c4),
            _layer(c4, c4),
            _doubling(c4, c3),
            _layer(c3, c3),
            _doubling(c3, c2),
            nn.ConvTranspose2d(c2, channels, 4, 2, 1),
            nn.Sigmoid(),
        )
        self.compare1 = _layer(3 * channels + 1, f)
        self.compare2 = _layer(f, c2, 3, 2)
        self.segment3 = _layer(c5 + c3, c4)
        self.segment2 = _layer(c4 + 2 * c2, c2)
        self.segment1 = nn.Sequential(_layer(c2 + 2 * c1, f, 1), _layer(f, f))
        self.logit = nn.Conv2d(f, 1, 3, 1, 1)
        assert self.logit.bias is not None
        nn.init.constant_(self.logit.bias, PRIOR)
        self.colors = ColorRarity(channels)  # counted before training; on whole pictures only
        # learned after training
        self.memory: Memory | None = None
        self.features: FeatureDistance | None = None  # on whole pictures only
        self.channels, self.widths = channels, (c2, c3)

    def new_memory(self) -> Memory:
        """A memory that fits the encoder, still empty."""
        return Memory(*self.widths)

    def encoded(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features at 1/2, 1/4, 1/8 and 1/16 of the size."""
        f1 = self.encode1(picture)
        f2 = self.encode2(f1)
        f3 = self.encode3(f2)
        return f1, f2, f3, self.encode4(f3)

    def forward(self, picture: Tensor) -> Findings:
        f1, f2, f3, f4 = self.encoded(picture)
        reconstruction: Tensor = self.decode(f4)
        g1 = self.compare1(compared(picture.float(), reconstruction.detach().float()))
        s = self.segment3(torch.cat([_twice(f4), f3], 1))
        s = self.segment2(torch.cat([_twice(s), f2, self.compare2(g1)], 1))
        s = self.segment1(torch.cat([_twice(s), f1, g1], 1))
        memory = None if self.memory is None else self.memory(f2, f3)
        return Findings(reconstruction, self.logit(s), memory=memory)


def compared(picture: Tensor, reconstruction: Tensor) -> Tensor:
    """``[n, c, h, w]`` twice -> both, their difference and 1 - SSIM, ``[n, 3c + 1, h/2, w/2]``.

    In float32: rounded to bf16, squares are off by more than the SSIM's constants.
    """
    x, y = F.avg_pool2d(picture, 2), F.avg_pool2d(reconstruction, 2)
    c = x.shape[1]
    u, v = x - 0.5, y - 0.5  # centred: fewer digits lost in the variances
    moments = torch.cat([u, v, u * u + v * v, u * v], 1)
    for window in ((WINDOW, 1), (1, WINDOW)):
        inside = (window[0] // 2, window[1] // 2)
        moments = F.avg_pool2d(moments, window, 1, inside, count_include_pad=False)
    mx, my, squares, xy = (moments[:, i * c : (i + 1) * c] for i in range(4))
    structure = (2 * (xy - mx * my) + C2) / (squares - mx * mx - my * my + C2)
    mx, my = mx + 0.5, my + 0.5
    luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
    unlike = (1 - luminance * structure).mean(1, keepdim=True)
    return torch.cat([x, y, (x - y).abs() * 4, unlike], 1)


class WholePicture(nn.Module):
    """The joint network on a picture of any size, mirrored up to a multiple of 16.

    ``[n, c, h, w]`` -> ``Findings`` of the same height and width.
    """

    def __init__(self, network: JointNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def reach(self) -> int:
        """How far around a pixel its findings look, pixels."""
        features = self.network.features
        return REACH if features is None else max(REACH, features.reach)

    def forward(self, picture: Tensor) -> Findings:
        h, w = picture.shape[2:]
        whole = mirrored(picture, CELL)
        found = self.network(whole)
        assert found.logit is not None
        logit = cropped(enlarged(found.logit, 2)[:, 0], h, w)
        rarity = self.network.colors(picture)
        memory = features = None
        if found.memory is not None:
            memory = cropped(found.memory, h, w)
        if self.network.features is not None:
            features = cropped(self.network.features(whole), h, w)
        return Findings(cropped(found.reconstruction, h, w), logit, rarity, memory, features)


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _doubling(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _twice(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="nearest")
