"""Seconds to write a trained network's graph: our short way beside all of torch's exporter.

    python benchmarks/export_time.py [--result FILE] [--json]

Each export in a process of its own, so that the exporter's own start counts as it does after a
training, whose optimizer has loaded torch's _dynamo; both ways in turn, medians of five.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import load_result, save_result, sgemm_gflops

RESULT = Path(__file__).parent / "results" / "export_time.json"
ROUNDS = 5
PRESETS = {"auto": "rgb", "autoencoder": "grey"}
WAYS = ("short", "exporters_own")
EXPORT = """
import sys, time
import torch
from ssim_ae.config_files import load_settings
from ssim_ae.deploy import onnx
from ssim_ae.model.build import inspector_of, network_of
preset, color, way = sys.argv[1:]
if way == "exporters_own":
    onnx.shortly = onnx.at_length
s, _ = load_settings(preset, changes={"color": color})
network = network_of(s)
torch.optim.AdamW(network.parameters()).zero_grad()  # loads torch._dynamo, as training does
began = time.perf_counter()
onnx.graph_bytes(inspector_of(network, s), s.channels, s.tile)
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = load_result(arguments.result)
    for preset, color in PRESETS.items():
        result[preset] = in_turn(preset, color)
        print(preset, result[preset], file=sys.stderr, flush=True)
        save_result(result, arguments.result)
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))


def in_turn(preset: str, color: str) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            done = subprocess.run(
                [sys.executable, "-c", EXPORT, preset, color, way],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            seconds[way].append(float(done.stdout))
    medians = {way: round(statistics.median(times), 2) for way, times in seconds.items()}
    return {
        "color": color,
        "seconds": medians,
        "times_faster": round(medians["exporters_own"] / medians["short"], 2),
        "sgemm_gflops": round(sgemm_gflops(), 1),
    }


if __name__ == "__main__":
    main()
