"""How far a picture's ImageNet features lie from those of good pictures: a map for each pixel.

Features of a network that was trained on photographs and stays as it is: EfficientNet-Lite0 (Tan
and Le, ICML 2019; the variant with ReLU6 and without squeeze-and-excitation), up to its last layer
at a sixteenth of the side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssim_ae.model.core_set import CoreSet
from ssim_ae.model.filters import enlarged

STEM = 32  # channels of the first layer
# expansion, channels, kernel, stride of the first block, blocks
STAGES = ((1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3), (6, 112, 5, 1, 3))
FINE, COARSE = 4, 10  # blocks whose results are taken: at 1/8 and 1/16 of the size
STRIDE = 8  # pixels to a position of the finer one
WIDTH = 40 + 112
CENTRES = 1000
REACH = 224  # pixels: 184 of the backbone, 16 of the mean, 17 of the enlargements, rounded up
MIDDLE, SPREAD = 127 / 255, 128 / 255  # what the backbone's pictures were shifted and divided by


class Backbone(nn.Module):
    """The first 11 blocks of EfficientNet-Lite0, batch normalisation folded into the convolutions.

    Picture ``[n, channels, h, w]`` in 0..1, h and w multiples of 16 -> features ``[n, 40, h/8,
    w/8]`` and ``[n, 112, h/16, w/16]``. With one channel it computes what three equal ones would
    give. Its weights are never trained here (see ``training.imagenet``).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = convolution(channels, STEM, 3, 2)
        blocks, inputs = [], STEM
        for expansion, outputs, kernel, stride, count in STAGES:
            for number in range(count):
                blocks.append(Block(inputs, outputs, kernel, 1 if number else stride, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.requires_grad_(False)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu6(self.stem((picture - MIDDLE) / SPREAD))
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found[FINE], found[COARSE]


class Block(nn.Module):
    """Inverted residual: widened, filtered channel by channel, narrowed without a nonlinearity."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = convolution(inputs, wide, 1) if expansion > 1 else None
        self.filter = convolution(wide, wide, kernel, stride, groups=wide)
        self.narrow = convolution(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = F.relu6(self.filter(y))
        narrow: Tensor = self.narrow(y)
        return x + narrow if self.residual else narrow


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Zeros around the picture as TensorFlow puts them: of an odd number more below and right.

    PyTorch pads both sides alike; so a kernel of stride 2 gets a first row and column, of zeros.
    """
    side = kernel + (stride == 2)
    return nn.Conv2d(inputs, outputs, side, stride, kernel // 2, groups=groups)


class FeatureDistance(CoreSet):
    """Distance of local features to the nearest centre.

    Picture ``[n, channels, h, w]`` in 0..1, h and w multiples of 16 -> ``[n, h, w]``, in units of
    the features' standard deviation over good pictures, larger = less like any of them. Made by
    ``training.imagenet`` and ``training.core_set``.
    """

    reach = REACH

    def __init__(self, channels: int) -> None:
        super().__init__(WIDTH, CENTRES)
        self.backbone = Backbone(channels)

    def described(self, picture: Tensor) -> Tensor:
        """Features of each position, averaged over its neighbours, ``[n, WIDTH, h/8, w/8]``."""
        fine, coarse = (
            F.avg_pool2d(found, 3, 1, 1, count_include_pad=False)
            for found in self.backbone(picture)
        )
        return torch.cat([fine, enlarged(coarse, 2)], 1)

    def forward(self, picture: Tensor) -> Tensor:
        return enlarged(self.distance(self.described(picture)), STRIDE)[:, 0]
