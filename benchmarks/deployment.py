"""Every export of a detector: parity on real pictures, size, load time, time a picture, quality.

    SSIM_AE_DATA=<folder> python benchmarks/deployment.py [--set NAME] [--work DIR]
    python benchmarks/deployment.py --install      # size of the base installation, cold inspect

Trains by the default command (or takes a run that lies in --work already), exports to everything
that this machine can make and passes the gate, compares all of them on all test pictures, and
times them in turn. What does not pass is written down with its reason. Where MindSpore is
installed its export is made too. Adds to benchmarks/results/deployment.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import load_result, save_result
from quality import SETS
from real_data import folder_of_sets
from ssim_ae import Detector, evaluate
from ssim_ae.data.layouts import test_pictures
from ssim_ae.deploy.export import PRECISIONS, export
from ssim_ae.deploy.parity import BOUNDS, parity
from ssim_ae.errors import SsimAeError
from ssim_ae.runtime.exported import parts_of

RESULT = Path(__file__).parent / "results" / "deployment.json"
ROUNDS = 7
QUALITY = ("pixel_auroc", "aupro_30", "image_auroc")
ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--work", type=Path, default=Path("runs/deployment"))
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    result = load_result(arguments.result)
    if arguments.install:
        result["install"] = base_installation()
        print(result["install"])
    else:
        data = folder_of_sets()
        for name in arguments.set or ["fabric_02", "metal_plate"]:
            folder, options = SETS[name]
            run = arguments.work / name
            if not (run / "detector.onnx").exists():
                command("train", data / folder, *options, "--output", run)
            result.setdefault("sets", {})[name] = measure(run, data / folder)
            save_result(result, arguments.result)
    save_result(result, arguments.result)


def measure(run: Path, dataset: Path) -> dict[str, Any]:
    """One row for each engine and precision."""
    detector = Detector.load(run)
    pictures = [detector.record.preparation.read(t.file)[0] for t in test_pictures(dataset)]
    rows: dict[str, Any] = {
        "detector.onnx": {"file": detector.file, "engine": "onnxruntime"},
        "detector.onnx, direct": {"file": detector.file, "engine": "openvino"},
        "weights of the run": {"file": detector.file, "engine": "torch"},
    }
    for to, precisions in PRECISIONS.items():
        for precision in precisions:
            if (to, precision) == ("onnx", "float32") or to == "ckpt":
                continue
            try:
                file = export(run, to, precision=precision).files[0]
                rows[file.name] = {"file": file, "engine": None}
                if to == "onnx":
                    rows[f"{file.name}, direct"] = {"file": file, "engine": "openvino"}
            except (SsimAeError, ImportError) as error:
                rows[f"{to} {precision}"] = {"refused": str(error).rpartition("/")[2]}
            print(to, precision, flush=True)
    loaded: dict[str, Detector] = {}
    for name, row in rows.items():
        if "refused" in row:
            continue
        file, engine = row.pop("file"), row["engine"]
        began = time.perf_counter()
        other = Detector.load(file, engine)
        row["load_ms"] = round(1e3 * (time.perf_counter() - began), 1)
        row["engine"] = other.engine.name
        row["precision"] = other.record.precision
        row["bytes"] = sum(part.stat().st_size for part in parts_of(file))
        found = parity(detector, other, pictures)
        row["parity"] = found.__dict__
        row["within_bounds"] = not found.failures(BOUNDS[row["precision"]])
        with tempfile.TemporaryDirectory() as scratch:
            metrics = evaluate(file, dataset, scratch, engine=engine).metrics
        row |= {k: round(metrics[k], 4) for k in QUALITY}
        loaded[name] = other
        print(name, row, flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in range(ROUNDS):  # in turn, so that a change of the machine's pace meets all alike
        for name, other in loaded.items():
            other.measure(pictures[0])
            began = time.perf_counter()
            other.measure(pictures[0])
            seconds[name].append(time.perf_counter() - began)
    for name, times in seconds.items():
        rows[name]["ms"] = round(1e3 * statistics.median(times), 1)
    return {"pictures": len(pictures), "size": list(pictures[0].shape[:2]), "rows": rows}


def base_installation() -> dict[str, Any]:
    """`pip install .` without extras into a new environment; then `inspect` there, cold."""
    with tempfile.TemporaryDirectory() as folder:
        place, work = Path(folder) / "env", Path(folder)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        before = size_of(place)
        pip = [sys.executable, "-m", "pip", "--python", place / "bin/python", "--quiet"]
        subprocess.run([*pip, "install", "--no-compile", ROOT], check=True)
        ask = "import json, importlib.metadata as m\n"
        ask += "print(json.dumps([d.name for d in m.distributions() if d.name != 'ssim-ae']))"
        listed = subprocess.run([place / "bin/python", "-c", ask], capture_output=True, check=True)
        make = "from ssim_ae.data.synthetic import make_dataset; import sys, pathlib\n"
        make += "make_dataset(pathlib.Path(sys.argv[1]), seed=5, train=2, good=0, per_defect=1)"
        subprocess.run([place / "bin/python", "-c", make, work / "fabric"], check=True)
        picture = next((work / "fabric/test/hole").glob("*.png"))
        detector = ROOT / "tests/detectors/format_3.onnx"
        command = [place / "bin/ssim-ae", "inspect", detector, picture]
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        packages = json.loads(listed.stdout)
        return {
            "megabytes": round((size_of(place) - before) / 1e6, 1),
            "packages": len(packages),
            "names": sorted(packages),
            "cold_inspect_seconds": round(statistics.median(times), 3),
        }


def size_of(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())


def command(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "ssim_ae", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
