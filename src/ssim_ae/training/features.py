"""What good pictures' features are like: their mean, their spread, and a core set of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssim_ae.config import CELL
from ssim_ae.data.contrast import stretched
from ssim_ae.data.patches import PictureStore
from ssim_ae.model.features import CENTRES, LARGEST, FeatureDistance
from ssim_ae.model.filters import mirrored
from ssim_ae.model.inspector import Inspector
from ssim_ae.training.imagenet import imagenet_weights, load_imagenet

SIDE = 512  # largest part of a picture that is described at once, pixels
POSITIONS = 60_000  # of all pictures, from which the core set is taken
PROJECTED = 64  # dimensions in which it is looked for
STEADY = 1e-3  # smallest standard deviation: a feature that never varied is not blown up


@torch.inference_mode()
def learned_features(store: PictureStore, channels: int, seed: int) -> FeatureDistance:
    """The ImageNet features of all training pictures, ready to be compared with.

    Raises:
        InputError: the weights are not installed (``training.imagenet``).
    """
    features = FeatureDistance(channels).eval()
    load_imagenet(features.backbone, imagenet_weights())
    settle(features, store, seed)
    return features


@torch.inference_mode()
def settle(features: FeatureDistance, store: PictureStore, seed: int) -> None:
    """Take mean, deviation and centres from the store's pictures."""
    rng = torch.Generator().manual_seed(seed)
    share = -(-POSITIONS // len(store))
    kept = []
    for index in range(len(store)):
        pictures, where = store.take(torch.tensor([index]))
        picture = stretched(Inspector.picture(pictures[where]), store.stretch)
        found = torch.cat([_rows(features.described(part)) for part in _parts(picture)])
        kept.append(found[torch.randperm(len(found), generator=rng)[:share]])
    positions = torch.cat(kept)
    mean = positions.mean(0)
    deviation = positions.std(0).clamp(min=STEADY)
    positions = ((positions - mean) / deviation).clamp(-LARGEST, LARGEST)
    features.mean.copy_(mean)
    features.deviation.copy_(deviation)
    features.centres.copy_(positions[core_set(positions, CENTRES, rng)][:, :, None, None])


def core_set(positions: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Indices of ``count`` rows that lie close to all others: each the furthest from those before.

    The greedy choice for the k-centre problem (Gonzalez, 1985), in a random projection. Rows come
    twice where there are fewer than ``count``.
    """
    directions = torch.randn(positions.shape[1], PROJECTED, generator=rng) / PROJECTED**0.5
    points = positions @ directions
    squares = (points * points).sum(1)
    chosen = squares.argmin()  # the most usual one
    found, distance = [chosen], torch.full_like(squares, torch.inf)
    for _ in range(count - 1):
        distance = torch.minimum(distance, squares + squares[chosen] - 2 * points @ points[chosen])
        chosen = distance.argmax()
        found.append(chosen)
    return torch.stack(found)


def _parts(picture: Tensor) -> Iterator[Tensor]:
    """A picture in parts of at most ``SIDE``, each continued to a multiple of the network's cell.

    Inspection meets borders where blocks and crops end too, so parts do no harm.
    """
    h, w = picture.shape[2:]
    for rows in torch.tensor_split(picture, -(-h // SIDE), dim=2):
        for part in torch.tensor_split(rows, -(-w // SIDE), dim=3):
            yield mirrored(part, CELL)


def _rows(described: Tensor) -> Tensor:
    """``[n, c, h, w]`` -> ``[n * h * w, c]``."""
    return described.permute(0, 2, 3, 1).reshape(-1, described.shape[1])
