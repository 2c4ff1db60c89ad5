"""What good pictures' features are like: their mean, their spread, and a core set of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ssim_ae.config import CELL
from ssim_ae.data.contrast import stretched
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.model.core_set import LARGEST, CoreSet
from ssim_ae.model.features import FeatureDistance
from ssim_ae.model.filters import mirrored
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import JointNetwork
from ssim_ae.model.memory import Memory
from ssim_ae.training.imagenet import imagenet_weights, load_imagenet

SIDE = 512  # largest part of a picture that is described at once, pixels
POSITIONS = 60_000  # of all pictures, from which the core set is taken
PROJECTED = 64  # dimensions in which it is looked for
RIDGE = 0.1  # added to the variances of standardised features
STEADY = 1e-3  # smallest standard deviation: a feature that never varied is not blown up


Described = Callable[[Tensor], Tensor]  # picture [1, c, h, w] -> features [1, width, h', w']


@torch.inference_mode()
def learned_memory(
    network: JointNetwork, store: PictureStore, seed: int, folds: Sequence[int] = ()
) -> tuple[Memory, list[Tensor]]:
    """What the trained network's encoder makes of all training pictures; and without each fold."""
    memory = network.new_memory().eval()

    def described(picture: Tensor) -> Tensor:
        return memory.described(*network.encoded(picture)[1:3])

    return memory, learn(memory, described, uncorrelated, store, seed, folds)


@torch.inference_mode()
def learned_features(
    store: PictureStore, channels: int, seed: int, folds: Sequence[int] = ()
) -> tuple[FeatureDistance, list[Tensor]]:
    """The ImageNet features of all training pictures, ready to be compared with; and centres
    without each fold.

    Raises:
        InputError: the weights are not installed (``training.imagenet``).
    """
    features = FeatureDistance(channels).eval()
    load_imagenet(features.backbone, imagenet_weights())
    return features, learn(features, features.described, standard_units, store, seed, folds)


@torch.inference_mode()
def learn(
    core: CoreSet,
    described: Described,
    axes_of: Callable[[Tensor], Tensor],
    store: PictureStore,
    seed: int,
    folds: Sequence[int] = (),
) -> list[Tensor]:
    """Take mean, axes and centres from the store's pictures.

    Args:
        axes_of: centred features ``[positions, width]`` -> axes, in rows ``[width, width]``.
        folds: 0, 1, ... for each picture.

    Returns the centres as they would be without the pictures of a fold (mean and axes being those
    of all), one by one; empty when there are fewer than two folds.
    """
    rng = torch.Generator().manual_seed(seed)
    share = -(-POSITIONS // len(store))
    kept, origins = [], []
    for index in range(len(store)):
        picture = store.picture(index)
        area = picture.shape[1] * picture.shape[2]
        for part in _parts(picture):
            some = -(-share * part.shape[1] * part.shape[2] // area)
            seen = stretched(Inspector.picture(part), store.stretch)
            found = _rows(described(mirrored(seen, CELL)))
            kept.append(found[torch.randperm(len(found), generator=rng)[:some]])
            origins += [index] * len(kept[-1])
    positions = torch.cat(kept)
    core.mean.copy_(positions.mean(0))
    positions -= core.mean
    axes = axes_of(positions)
    positions = (positions @ axes.t()).clamp(-LARGEST, LARGEST)
    core.axes.copy_(axes)
    count = len(core.centres)
    core.centres.copy_(positions[core_set(positions, count, rng)])
    if len(set(folds)) < 2:
        return []
    fold_of = torch.tensor(folds)[torch.tensor(origins)]
    others = (positions[fold_of != fold] for fold in sorted(set(folds)))
    return [rows[core_set(rows, count, rng)] for rows in others]


def standard_units(centred: Tensor) -> Tensor:
    """The features as they are, each in units of its standard deviation."""
    return torch.diag(1 / centred.std(0).clamp(min=STEADY))


def uncorrelated(centred: Tensor) -> Tensor:
    """Principal axes of the standardised features, in units of about their deviation.

    What several features say alike then counts once. Axes along which good pictures hardly differ
    are not blown up beyond ``RIDGE``.
    """
    units = standard_units(centred)
    standard = centred @ units
    variances, directions = torch.linalg.eigh(standard.t() @ standard / len(standard))
    gain = (variances + RIDGE).rsqrt()
    gain = gain / (gain * gain * variances).mean().sqrt()  # of mean square 1, like the features
    axes: Tensor = (directions * gain).t() @ units
    return axes


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
    beside = torch.empty_like(squares)  # reused: blocks freed thousands of times are not given back
    for _ in range(count - 1):
        torch.mv(points, points[chosen], out=beside)
        beside.mul_(-2).add_(squares).add_(squares[chosen])
        torch.minimum(distance, beside, out=distance)
        chosen = distance.argmax()
        found.append(chosen)
    return torch.stack(found)


def _parts(pixels: Tensor) -> Iterator[Tensor]:
    """A picture ``[1, h, w(, 3)]`` in parts of at most ``SIDE`` pixels a side.

    Inspection meets borders where blocks and crops end too, so parts do no harm.
    """
    h, w = pixels.shape[1:3]
    for rows in torch.tensor_split(pixels, -(-h // SIDE), dim=1):
        yield from torch.tensor_split(rows, -(-w // SIDE), dim=2)


def _rows(described: Tensor) -> Tensor:
    """``[n, c, h, w]`` -> ``[n * h * w, c]``."""
    return described.permute(0, 2, 3, 1).reshape(-1, described.shape[1])
