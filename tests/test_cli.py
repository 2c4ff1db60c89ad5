"""The commands as a user runs them: what they print, write, and answer to bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from ssim_ae import Detector
from ssim_ae.data.synthetic import make_dataset
from ssim_ae.evaluation import evaluate as evaluation
from ssim_ae.runtime.record import write_detector
from tests.conftest import TINY

pytestmark = pytest.mark.e2e
SMALL = [part for change in TINY for part in ("--set", change)]


def ssim_ae(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ssim_ae", *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def refused(*words: object, says: str, code: int = 2) -> None:
    """One line of error, on stderr, that holds ``says``."""
    done = ssim_ae(*words, code=code)
    lines = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert says in lines[0]


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['ssim-ae', '--help']\nfrom ssim_ae.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'onnxruntime', 'pydantic', 'PIL', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("train", "evaluate", "inspect", "calibrate", "export", "doctor", "demo"):
        assert command in done.stdout
    assert "0.1.0" in ssim_ae("--version").stdout


def test_train_evaluate_inspect_calibrate(fabric: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = ssim_ae("train", fabric, *SMALL, "--output", run)
    assert "at most 5.0% of good pictures rejected on average" in done.stdout
    assert "with 95% confidence at most 14.6%" in done.stdout
    assert "17, 19 held out for the thresholds, 4 for the maps' weights" in done.stderr
    present = {f.name for f in run.iterdir()}
    assert {"config.yaml", "detector.onnx", "model.safetensors", "log.jsonl"} <= present
    assert not any(f.name.startswith(".") for f in run.rglob("*"))

    metrics = json.loads(ssim_ae("evaluate", run, fabric, "--maps", "--json").stdout)
    assert metrics == json.loads((run / "evaluation" / "metrics.json").read_text())
    assert set(metrics) == {
        "pixel_auroc", "pixel_ap", "aupro_30", "aupro_05", "image_auroc", "image_ap",
        "image_f1_max", "at_threshold", "reference_pixel", "baselines", "counts", "timing",
        "per_defect", "engine", "detector_sha256", "notes", "unreadable",
    }  # fmt: skip
    assert set(metrics["baselines"]) == {
        "all_defective_acc", "brightness_image_auroc", "no_model",
    }  # fmt: skip
    assert metrics["baselines"]["all_defective_acc"] == 0.6
    assert 0 < metrics["baselines"]["no_model"]["pixel_auroc"] < 1
    assert metrics["counts"]["good"] == 4
    assert metrics["counts"]["defective"] == 6
    maps = sorted((run / "evaluation" / "maps" / "fabric" / "test").rglob("*.tiff"))
    assert len(maps) == 10
    values = tifffile.imread(maps[0])
    assert values.dtype == np.float32
    assert values.shape == (160, 176)
    page = (run / "evaluation" / "report.html").read_text()
    assert "pixel AUROC" in page
    assert "no trained model" in page
    assert "data:image/png;base64" in page

    pictures = tmp_path / "pictures"
    shutil.copytree(fabric / "test" / "good", pictures)
    (pictures / "broken.png").write_bytes(b"x")
    verdicts = ("good", "defective")
    for kind in ("jsonl", "csv", "parquet"):
        out = tmp_path / kind
        done = ssim_ae(
            "inspect", run, pictures, fabric / "test" / "hole", "--output", out, "--format", kind,
            "--maps", code=1,
        )  # fmt: skip
        assert "broken.png" in done.stderr
        file = out / f"results.{kind}"
        if kind == "jsonl":
            rows = [json.loads(x) for x in file.read_text().splitlines()]
        elif kind == "csv":
            rows = list(csv.DictReader(file.open()))
        else:
            rows = pq.read_table(file).to_pylist()
        assert len(rows) == 6
        (broken,) = (r for r in rows if r["verdict"] == "unreadable")
        assert broken["source"].endswith("broken.png")
        assert "cannot be decoded" in broken["error"]
        rows.remove(broken)
        assert not broken["score"]
        assert not broken["name"]
        assert {r["name"] for r in rows} == {f.stem for f in (out / "masks").iterdir()}
        assert [float(r["score"]) for r in rows] == pytest.approx(
            [float(x.split()[1]) for x in done.stdout.splitlines() if x.split()[0] in verdicts],
            abs=1e-4,
        )
        assert {r["verdict"] for r in rows} <= {"good", "defective"}
        assert len(list((out / "overlays").iterdir())) == len(list((out / "masks").iterdir())) == 5
        assert tifffile.imread(next((out / "maps").iterdir())).dtype == np.float32
        assert "earlier inspection" not in done.stderr
    again = ssim_ae("inspect", run, pictures / "000.png", "--output", tmp_path / "csv")
    assert "csv: holds pictures of an earlier inspection" in again.stderr

    fresh = tmp_path / "fresh"
    make_dataset(fresh, seed=77, train=9, good=0, per_defect=0, size=(160, 176))
    answer = json.loads(
        ssim_ae("calibrate", run, fresh, "--false-reject-rate", "0.2", "--json").stdout
    )
    assert answer["calibration"]["pictures"] == 9
    assert answer["calibration"]["promised_false_reject_rate"] == 0.2
    assert answer["threshold"] == answer["calibration"]["scores"][7]
    assert 0.2 < answer["false_reject_rate_with_confidence"] < 1
    again = json.loads(ssim_ae("inspect", run, pictures / "000.png", "--json").stdout)
    assert again["results"][0]["threshold"] == answer["threshold"]
    done = ssim_ae("calibrate", run, fabric, "--false-reject-rate", "0.05")
    assert f"(was {answer['threshold']:.4f})" in done.stdout
    assert "21 pictures were trained on and are left out" in done.stderr
    link = tmp_path / "link.onnx"
    link.symlink_to(run / "detector.onnx")
    done = ssim_ae("calibrate", link, fabric, "--false-reject-rate", "0.01")
    assert link.is_symlink()
    assert Detector.load(run).record.calibration.asked_false_reject_rate == 0.01
    ssim_ae("calibrate", run, fabric)  # no rate is the rate before
    assert Detector.load(run).record.calibration.asked_false_reject_rate == 0.01
    assert "at best, not 0.01: 99 are needed" in done.stderr
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((400, 200), np.uint8)).save(large)
    assert "the promised false-reject rate does not hold" in ssim_ae("inspect", run, large).stderr


def test_interrupt_leaves_a_run_that_resumes(fabric: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", fabric, *SMALL, "--set", "steps=100000", "--output", run]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssim_ae", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    log = run / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        pass
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--resume" in errors
    refused("inspect", run, fabric / "test" / "good" / "000.png", says="--resume")
    refused("train", fabric, *SMALL, "--output", run, says="holds a run already")
    other = tmp_path / "other"
    make_dataset(other, seed=9, train=40, good=0, per_defect=0, size=(160, 176))
    refused("train", other, "--output", run, "--resume", says="not those that")
    config = run / "config.yaml"
    done = int(json.loads(log.read_text().splitlines()[-1])["step"])
    config.write_text(config.read_text().replace("steps: 100000", f"steps: {done + 25}"))
    ssim_ae("train", fabric, "--output", run, "--resume")
    assert (run / "detector.onnx").is_file()
    refused("train", fabric, "--output", run, "--resume", "--preset", "texture", says="leave")


def test_init_from_names_what_does_not_fit(run: Path, fabric: Path, tmp_path: Path) -> None:
    done = ssim_ae(
        "train", fabric, "--preset", "autoencoder", *SMALL, "--set", "latent=9",
        "--set", "steps=1", "--init-from", run, "--output", tmp_path / "r",
    )  # fmt: skip
    assert "layer starts anew, it does not fit: decoder.0.weight" in done.stderr
    assert "encoder.0.weight" not in done.stderr
    first, second = (json.loads((r / "split.json").read_text()) for r in (run, tmp_path / "r"))
    trained = set(first["train"].values())
    assert trained.isdisjoint(second["held_out"].values())  # the weights have seen those
    assert trained <= set(Detector.load(tmp_path / "r").record.trained_on)


def test_reference_presets_print_the_zoo_s_numbers(tmp_path: Path) -> None:
    data, run = tmp_path / "texture_1", tmp_path / "run"
    make_dataset(data, train=24, good=3, per_defect=1, size=(160, 160), layout="woven")
    ssim_ae("train", data, "--preset", "reference-texture", *SMALL, "--output", run)
    metrics = json.loads(ssim_ae("evaluate", run, data, "--json").stdout)
    assert metrics["zoo"]["level"] == "pixel"
    assert set(metrics["zoo"]["image_level"]) == {"ok", "nok", "acc"}
    assert set(metrics["zoo"]["pixel_level"]) == {"ok", "nok", "acc", "mask_auc"}


@pytest.mark.parametrize("kind", ["none", "empty", "broken", "small", "one"])
def test_datasets_that_cannot_be_trained_on(kind: str, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    if kind != "none":
        data.mkdir()
    sizes = {"small": [(90, 90)] * 5, "one": [(140, 140)]}
    for i, size in enumerate(sizes.get(kind, [])):
        ramp = np.broadcast_to(np.arange(size[1], dtype=np.uint8) + i, size)
        Image.fromarray(ramp).save(data / f"{i}.png")
    if kind == "broken":
        for i in range(5):
            (data / f"{i}.png").write_bytes(b"x")
    says = {
        "none": "does not exist", "empty": "no pictures", "broken": "cannot be decoded",
        "small": "smaller than", "one": "at least 3 are needed",
    }[kind]  # fmt: skip
    refused("train", data, *SMALL, "--output", run, says=says)
    assert not run.exists()


def test_other_bad_input(run: Path, fabric: Path, tmp_path: Path) -> None:
    good = fabric / "test" / "good" / "000.png"
    refused("train", fabric, "--set", "stepss=1", "--output", tmp_path / "r", says="mean steps?")
    refused("train", fabric, "--preset", "textur", says="did you mean texture?")
    refused("train", fabric, *SMALL, "--output", good / "run", says="cannot be written")
    refused("train", fabric, *SMALL, "--output", fabric, "--overwrite", says="no run")
    refused("train", fabric, "--output", tmp_path / "r", "--resume", says="nothing to resume")
    refused("train", fabric, *SMALL, "--group", "(", "--output", tmp_path / "r", says="regular")
    refused("train", fabric, *SMALL, "--group", "x", "--output", tmp_path / "r", says="not match")
    refused(
        "train", fabric, *SMALL, "--init-from", tmp_path, "--output", tmp_path / "r",
        says="does not exist",
    )  # fmt: skip
    assert not (tmp_path / "r").exists()
    refused("inspect", tmp_path / "none", good, says="does not exist")
    refused("inspect", tmp_path, good, says="holds no detector.onnx")
    refused("inspect", good, good, says="no detector")
    refused("inspect", run, tmp_path / "none.png", says="does not exist")
    refused("inspect", run, tmp_path, says="holds no pictures")
    refused("inspect", run, good, "--format", "xml", says="known are jsonl")
    refused("inspect", run, good, "--output", good, says="cannot be written")
    refused("inspect", run, good, "--engine", "x", says="engine 'x' is unknown")
    refused("inspect", run, good, "--maps", says="say where with --output")
    refused("evaluate", run, tmp_path, says="no test folder")
    refused("calibrate", run, fabric, "--false-reject-rate", "2", says="false-reject rate is 2")
    refused("calibrate", run, tmp_path / "none", says="does not exist")
    refused("benchmark", run, "--size", "-5", "64", says="size is -5 64")
    assert "No such option" in ssim_ae("inspect", run, good, "--outptu", "x", code=2).stderr


def test_export_check_and_doctor(run: Path, fabric: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    hole = next((fabric / "test" / "hole").glob("*.png"))
    made = ssim_ae("export", own, "--to", "openvino", "--pictures", hole).stdout
    assert "0 verdicts differ" in made
    assert "detector.xml" in made
    found = json.loads(ssim_ae("inspect", own / "exports/detector.xml", hole, "--json").stdout)
    expected = json.loads(ssim_ae("inspect", own, hole, "--engine", "torch", "--json").stdout)
    assert found["results"][0]["verdict"] == expected["results"][0]["verdict"]
    checked = ssim_ae("export", own, "--check", own / "exports/detector.xml", "--json")
    assert json.loads(checked.stdout)["parity"]["map"] <= 2e-4
    ckpt = tmp_path / "zoo.ckpt"
    ssim_ae("export", own, "--to", "ckpt", "--output", ckpt)
    done = ssim_ae("export", "--from-ckpt", ckpt, "--output", tmp_path / "made")
    assert "ssim-ae calibrate" in done.stderr
    refused("export", own, says="say what to do")
    refused("export", "--to", "onnx", says="say what to do")
    refused("export", own, "--to", "onnx", "--check", ckpt, says="say what to do")
    refused("export", "--from-ckpt", ckpt, says="needs --output RUN")
    refused(
        "export", own, "--to", "ckpt", "--size", 1, 2, says="--size does nothing with --to ckpt"
    )
    refused("export", own, "--check", ckpt, "--precision", "int8", says="does nothing with --check")
    refused("export", own, "--to", "coreml", says="known are onnx, openvino, mindir, ckpt")
    refused("export", own, "--check", tmp_path / "none.xml", says="does not exist")
    xml = own / "exports" / "detector.xml"
    beside = json.loads((text := xml.with_name("detector.xml.json")).read_text())
    beside["record"]["thresholds"]["score"] = 9.0
    text.write_text(json.dumps(beside))
    refused("export", own, "--check", xml, says="other thresholds", code=1)

    here = json.loads(ssim_ae("doctor", "--json").stdout)
    assert here["engines"]["onnxruntime"] is None
    assert here["training"]["why_not"] is None
    told = ssim_ae("doctor").stdout
    for name, reason in here["engines"].items():
        assert f"{name:22} {'usable' if reason is None else 'no: ' + reason}" in told


def test_doubtful_masks_and_leaks_are_told(run: Path, fabric: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(fabric, data)
    shutil.copy(data / "train" / "good" / "000.png", data / "test" / "good" / "leak.png")
    for file in sorted((data / "train" / "good").iterdir()):
        shutil.copy(file, data / "test" / "good" / f"leak_{file.name}")
    done = ssim_ae("evaluate", run, data, "--output", tmp_path / "e")
    split = json.loads((run / "split.json").read_text())
    trained, held_out = (split[part] for part in ("train", "held_out"))
    own = "000.png" in trained  # of which leak.png is one more copy
    assert f"{len(trained) + own} test pictures were trained on" in done.stderr
    assert f"{len(held_out) + 1 - own} test pictures made the thresholds" in done.stderr
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(data / "ground_truth/hole/000_mask.png")
    refused("evaluate", run, data, "--output", tmp_path / "f", says="mask is 8x8")
    assert not (tmp_path / "f").exists()
    Image.fromarray(np.zeros((160, 176), np.uint8)).save(data / "ground_truth/hole/000_mask.png")
    done = ssim_ae("evaluate", run, data, "--output", tmp_path / "g")
    assert "000_mask.png: nothing is marked (1 defective picture(s))" in done.stderr
    noted = json.loads(ssim_ae("evaluate", run, fabric, "--json").stdout)
    assert noted["notes"] == noted["unreadable"] == []


def test_the_demo_makes_its_pictures_and_reports(tmp_path: Path) -> None:
    run = tmp_path / "demo"
    small = ["--set", "steps=2", "--set", "first_layer_channels=4", "--set", "latent=4"]
    metrics = json.loads(ssim_ae("demo", "--output", run, *small, "--json").stdout)
    assert metrics["counts"]["good"] == metrics["counts"]["defective"] == 24
    assert (run / "evaluation" / "report.html").exists()
    assert json.loads((run / "training.json").read_text())["steps"] == 2  # the last one counts
    (tmp_path / "other").mkdir()
    refused("demo", "--output", tmp_path / "other", says="was not made by the demo")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_name_that_is_no_text_is_one_picture_of_many(
    kind: str, run: Path, fabric: Path, tmp_path: Path
) -> None:
    good = fabric / "test" / "good" / "000.png"
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (b"a.png", b"tr\xe4ger.png", b"z.png"):
        shutil.copy(good, folder / os.fsdecode(name))
    (folder / os.fsdecode(b"\xe4.png")).write_bytes(b"no picture")
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, "-m", "ssim_ae", "inspect", run, folder, "--output", tmp_path / "out",
         "--format", kind], capture_output=True, text=True, env=strict,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # for the one that is no picture
    assert "Traceback" not in done.stderr
    assert "tr\\xe4ger.png" in done.stdout
    assert "e4.png: cannot be decoded" in done.stderr
    table = tmp_path / "out" / f"results.{kind}"
    rows = (
        pq.read_table(table).to_pylist() if kind == "parquet"
        else list(csv.DictReader(table.open())) if kind == "csv"
        else [json.loads(line) for line in table.read_text().splitlines()]
    )  # fmt: skip
    found = [(Path(row["source"]).name, row["verdict"] == "unreadable") for row in rows]
    assert found == [
        ("a.png", False), ("tr\\xe4ger.png", False), ("z.png", False), ("\\xe4.png", True),
    ]  # fmt: skip


def test_the_control_is_left_out_where_it_would_not_fit(
    run: Path, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "IN_ONE_PASS", 160 * 176 - 1)
    metrics = evaluation.evaluate(run, fabric, tmp_path).metrics
    assert metrics["baselines"]["no_model"] is None
    assert "no figures of the control without a model" in metrics["notes"][0]
    assert "176x160" in metrics["notes"][0]


def test_without_masks_pictures_are_judged_and_pixels_are_not(
    run: Path, fabric: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(fabric / "test", data / "test")
    masked = json.loads(ssim_ae("evaluate", run, fabric, "--json").stdout)
    plain = json.loads(ssim_ae("evaluate", run, data, "--json").stdout)
    for key in ("image_auroc", "at_threshold", "per_defect"):
        assert plain[key] == masked[key]
    for key in ("pixel_auroc", "aupro_30", "pixel_ap"):
        assert masked[key] is not None
        assert plain[key] is None
    assert "no masks of hole, missing_thread" in plain["notes"][0]
    assert "no masks" in (run / "evaluation" / "report.html").read_text()


def test_unreadable_pictures_are_left_out_of_training(fabric: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(fabric / "train" / "good", data)
    whole = (data / "001.png").read_bytes()
    for name in ("001.png", "007.png"):
        (data / name).write_bytes(whole[: len(whole) // 2])
    done = ssim_ae("train", data, *SMALL, "--set", "steps=1", "--output", run, code=1)
    assert "note: 2 of 40 pictures cannot be used" in done.stderr
    assert "001.png" in done.stderr
    assert "007.png" in done.stderr
    assert "on grey texture pictures" in done.stdout
    assert (run / "training.json").is_file()
    refused("calibrate", run, data, says="2 of 40 pictures cannot be used")


def test_copies_of_pictures_are_left_out(run: Path, fabric: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, file in enumerate(sorted((fabric / "test" / "good").iterdir())):
        shutil.copy(file, data / file.name)
        shutil.copy(file, data / f"copy_{number}.png")
    shutil.copytree(run, tmp_path / "run")
    done = ssim_ae("calibrate", tmp_path / "run", data)
    assert "4 of 8 pictures are copies of others and are left out" in done.stderr
    assert "(from 4 held-out ones)" in done.stdout
    done = ssim_ae("train", data, *SMALL, "--set", "steps=1", "--output", tmp_path / "r")
    assert "4 of 8 pictures are copies" in done.stderr
    split = json.loads((tmp_path / "r" / "split.json").read_text())
    assert sum(len(part) for part in split.values()) == 4


def test_good_pictures_from_elsewhere_are_told(run: Path, fabric: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(fabric, data)
    rng = np.random.default_rng(0)
    for number in range(12):  # another camera: nothing but noise
        noise = rng.integers(0, 256, (160, 176), np.uint8)
        Image.fromarray(noise).save(data / "test" / "good" / f"other_{number}.png")
    done = ssim_ae("evaluate", run, data, "--output", tmp_path / "e")
    assert "12 of 16 good test pictures are rejected" in done.stderr
    assert "calibrate on good pictures of the line" in done.stderr
    noted = json.loads((tmp_path / "e" / "metrics.json").read_text())["notes"]
    assert len(noted) == 1


def test_a_full_disk_is_one_line_and_keeps_the_old_detector(
    run: Path, fabric: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = (copy / "detector.onnx").read_bytes()
    fresh = tmp_path / "fresh"
    make_dataset(fresh, seed=78, train=5, good=0, per_defect=0, size=(160, 176))
    script = f"['ssim-ae', 'calibrate', {str(copy)!r}, {str(fresh)!r}]"
    done = with_full_disk(script)
    assert done.returncode == 1
    assert "cannot be written (File too large): free space" in done.stderr
    assert (copy / "detector.onnx").read_bytes() == before
    assert not [f for f in copy.iterdir() if f.name.startswith(".")]

    out = tmp_path / "out"
    files = ", ".join(repr(str(fabric / "test" / "good" / "000.png")) for _ in range(30))
    done = with_full_disk(
        f"['ssim-ae', 'inspect', {str(run)!r}, {files}, '--output', {str(out)!r}]"
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    for line in (out / "results.jsonl").read_text().splitlines():
        assert json.loads(line)["verdict"]  # whole rows only


def with_full_disk(argv: str) -> subprocess.CompletedProcess[str]:
    """A file-size limit behaves like a full disk: a write fails half-way."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        f"sys.argv = {argv}\n"
        "from ssim_ae.cli import main\nmain()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_two_processes_train_one_run(fabric: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         "-m", "ssim_ae", "train", str(fabric), *SMALL, "--output", str(run)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("2 processes, 4 patches a step each") == 1
    assert done.stdout.count("detector:") == 1
    assert (run / "detector.onnx").is_file()
    assert len((run / "log.jsonl").read_text().splitlines()) == 1


def test_pictures_that_no_inspection_made_are_not_replaced(
    run: Path, fabric: Path, tmp_path: Path
) -> None:
    """A set whose pictures and masks lie side by side, and its folder named as the output."""
    own = tmp_path / "own"
    shutil.copytree(fabric / "test" / "good", own / "images")
    shutil.copytree(fabric / "test" / "good", own / "masks")
    before = {f: f.read_bytes() for f in own.rglob("*.png")}
    refused("inspect", run, own / "images", "--output", own, says="masks: is there already")
    refused("inspect", run, own / "masks", "--output", own, says="lies where results are written")
    assert {f: f.read_bytes() for f in own.rglob("*") if f.is_file()} == before
    out = tmp_path / "out"
    ssim_ae("inspect", run, own / "images" / "000.png", "--output", out)
    again = ssim_ae("inspect", run, own / "images" / "001.png", "--output", out)
    assert "holds pictures of an earlier inspection" in again.stderr
    overlay = out / "overlays" / "000.png"
    refused("inspect", run, overlay, "--output", out, says="lies where results are written")


def test_names_as_long_as_can_be_are_shortened(run: Path, fabric: Path, tmp_path: Path) -> None:
    good, folder = fabric / "test" / "good" / "000.png", tmp_path / "pictures"
    folder.mkdir()
    for name in ("织" * 81 + ".png", "x" * 249 + "1.png", "x" * 249 + "2.png"):
        shutil.copy(good, folder / name)
    ssim_ae("inspect", run, folder, "--output", tmp_path / "out", "--maps")
    assert len(list((tmp_path / "out" / "maps").iterdir())) == 3
    rows = [json.loads(x) for x in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert len({row["name"] for row in rows}) == 3


def test_maps_of_one_name_are_refused_before_work(run: Path, fabric: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(fabric / "test", data / "test")
    shutil.copytree(fabric / "ground_truth", data / "ground_truth")
    Image.open(data / "test" / "good" / "000.png").save(data / "test" / "good" / "000.bmp")
    out = tmp_path / "out"
    refused("evaluate", run, data, "--maps", "--output", out, says="would have the name of")
    assert not (out / "maps").exists()


def test_commands_do_without_a_terminal(run: Path, fabric: Path, tmp_path: Path) -> None:
    """Services have no stderr at all."""
    command = f"{sys.executable} -m ssim_ae evaluate {run} {fabric} --output {tmp_path / 'e'} 2>&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert "pixel" in done.stdout


def test_pictures_of_another_scale_are_told(run: Path, fabric: Path, tmp_path: Path) -> None:
    record = Detector.load(run).record
    changed = record.model_copy(
        update={"settings": record.settings.model_copy(update={"resize": 160})}
    )
    own = tmp_path / "run"
    write_detector((run / "detector.onnx").read_bytes(), changed, own / "detector.onnx")
    assert record.calibration.reduced == [1, 1]
    assert "another scale" not in ssim_ae("inspect", own, fabric / "test" / "good").stderr
    for side in (160, 320, 480):
        Image.fromarray(np.zeros((side, 2 * side), np.uint8)).save(tmp_path / f"{side}.png")
    told = ssim_ae("inspect", own, *sorted(tmp_path.glob("*.png"))).stderr
    assert told.count("at another scale than the detector knows") == 1  # of the first one
    assert "320.png: 640x320 is reduced 2 times to working size, the pictures" in told
    twice = tmp_path / "twice"
    shutil.copytree(fabric, twice)
    for file in (*twice.glob("test/*/*.png"), *twice.glob("ground_truth/*/*.png")):
        with Image.open(file) as picture:
            picture.resize((2 * picture.width, 2 * picture.height), 0).save(file)
    (note,) = (
        n for n in json.loads(ssim_ae("evaluate", own, twice, "--json").stdout)["notes"]
        if "scale" in n
    )  # fmt: skip
    assert "is reduced 2 times" in note


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_folder_whose_name_is_no_text_calibrates(run: Path, fabric: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    folder = tmp_path / os.fsdecode(b"Gewebe_\xfc")
    shutil.copytree(fabric / "test" / "good", folder)
    ssim_ae("calibrate", own, folder, "--false-reject-rate", "0.2")
    assert Detector.load(own).record.calibration.source == "Gewebe_\\udcfc"


def test_no_memory_is_one_line(run: Path) -> None:
    size = ["--size", 20_000_000, 20_000_000]  # more than 47 bits of address
    refused("benchmark", run, *size, says="out of memory", code=1)


def test_the_demo_replaces_no_pictures_of_others(tmp_path: Path) -> None:
    mine = tmp_path / "x-fabric" / "train" / "good" / "000.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    refused("demo", "--output", tmp_path / "x", says="was not made by the demo")
    assert mine.read_bytes() == b"mine"
    refused("demo", "--output", tmp_path / "x-fabric", says="was not made by the demo")
    refused("demo", "--output", ".", says="was not made by the demo")  # a folder without a name
    refused("demo", "--output", "/", says="was not made by the demo")
    refused("demo", "--output", tmp_path / "y", "--set", "nonsense=1", says="is no setting")
    assert not (tmp_path / "y-fabric").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_stopped_export_leaves_nothing(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export = [sys.executable, "-m", "ssim_ae", "export", run, "--to", "onnx"]
    export += ["--precision", "int8", "--output", out / "detector.onnx"]
    working = subprocess.Popen(export, stderr=subprocess.PIPE, text=True)
    while working.poll() is None and not list(out.glob(".export-*")):
        time.sleep(0.01)
    working.terminate()
    assert working.communicate()[1].strip().endswith("error: stopped")
    assert working.returncode == 1
    assert list(out.iterdir()) == []
