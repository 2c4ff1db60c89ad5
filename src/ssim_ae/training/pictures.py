"""Which of a dataset's pictures are trained on, weigh the maps and give the thresholds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from ssim_ae.config import Settings
from ssim_ae.data.depth import WHOLE
from ssim_ae.data.groups import AUTO, PERHAPS, group_names, pattern_in_names
from ssim_ae.data.images import lost_depth, named, readable, size_of
from ssim_ae.data.layouts import training_pictures
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.split import distinct, hold_out, third_part
from ssim_ae.data.working_size import Preparation, much_rescaled, of_many_sizes
from ssim_ae.errors import InputError
from ssim_ae.runtime.record import picture_fingerprint

Note = Callable[[str], None]
Split = dict[str, dict[str, str]]  # part -> file name -> fingerprint


@dataclass(frozen=True)
class Parts:
    """Good pictures by their use; ``chosen_on`` weighs the maps of a joint network, else empty.

    ``unreadable``: one line for each file left out because it is no picture; ``group``: the
    pattern that told strips or parts.
    """

    train: list[Path]
    chosen_on: list[Path]
    held_out: list[Path]
    split: Split
    unreadable: list[str]
    group: str | None

    def __str__(self) -> str:
        weighing = f", {len(self.chosen_on)} for the maps' weights" if self.chosen_on else ""
        return (
            f"{len(self.train) + len(self.chosen_on) + len(self.held_out)} good pictures: training "
            f"on {len(self.train)}, {len(self.held_out)} held out for the thresholds{weighing}"
        )


def divide(
    dataset: Path, settings: Settings, before: set[str], on_note: Note, resumed: bool = False
) -> Parts:
    """Each different, readable good picture of a dataset in one of the parts.

    Args:
        before: fingerprints of pictures that the starting weights have seen: never held out.
        resumed: settings can no longer be changed, so none is proposed.

    Raises:
        InputError: no pictures, or too few.
    """
    every = training_pictures(dataset)
    good, unreadable = readable(every, settings.depth)
    if unreadable:
        on_note(f"{named(unreadable, len(every))}; left out")
    if settings.depth == WHOLE and not resumed and (line := lost_depth(good)) is not None:
        on_note(line)
    fingerprints = {f: picture_fingerprint(f) for f in good}
    files, notes = distinct(fingerprints)
    for note in notes:
        on_note(note)
    fewest = 3 if settings.network == "joint" else 2  # to train on, weigh maps by, hold out
    if len(files) < fewest:
        raise InputError(
            f"{dataset}: {len(files)} different picture(s): at least {fewest} are needed, and "
            "dozens to be of use: add good pictures"
        )
    seen = {f for f in files if fingerprints[f] in before}
    told: list[str] = []
    group, (train, held_out) = _held_out(files, settings, seen, told.append)
    for line in [] if resumed else told:
        on_note(line)
    parts = {"train": train, "held_out": held_out}
    if settings.network == "joint":  # a third part weighs the maps
        parts["train"], parts["chosen_on"] = third_part(train, group, settings.seed, seen)
    split = {name: {f.name: fingerprints[f] for f in part} for name, part in parts.items()}
    return Parts(parts["train"], parts.get("chosen_on", []), held_out, split, unreadable, group)


def _held_out(
    files: list[Path], settings: Settings, seen: set[Path], on_note: Note
) -> tuple[str | None, tuple[list[Path], list[Path]]]:
    """The pattern that tells groups, and (to train on, held out)."""

    def split(group: str | None) -> tuple[list[Path], list[Path]]:
        share, rate = settings.held_out, settings.false_reject_rate
        return hold_out(files, share, rate, group_names(files, group), settings.seed, seen)

    if settings.group != AUTO:
        return settings.group, split(settings.group)
    singly = split(None)
    if (group := pattern_in_names(files)) is not None:
        tells = f"file names tell {_listed(files, group)}, taken for strips or parts"
        with contextlib.suppress(InputError):
            parts = split(group)
            if not seen or len(parts[1]) >= len(singly[1]):
                on_note(f"{tells}: whole ones are held out (--group none: single pictures)")
                return group, parts
        on_note(f"{tells}, but too many were trained on before: single pictures are held out")
    elif (group := pattern_in_names(files, *PERHAPS)) is not None:
        on_note(
            f"file names tell {_listed(files, group)}: if each is a strip or part, rather than a "
            f'camera or kind, --group "{group}" holds out whole ones'
        )
    return None, singly


def _listed(files: list[Path], group: str) -> str:
    names = sorted(set(group_names(files, group)))
    return f"{len(names)} groups ({', '.join(names[:3])}, ...)"


def stores(parts: Parts, settings: Settings, on_note: Note) -> tuple[PictureStore, PictureStore]:
    """Pictures to draw patches from: to train on, and to judge the training by."""
    # patches come from the whole picture; the centre crop is for inspection
    preparation = Preparation(settings.color, settings.resize, None, settings.depth)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # each keeps the pictures
    memory = psutil.virtual_memory().available // 2 // processes
    store = PictureStore(parts.train, preparation, settings.tile, memory)
    if not store.in_memory:
        on_note(
            f"the pictures take {store.bytes / 2**30:.1f} GiB, over half of the free memory: "
            "they are decoded anew for every batch, which is slower"
        )
    every = parts.train + parts.chosen_on + parts.held_out
    sizes = {file: size_of(file) for file in every}
    much = much_rescaled(sizes, settings.resize, settings.tile)
    for line in (much, of_many_sizes(sizes, settings.resize)):
        if line is not None:
            on_note(line)
    judge = parts.chosen_on or parts.held_out
    PictureStore(parts.held_out, preparation, settings.tile, memory=0)  # too small ones are told
    return store, PictureStore(judge, preparation, settings.tile, memory // 4)
