"""Pretrain the joint network on procedural pictures: what trainings on few pictures start from.

    python benchmarks/pretraining/pretrain.py --minutes 60
        [--steps N] [--seed N] [--worlds N] [--each N] [--output FILE] [--resume]

Draws the pictures (see pictures.py), then trains with the product's loop, generated defects and
losses. Writes the weights as float16 without the counted colours, and beside them a JSON with
losses; the folder also gets the loop's log and resumable state. The pictures hold no photograph:
the weights owe nothing to anyone's data.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ssim_ae
from pictures import worlds
from ssim_ae.config import Settings
from ssim_ae.config_files import load_settings, resolved_settings, save_settings
from ssim_ae.data.corruption import TRAINED, corrupt
from ssim_ae.data.patches import batch_seed, draw_patches
from ssim_ae.data.picture_store import Pictures, PictureStore
from ssim_ae.errors import SsimAeError
from ssim_ae.files import require_writable, write_atomically
from ssim_ae.model.joint import JointNetwork
from ssim_ae.model.weights import save_weights
from ssim_ae.training.allocator import keep_freed_memory
from ssim_ae.training.checkpoint import STATE
from ssim_ae.training.devices import has_fast_bf16, start_accelerator
from ssim_ae.training.held_out import collapse, held_out_report
from ssim_ae.training.loop import Interrupted, Progress, fit
from ssim_ae.training.objective import (
    CHANCE,
    DONORS,
    LIGHT,
    PATCHES,
    Batch,
    Batches,
    _more_structured,
    _relit,
)
from ssim_ae.training.start import load_start, new_network

TIMED = 20  # steps, to find out how many fit into --minutes
HELD_OUT = 0.04  # share of the worlds
FROM_HOME = 0.7  # share of the pasted pieces that come from the patch's own world
FAINTEST = 0.4  # contrast of patches is lowered down to this
AS_IT_IS = 0.85  # share of the grey patches that get grey defects, of the others that keep colours
FLIPS = {"p_horizontal_flip": 0.5, "p_vertical_flip": 0.5}


class Worlds(PictureStore):
    """Pictures as ``draw_patches`` takes them: the i-th patch comes from world ``chosen[i]``."""

    def __init__(self, pictures: Tensor, each: int, chosen: Tensor) -> None:
        self.pictures, self.each, self.chosen = pictures, each, chosen
        self.sizes = torch.tensor(pictures.shape[1:3]).expand(each, 2)
        self.channels = tuple(pictures.shape[3:])

    def __len__(self) -> int:
        return self.each

    def take(self, indices: Tensor) -> Pictures:
        height, width = (torch.full_like(indices, n) for n in self.pictures.shape[1:3])
        start = (self.chosen * self.each + indices) * height * width
        return Pictures(self.pictures.flatten(0, 2), start, height, width)

    def portions(self, indices: Tensor) -> Iterator[Tensor]:
        yield torch.arange(len(indices))


class WorldBatches(Batches):
    """The product's batches, but both patches of a pair, and most donors, from one world.

    Pairs across worlds would prefer worlds of high contrast, and pieces of other worlds are easy to
    see. Contrast, colours and their sign vary more than the pictures themselves.
    """

    def __init__(self, pictures: Tensor, each: int, settings: Settings) -> None:
        self.pictures, self.each = pictures, each
        super().__init__(Worlds(pictures, each, torch.zeros(1, dtype=torch.int64)), settings)

    def draw(self, step: int, rank: int, count: int) -> Batch:
        s = self.settings
        assert self.masks is not None
        seeds = [batch_seed(s.seed, step, rank, stream) for stream in (PATCHES, DONORS, CHANCE)]
        rng = torch.Generator().manual_seed(seeds[CHANCE])
        home, away = torch.randint(len(self.pictures) // self.each, (2, count), generator=rng)
        there = torch.where(torch.rand(count, generator=rng) < FROM_HOME, home, away)

        def patches(chosen: Tensor, seed: int) -> Tensor:
            store = Worlds(self.pictures, self.each, chosen)
            return draw_patches(store, len(chosen), s.tile, s.augment, seed).contiguous()

        pairs, donors = patches(home.repeat(2), seeds[PATCHES]), patches(there, seeds[DONORS])
        clean, donors = recoloured(_more_structured(pairs), donors, rng)
        relit = _relit(clean, LIGHT["object"], rng).clamp(0, 1)
        return corrupted(relit, donors, self.masks, rng)


def corrupted(clean: Tensor, donors: Tensor, masks: Tensor, rng: torch.Generator) -> Batch:
    """Defects on patches, on most grey ones in grey: a grey camera sees no others.

    Some coloured patches become grey, some grey ones get coloured defects.
    """
    kinds = list(TRAINED.values())
    coloured = (clean.amax(1) - clean.amin(1)).amax((1, 2)) > 1e-3
    grey = coloured ^ (torch.rand(len(clean), generator=rng) < AS_IT_IS)
    clean[grey] = clean[grey].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    shown, label = torch.empty_like(clean), clean.new_empty(len(clean), 1, *clean.shape[2:])
    for part, channels in ((grey, 1), (~grey, 3)):
        if not bool(part.any()):
            continue
        others = donors[part] if channels == 3 else donors[part].mean(1, keepdim=True)
        found, label[part] = corrupt(clean[part][:, :channels], others, masks, kinds, rng)
        shown[part] = found.expand(-1, 3, -1, -1)
    return Batch(shown, clean, label)


def recoloured(clean: Tensor, donors: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each patch and its donor with other contrast, brightness, channels, in part inverted."""
    n = len(clean)
    gain = FAINTEST ** torch.rand(n, 1, 1, 1, generator=rng)
    gain = torch.where(torch.rand(n, 1, 1, 1, generator=rng) < 0.5, gain, 1.0)
    shift = (1 - gain) * torch.rand(n, 1, 1, 1, generator=rng)
    inverted = torch.rand(n, 1, 1, 1, generator=rng) < 0.2
    channels = torch.rand(n, 3, generator=rng).argsort(1)
    rows = torch.arange(n)[:, None]

    def change(patches: Tensor) -> Tensor:
        moved = patches[rows, channels] * gain + shift
        return torch.where(inverted, 1 - moved, moved)

    return change(clean), change(donors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time of the training itself")
    length.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--each", type=int, default=8, help="pictures of a world")
    parser.add_argument("--output", type=Path, default=Path("runs/pretraining/start.safetensors"))
    parser.add_argument("--resume", action="store_true", help="with the same options as before")
    arguments = parser.parse_args()
    if (arguments.minutes or arguments.steps) <= 0 or arguments.worlds < 25 or arguments.each < 2:
        parser.error("--minutes and --steps are above 0, --worlds at least 25, --each at least 2")
    try:
        pretrain(arguments)
    except Interrupted:
        sys.exit("stopped: continue with the same options and --resume")
    except SsimAeError as error:
        sys.exit(f"error: {error}")


def pretrain(arguments: argparse.Namespace) -> None:
    run = arguments.output.parent
    require_writable(run)
    changes = ["batch_size=32", "color=rgb", "pretrained=false", f"seed={arguments.seed}"]
    settings, _ = load_settings("object", changes=changes)
    settings = settings.model_copy(
        update={
            "precision": "bf16" if has_fast_bf16(settings.device) else "float32",
            "augment": settings.augment.model_copy(update=FLIPS),
        }
    )
    began = time.monotonic()
    drawn = worlds(arguments.worlds, arguments.each, arguments.seed)
    pictures = torch.from_numpy(drawn).flatten(0, 1)
    held = round(HELD_OUT * arguments.worlds) * arguments.each
    print(f"{len(pictures)} pictures in {time.monotonic() - began:.0f} s", flush=True)
    batches = WorldBatches(pictures[held:], arguments.each, settings)
    held_out = Worlds(pictures[:held], held, torch.zeros(1, dtype=torch.int64))

    keep_freed_memory()
    torch.manual_seed(arguments.seed)
    network = new_network(settings)
    assert isinstance(network, JointNetwork)
    if arguments.resume:
        settings = resolved_settings(run / "config.yaml")
    else:
        steps = arguments.steps or fitting(arguments.minutes, network, batches, held_out, settings)
        settings = settings.model_copy(update={"steps": steps})
        save_settings(settings, run / "config.yaml", ssim_ae.__version__)
        (run / STATE).unlink(missing_ok=True)
    print(f"{settings.steps} steps of {settings.batch_size}, {settings.precision}", flush=True)
    batches.settings = settings
    report = fit(
        network, batches, held_out, settings, run, start_accelerator(settings), arguments.resume,
        told,
    )  # fmt: skip
    ship(network, arguments.output)
    rounded = new_network(settings)
    assert isinstance(rounded, JointNetwork)
    assert load_start(rounded, arguments.output)
    found: dict[str, Any] = {
        "seed": arguments.seed,
        "pictures": [arguments.worlds, arguments.each],
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        **report,
        "held_out_loss_float16": held_out_report(rounded, held_out, settings)["held_out_loss"],
        "bytes": arguments.output.stat().st_size,
        "warning": collapse(report, "joint"),
    }
    write_atomically(
        arguments.output.with_suffix(".json"), (json.dumps(found, indent=1) + "\n").encode()
    )
    print(json.dumps(found, indent=1))


def fitting(
    minutes: float, network: nn.Module, batches: Batches, held_out: PictureStore, settings: Settings
) -> int:
    """Steps that fit into the time, by the speed of a few on a copy of the network."""
    few = settings.model_copy(update={"steps": TIMED})
    with tempfile.TemporaryDirectory() as folder:
        accelerator = start_accelerator(few)
        trial, lines = copy.deepcopy(network), list[Progress]()
        fit(
            trial, batches, held_out, few, Path(folder), accelerator, on_progress=lines.append
        )  # fmt: skip
    # the last line: the first steps are slower than those that follow
    return max(TIMED, int(minutes * 60 * lines[-1].patches_per_second / settings.batch_size))


def told(line: Progress) -> None:
    if line.step % 100 == 0 or line.step == line.steps:
        print(
            f"step {line.step} of {line.steps}  loss {line.loss:.4f}  "
            f"{line.patches_per_second:.0f} patches/s  {line.seconds:.0f} s",
            flush=True,
        )


def ship(network: JointNetwork, file: Path) -> None:
    """Weights to start from: float16, without the colours, which every data set counts anew."""
    small = copy.deepcopy(network).half()
    del small.colors
    save_weights(small, file)


if __name__ == "__main__":
    main()
