"""Start-up times and peak memory of the commands, each in a process of its own.

    python benchmarks/start_and_memory.py [--only NAME ...] [--result FILE] [--json]

Needs no pictures: a fabric is generated. Peak memory is the largest resident set of the process.
Single runs but for the start-up, which is a median of seven. Writes its result after each part. The
parts named large_ take a quarter of an hour each, or more, and run only where named; their
committed results are in large_pictures.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from machine import load_result, save_result
from ssim_ae.data.synthetic import make_dataset

RESULT = Path(__file__).parent / "results" / "start_and_memory.json"
TIMES = 7
SMALL = ["--set", "steps=20"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=[n for n in PARTS if not n.startswith("large_")]
    )
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = load_result(arguments.result)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_dataset(work / "fabric", train=60, good=10, per_defect=2, size=(256, 256))
        command("train", work / "fabric", *SMALL, "--output", work / "run")
        for name in arguments.only:
            result[name] = PARTS[name](work)
            print(name, result[name], file=sys.stderr, flush=True)
            save_result(result, arguments.result)
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))


# a child starts with the peak of the process that starts it, so a small one stands in between
SMALL_PARENT = """
import json, os, sys, time
began = time.perf_counter()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
child = os.posix_spawn(sys.executable, sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
print(json.dumps([time.perf_counter() - began, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def command(*words: object, python: Sequence[str] = ("-m", "ssim_ae")) -> dict[str, float]:
    """Run `ssim-ae` with these words; seconds and peak memory in MiB."""
    arguments = [sys.executable, *python, *map(str, words)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SMALL_PARENT, *arguments],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    seconds, peak = json.loads(done.stdout)
    return {"seconds": round(seconds, 3), "peak_mib": round(peak)}


def repeated(*words: object) -> dict[str, float]:
    runs = [command(*words) for _ in range(TIMES)]
    return {key: statistics.median(r[key] for r in runs) for key in runs[0]}


def start_up(work: Path) -> dict[str, Any]:
    """`--help`; `inspect` of one picture in a new process (files in the system's cache)."""
    picture = next((work / "fabric/test/good").iterdir())
    return {"help": repeated("--help"), "inspect_one": repeated("inspect", work / "run", picture)}


def training(work: Path) -> dict[str, Any]:
    """The reference's settings, batch 128, 10,000 patches (78 steps), export included."""
    words = ["train", work / "fabric", "--preset", "reference-texture", "--set", "steps=78"]
    return {"reference_texture_batch_128": command(*words, "--output", work / "reference")}


def evaluation(work: Path) -> dict[str, Any]:
    """100 against 2,000 test pictures."""
    found = {}
    for count in (100, 2000):
        many = work / f"many_{count}"
        for defect in ("good", "hole"):
            source = sorted((work / "fabric/test" / defect).iterdir())
            (many / "test" / defect).mkdir(parents=True)
            for i in range(count // 2):
                (many / "test" / defect / f"{i:04}.png").symlink_to(source[i % len(source)])
        truth = sorted((work / "fabric/ground_truth/hole").iterdir())
        (many / "ground_truth/hole").mkdir(parents=True)
        for i in range(count // 2):
            name = many / "ground_truth/hole" / f"{i:04}_mask.png"
            name.symlink_to(truth[i % len(truth)])
        found[str(count)] = command("evaluate", work / "run", many, "--output", work / "out")
    return found


# what a picture of full size takes: (preset, stride, colour); the joint network has no stride
LARGE = (
    ("auto", None, "grey"),
    ("auto", None, "rgb"),
    ("fast", 32, "grey"),
    ("autoencoder", 128, "grey"),
)


def large_picture(work: Path, preset: str, stride: int | None, color: str) -> dict[str, Any]:
    """One 20,000x20,000 picture at full size, overlay and mask written."""
    run = full_size_run(work, preset, stride, color)
    return command("inspect", run, large(work), "--output", work / "results")


def name_of(preset: str, stride: int | None, color: str) -> str:
    return f"large_{preset}_{color}" + ("" if stride is None else f"_stride_{stride}")


def full_size_run(work: Path, preset: str, stride: int | None, color: str) -> Path:
    run = work / f"full_{preset}_{color}"
    changes = ["--set", "resize=null", "--set", f"color={color}", *SMALL]
    if stride is not None:
        changes += ["--set", f"stride={stride}"]
    if not run.exists():
        command("train", work / "fabric", "--preset", preset, *changes, "--output", run)
    return run


def large(work: Path) -> Path:
    file, side = work / "large.png", 20_000
    if not file.exists():
        tile = np.asarray(Image.open(next((work / "fabric/test/good").iterdir())))
        times = -(-side // len(tile))
        Image.fromarray(np.tile(tile, (times, times))[:side, :side]).save(file)
    return file


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "start_up": start_up,
    "training": training,
    "evaluation": evaluation,
    **{
        name_of(*kind): partial(large_picture, preset=kind[0], stride=kind[1], color=kind[2])
        for kind in LARGE
    },
}


if __name__ == "__main__":
    main()
