"""One training step (network, SSIM loss, optimizer), ours beside a plain one, alternating.

    python benchmarks/train_step.py [--json] [--all]

Ours is what `ssim-ae train` runs. Plain is benchmarks/plain.py. MindSpore (graph mode, its own
nn.SSIM) is measured when it is installed. `--all` adds small batches and the 256x256 RGB network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from machine import describe_machine, sgemm_gflops
from plain import PlainSsimLoss, flops, plain_network
from ssim_ae.model.network import Autoencoder
from ssim_ae.model.ssim import ssim_loss

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--all", action="store_true", help="also batches 16, 32 and 256x256 RGB")
    arguments = parser.parse_args()
    result = {"machine": describe_machine(), **compare(128, 1, 100, 128, plain=True)}
    if mindspore := mindspore_step(128):
        rate, speeds = mindspore, []
        for _ in range(3):
            speeds.append(rate())
        result["mindspore_patches_per_second"] = round(statistics.median(speeds), 2)
        result["speedup_over_mindspore"] = round(
            result["patches_per_second"] / result["mindspore_patches_per_second"], 2
        )
    if arguments.all:
        result["others"] = {
            f"{tile}x{tile}x{channels}, batch {batch}": compare(tile, channels, latent, batch)
            for tile, channels, latent, batch in (
                (128, 1, 100, 16), (128, 1, 100, 32), (256, 3, 500, 16), (256, 3, 500, 64),
            )
        }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
    else:
        print(json.dumps(result, indent=1))


def compare(
    tile: int, channels: int, latent: int, batch: int, plain: bool = False
) -> dict[str, Any]:
    """Median rates of alternating rounds, with the machine's sgemm rate in each round."""
    ours, theirs = our_step(tile, channels, latent, batch), None
    if plain:
        theirs = plain_step(tile, channels, latent, batch)
    rates: dict[str, list[float]] = {"ours": [], "plain": [], "sgemm": []}
    ours(), theirs and theirs()  # type: ignore[func-returns-value]
    for _ in range(ROUNDS):
        rates["sgemm"].append(sgemm_gflops(repeats=3))
        rates["ours"].append(batch / timed(ours))
        if theirs:
            rates["plain"].append(batch / timed(theirs))
    gflop = flops(plain_network(tile, channels, latent), channels, tile) / 1e9
    fractions = [r * gflop / s for r, s in zip(rates["ours"], rates["sgemm"], strict=True)]
    result = {
        "patches_per_second": round(statistics.median(rates["ours"]), 2),
        "sgemm_gflops": round(statistics.median(rates["sgemm"]), 1),
        "gflop_per_patch": round(gflop, 4),
        "fraction_of_roof": round(statistics.median(fractions), 3),
    }
    if theirs:
        speedups = [a / b for a, b in zip(rates["ours"], rates["plain"], strict=True)]
        result["plain_patches_per_second"] = round(statistics.median(rates["plain"]), 2)
        result["speedup_over_plain"] = round(statistics.median(speedups), 2)
    return result


def timed(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def our_step(tile: int, channels: int, latent: int, batch: int) -> Callable[[], None]:
    network = Autoencoder(tile, channels, latent).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=1e-5, fused=True)
    patches = torch.rand(batch, channels, tile, tile).to(memory_format=torch.channels_last)

    def step() -> None:
        loss = ssim_loss(network(patches), patches)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain_step(tile: int, channels: int, latent: int, batch: int) -> Callable[[], None]:
    network, loss_of = plain_network(tile, channels, latent), PlainSsimLoss(channels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=1e-5)
    patches = torch.rand(batch, channels, tile, tile)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(network(patches), patches).backward()
        optimizer.step()

    return step


def mindspore_step(batch: int) -> Callable[[], float] | None:
    """Patches per second of MindSpore's own network, SSIM and Adam on the CPU, graph mode."""
    try:
        import mindspore as ms
        from mindspore import nn, ops
    except ImportError:
        return None
    import numpy as np

    ms.set_context(mode=ms.GRAPH_MODE)
    f, d = 32, 100
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
    trainer(patches).asnumpy()

    def rate() -> float:
        began = time.perf_counter()
        trainer(patches).asnumpy()
        return batch / (time.perf_counter() - began)

    return rate


if __name__ == "__main__":
    main()
