"""Which good pictures are trained on, weigh the maps, and are held out for calibration."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from ssim_ae.data.groups import group_names
from ssim_ae.errors import InputError

CHOSEN_ON = 0.12  # share of the pictures left for training that weigh the maps
FEW = 4  # as many at least, of up to a quarter: generated defects lie on them
FOLDS = 4  # of the pictures trained on


def distinct(fingerprints: Mapping[Path, str]) -> tuple[list[Path], list[str]]:
    """Files without those that are another one's copy, byte for byte, and a line about these.

    A copy on the other side of the split would be a held-out picture that was trained on.
    """
    first: dict[str, Path] = {}
    for file, fingerprint in fingerprints.items():
        first.setdefault(fingerprint, file)
    kept = list(first.values())
    copies = [f for f in fingerprints if f != first[fingerprints[f]]]
    if not copies:
        return kept, []
    original = first[fingerprints[copies[0]]]
    return kept, [
        f"{len(copies)} of {len(fingerprints)} pictures are copies of others and are left out "
        f"({copies[0].name} of {original.name}, ...)"
    ]


def hold_out(
    files: Sequence[Path],
    share: float,
    rate: float,
    groups: Sequence[str],
    seed: int,
    seen: Collection[Path] = (),
) -> tuple[list[Path], list[Path]]:
    """Split good pictures into (to train on, held out), whole groups together.

    The held-out share grows until ``rate`` can be promised (n >= 1 / rate - 1, split conformal),
    up to half of the pictures; groups are drawn at random by ``seed``. A group with a picture in
    ``seen`` (trained on before, by the run whose weights are taken over) is never held out.
    """
    needed = max(round(share * len(files)), math.ceil(1 / rate - 1 - 1e-9))
    most = len(files) // 2
    wanted = min(max(1, needed), most)
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = Counter(groups)
    stale = {g for f, g in zip(files, groups, strict=True) if f in seen}
    chosen: set[str] = set()
    count = 0
    for name in (names[i] for i in order):
        if count >= wanted:
            break
        if name not in stale and count + sizes[name] <= most:
            chosen.add(name)
            count += sizes[name]
    if not chosen:
        raise InputError(
            f"{len(files)} pictures in {len(names)} group(s) cannot be split into training and "
            "held-out ones that were never trained on: add pictures, or make the groups smaller"
        )
    split = zip(files, groups, strict=True)
    pairs = [(f, g in chosen) for f, g in split]
    return [f for f, held in pairs if not held], [f for f, held in pairs if held]


def third_part(
    files: Sequence[Path], pattern: str | None, seed: int, seen: Collection[Path] = ()
) -> tuple[list[Path], list[Path]]:
    """(to train on, to weigh the maps by): whole groups, unless that would take a large share.

    Pictures in ``seen`` (by weights taken over) only if there are no others: the weights may suffer
    a little, the thresholds do not.
    """
    singly = group_names(files, None)
    share = max(CHOSEN_ON, min(FEW, len(files) // 4) / len(files))
    for groups in (group_names(files, pattern), singly):
        with contextlib.suppress(InputError):
            train_files, chosen = hold_out(files, share, 0.5, groups, seed, seen)
            if groups is singly or len(chosen) <= len(files) / 4:
                return train_files, chosen
    return hold_out(files, share, 0.5, singly, seed)


def folds(groups: Sequence[str]) -> list[int]:
    """Which of ``FOLDS`` parts about alike in size, counted from 0, each picture is in.

    Whole groups together, but for those that are larger than a part.
    """
    sizes = Counter(groups)
    names = [(g, i if sizes[g] > len(groups) / FOLDS else 0) for i, g in enumerate(groups)]
    filled = [0] * FOLDS
    fold_of: dict[tuple[str, int], int] = {}
    for name, size in Counter(names).most_common():
        fold_of[name] = filled.index(min(filled))
        filled[fold_of[name]] += size
    return [fold_of[name] for name in names]
