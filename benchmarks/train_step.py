"""One training step (network, SSIM loss, optimizer), ours beside a plain one, alternating.

    python benchmarks/train_step.py [--all] [--result FILE] [--json]

Ours is what `ssim-ae train` runs, without drawing patches and clipping gradients, which nobody does
here. Plain is benchmarks/plain.py; `msssim` is plain with the separable SSIM of the package
pytorch-msssim; MindSpore runs in graph mode with its own nn.SSIM, kept from the convolutions that
are slow on AVX-512 and, in the batch of 16, as installed. The last two are measured when they are
installed. Each has a process of its own, because allocators and thread pools are settings
of a process; they work in turn, never at once. `--all` adds bf16, small batches and the 256x256 RGB
network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from in_turn import timings
from machine import describe_machine, save_result, sgemm_gflops
from plain import PlainSsimLoss, flops, plain_network
from ssim_ae.model.network import Autoencoder
from ssim_ae.model.ssim import ssim_loss
from ssim_ae.training.allocator import keep_freed_memory

Loss = Callable[[Tensor, Tensor], Tensor]
ROUNDS = 7
PATIENCE = 60  # seconds to wait for cores that share a cache, see in_turn.py
PATCHES = 128  # a timing takes as many steps as make these
OURS = ("ours", "bf16")
# how threads wait, which ssim_ae.training has set here for itself: the others' is their own
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
AS_INSTALLED = "mindspore_as_installed"  # where its library is slow a patch takes 0.4 s
OTHERS = (
    (128, 1, 100, 32, ("ours", "plain")),
    (128, 1, 100, 16, ("ours", "plain", AS_INSTALLED)),
    (256, 3, 500, 32, ("ours", "plain")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--result", type=Path, help="file to write it to as well")
    parser.add_argument("--all", action="store_true", help="also bf16, small batches, 256x256 RGB")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        name, *numbers = arguments.worker
        work(name, *map(int, numbers))
        return
    optional = {"msssim": "pytorch_msssim", "mindspore": "mindspore"}
    installed = [n for n, module in optional.items() if importlib.util.find_spec(module)]
    names = ["ours", "plain", *installed]
    if arguments.all:
        names.append("bf16")
    result = {"machine": describe_machine(), **compare(128, 1, 100, 128, names)}
    if arguments.all:
        here = "mindspore" in installed
        result["others"] = {
            f"{tile}x{tile}x{channels}, batch {batch}": compare(
                tile, channels, latent, batch, [n for n in who if here or n != AS_INSTALLED]
            )
            for tile, channels, latent, batch, who in OTHERS
        }
    if arguments.result:
        save_result(result, arguments.result)
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))


def compare(
    tile: int, channels: int, latent: int, batch: int, names: Sequence[str]
) -> dict[str, Any]:
    """Median rates of alternating rounds, with the machine's sgemm rate in each round."""
    workers = {name: start(name, tile, channels, latent, batch) for name in names}
    for worker in workers.values():  # the first one warms up
        one_step(worker)
    steps = {name: partial(one_step, worker) for name, worker in workers.items()}
    found, cores = timings(
        {"sgemm": partial(sgemm_gflops, repeats=3), **steps}, ROUNDS, patience=PATIENCE
    )
    for worker in workers.values():
        worker.communicate()
    sgemm = found.pop("sgemm")
    rates = {name: [batch / s for s in seconds] for name, seconds in found.items()}
    gflop = flops(plain_network(tile, channels, latent), channels, tile) / 1e9
    fractions = [r * gflop / s for r, s in zip(rates["ours"], sgemm, strict=True)]
    result = {
        "patches_per_second": round(statistics.median(rates["ours"]), 2),
        "sgemm_gflops": round(statistics.median(sgemm), 1),
        "gflop_per_patch": round(gflop, 4),
        "fraction_of_roof": round(statistics.median(fractions), 3),
        "cores": cores,
    }
    for name in names[1:]:
        ratios = [a / b for a, b in zip(rates["ours"], rates[name], strict=True)]
        result[f"{name}_patches_per_second"] = round(statistics.median(rates[name]), 2)
        result[f"speedup_over_{name}"] = round(statistics.median(ratios), 2)
    return result


def start(name: str, *numbers: int) -> subprocess.Popen[str]:
    """A process that makes a few steps for every line it is sent."""
    command = [sys.executable, __file__, "--worker", name, *map(str, numbers)]
    environment = dict(os.environ)
    if name not in OURS:
        for variable in WAITING:
            environment.pop(variable, None)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def one_step(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("step\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith("seconds "):  # a framework may print of itself
            return float(line.split()[1])
    raise SystemExit("error: a worker ended early: see its message above")


def work(name: str, tile: int, channels: int, latent: int, batch: int) -> None:
    """Make some steps for every line on stdin, tell the seconds of one."""
    step = STEPS[name](tile, channels, latent, batch)
    steps = 1 if name == AS_INSTALLED else max(1, PATCHES // batch)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        print("seconds", (time.perf_counter() - began) / steps, flush=True)


def our_step(
    tile: int, channels: int, latent: int, batch: int, bf16: bool = False
) -> Callable[[], None]:
    keep_freed_memory()
    network = Autoencoder(tile, channels, latent).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=1e-5, fused=True)
    patches = torch.rand(batch, channels, tile, tile).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            reconstruction = network(patches)
        loss = ssim_loss(reconstruction, patches)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def bf16_step(tile: int, channels: int, latent: int, batch: int) -> Callable[[], None]:
    return our_step(tile, channels, latent, batch, bf16=True)


def msssim_step(tile: int, channels: int, latent: int, batch: int) -> Callable[[], None]:
    from pytorch_msssim import SSIM

    ssim = SSIM(data_range=1, win_size=11, win_sigma=1.5, channel=channels)
    return plain_step(tile, channels, latent, batch, lambda y, x: 1 - ssim(y, x))


def plain_step(
    tile: int, channels: int, latent: int, batch: int, loss: Loss | None = None
) -> Callable[[], None]:
    network = plain_network(tile, channels, latent)
    loss_of = loss or PlainSsimLoss(channels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=1e-5)
    patches = torch.rand(batch, channels, tile, tile)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(network(patches), patches).backward()
        optimizer.step()

    return step


def mindspore_step(tile: int, channels: int, d: int, batch: int) -> Callable[[], None]:
    """MindSpore's own network, SSIM and Adam on the CPU, graph mode; 128x128 grey only."""
    import numpy as np
    from mindspore import nn, ops

    from ssim_ae.runtime.mindspore_engine import graph_mode

    assert (tile, channels) == (128, 1)

    ms = graph_mode()  # without its slow convolutions on processors with AVX-512
    f = 32
    down = [(1, f, 4, 2), (f, f, 4, 2), (f, f, 3, 1), (f, 2 * f, 4, 2), (2 * f, 2 * f, 3, 1),
            (2 * f, 4 * f, 4, 2), (4 * f, 2 * f, 3, 1), (2 * f, f, 3, 1)]  # fmt: skip
    up = [(f, 2 * f, 3, 1), (2 * f, 4 * f, 3, 1), (4 * f, 2 * f, 4, 2), (2 * f, 2 * f, 3, 1),
          (2 * f, f, 4, 2), (f, f, 3, 1), (f, f, 4, 2)]  # fmt: skip
    cells: list[Any] = []
    for i, o, k, s in down:
        cells += [nn.Conv2d(i, o, k, s, "pad", 1, has_bias=True), nn.LeakyReLU(0.2)]
    cells += [nn.Conv2d(f, d, 8, 1, "pad", 0, has_bias=True)]
    cells += [nn.Conv2dTranspose(d, f, 8, 1, "pad", 0, has_bias=True), nn.LeakyReLU(0.2)]
    for i, o, k, s in up:
        kind = nn.Conv2dTranspose if s == 2 else nn.Conv2d
        cells += [kind(i, o, k, s, "pad", 1, has_bias=True), nn.LeakyReLU(0.2)]
    cells += [nn.Conv2dTranspose(f, 1, 4, 2, "pad", 1, has_bias=True), nn.Sigmoid()]
    network, ssim = nn.SequentialCell(cells), nn.SSIM()

    class Loss(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.ssim, self.mean = network, ssim, ops.ReduceMean()

        def construct(self, x: Any) -> Any:
            return 1 - self.mean(self.ssim(self.network(x), x))

    trainer = nn.TrainOneStepCell(Loss(), nn.Adam(network.trainable_params(), 2e-4))
    trainer.set_train()
    patches = ms.Tensor(np.random.default_rng(0).random((batch, 1, 128, 128), np.float32))

    def step() -> None:
        trainer(patches).asnumpy()

    return step


def mindspore_as_installed_step(tile: int, channels: int, d: int, batch: int) -> Callable[[], None]:
    """The same with the convolutions that its oneDNN picks by itself."""
    os.environ["ONEDNN_MAX_CPU_ISA"] = "DEFAULT"
    return mindspore_step(tile, channels, d, batch)


STEPS: dict[str, Callable[[int, int, int, int], Callable[[], None]]] = {
    "ours": our_step,
    "bf16": bf16_step,
    "plain": plain_step,
    "msssim": msssim_step,
    "mindspore": mindspore_step,
    AS_INSTALLED: mindspore_as_installed_step,
}


if __name__ == "__main__":
    main()
