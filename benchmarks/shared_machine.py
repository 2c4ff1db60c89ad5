"""Steps a second of one training alone and of two at once, by how OpenMP's threads wait.

    python benchmarks/shared_machine.py [--result FILE] [--json]

*spinning* is what OpenMP does unless told otherwise, *spinning a little* what the package asks for
(``ssim_ae/training/__init__.py``), *sleeping* not to spin at all. Two at once stand for whatever
else runs on a user's cores. The `texture` preset on the demo's fabric; ways in turn, medians of
five.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import load_result, save_result, sgemm_gflops
from ssim_ae.data.synthetic import make_dataset

RESULT = Path(__file__).parent / "results" / "shared_machine.json"
ROUNDS, SECONDS = 5, 8
# the number is libgomp's own where no policy is asked for
WAYS = {
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "spinning a little": {},
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE"},
}
TOGETHER = {"alone": 1, "two at once": 2}
TRAIN = """
import sys, time
from pathlib import Path
from ssim_ae.training.objective import Batches, loss_of  # first: it says how threads wait
import torch
from ssim_ae.config_files import load_settings
from ssim_ae.model.findings import findings
from ssim_ae.training.allocator import keep_freed_memory
from ssim_ae.training.pictures import divide, stores
from ssim_ae.training.start import new_network
settings, _ = load_settings("texture", changes={"color": "grey", "precision": "float32"})
store, _ = stores(divide(Path(sys.argv[1]), settings, set(), print), settings, print)
keep_freed_memory()
network = new_network(settings).train().to(memory_format=torch.channels_last)
batches = Batches(store, settings)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
print("ready", flush=True)
input()
steps, began = 0, time.monotonic()
while time.monotonic() - began < float(sys.argv[2]):
    batch = batches.draw(steps, 0, settings.batch_size)
    optimizer.zero_grad()
    loss_of(findings(network(batch.shown)), batch).backward()
    optimizer.step()
    steps += 1
print(steps / (time.monotonic() - began))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = load_result(arguments.result)
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder), seed=0)
        result["steps_per_second"] = in_turn(Path(folder))
    result["sgemm_gflops"] = round(sgemm_gflops(), 1)
    save_result(result, arguments.result)
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))


def in_turn(dataset: Path) -> dict[str, dict[str, float]]:
    """Of all trainings that run at once taken together, by company and way."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for company, number in TOGETHER.items():
            for way, environment in WAYS.items():
                speed = sum(trainings(dataset, number, environment))
                speeds.setdefault((company, way), []).append(speed)
                print(company, way, round(speed, 3), file=sys.stderr, flush=True)
    return {
        company: {way: round(statistics.median(speeds[company, way]), 3) for way in WAYS}
        for company in TOGETHER
    }


def trainings(dataset: Path, number: int, environment: dict[str, str]) -> list[float]:
    """So many at once, each in a process of its own; they begin together."""
    others = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(dataset), str(SECONDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**others, **environment},
        )
        for _ in range(number)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        while "ready" not in worker.stdout.readline():
            assert worker.poll() is None
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    return [float(worker.communicate()[0]) for worker in workers]


if __name__ == "__main__":
    main()
