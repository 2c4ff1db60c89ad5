"""What every network says of a picture."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Findings(NamedTuple):
    """Of pictures ``[n, c, h, w]`` in 0..1: their reconstruction, of the same shape; ``logit``
    ``[n, h, w]``, the log odds that a pixel is defective; ``rarity`` ``[n, h, w]``, -log density of
    its colour; ``memory`` and ``features`` ``[n, h, w]``, distance of the encoder's and of ImageNet
    features to those of good pictures. None where a network has no segmentation head, no counted
    colours, no memory, no ImageNet features."""

    reconstruction: Tensor
    logit: Tensor | None = None
    rarity: Tensor | None = None
    memory: Tensor | None = None
    features: Tensor | None = None


def findings(found: Tensor | Findings) -> Findings:
    """What a network gave back; a bare tensor is a reconstruction."""
    return found if isinstance(found, Findings) else Findings(found)
