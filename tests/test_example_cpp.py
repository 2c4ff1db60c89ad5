"""The C++ example is built and says of pictures what the Python package says."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import ssim_ae
from ssim_ae import Detector
from ssim_ae.config_files import load_settings
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.model.build import inspector_of, network_of
from ssim_ae.runtime.metadata import read_metadata, replace_metadata
from ssim_ae.runtime.record import Record, Thresholds, read_record, write_detector
from tests.conftest import TINY

SOURCE = Path(__file__).parents[1] / "examples" / "cpp"
ROOT = os.environ.get("ONNXRUNTIME_ROOT", "")
ATOL = 2e-4


@dataclass
class Outcome:
    code: int
    lines: list[str]
    errors: list[str]  # other lines on stderr are ONNX Runtime's own


@dataclass
class Program:
    file: Path

    def __call__(self, *arguments: object) -> Outcome:
        done = subprocess.run([self.file, *map(str, arguments)], capture_output=True, timeout=120)
        errors = [x for x in done.stderr.decode().splitlines() if x.startswith("error: ")]
        return Outcome(done.returncode, done.stdout.decode().splitlines(), errors)


def header_found(header: str) -> bool:
    """Whether the compiler finds a header where CMakeLists.txt looks for it."""
    folders = [f"-I{ROOT}/include"] if ROOT else ["-I/usr/include/onnxruntime"]
    command = ["c++", "-E", "-x", "c++", *folders, "-include", header, os.devnull]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The example, built without a warning."""
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install cmake g++")
    if not header_found("png.h"):
        pytest.skip("libpng's headers are not installed: apt-get install libpng-dev")
    if not header_found("onnxruntime_cxx_api.h"):
        pytest.skip(
            "ONNX Runtime's C++ headers are not installed: apt-get install libonnxruntime-dev, "
            "or name a folder with its include/ and lib/ in ONNXRUNTIME_ROOT"
        )
    build = tmp_path_factory.mktemp("cpp")
    for command in (
        ["cmake", "-S", str(SOURCE), "-B", str(build), f"-DONNXRUNTIME_ROOT={ROOT}"],
        ["cmake", "--build", str(build)],
    ):
        environment = os.environ | {"CXXFLAGS": "-Werror"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return Program(build / "inspect")


def with_entries(file: Path, **entries: str | None) -> Path:
    """The same detector with other metadata entries; None takes one away."""
    data = file.read_bytes()
    changed = {**read_metadata(data), **entries}
    copy = file.with_name("_".join(entries) + "_changed.onnx")
    kept = {key: value for key, value in changed.items() if value is not None}
    copy.write_bytes(replace_metadata(data, kept))
    return copy


def written(graph: bytes, record: Record, file: Path, scores: list[float]) -> Path:
    """A detector that finds about half of the pictures defective."""
    middle = float(np.mean(sorted(scores)[len(scores) // 2 - 1 : len(scores) // 2 + 1]))
    thresholds = Thresholds(score=middle, pixel=0.9 * middle)
    write_detector(graph, record.model_copy(update={"thresholds": thresholds}), file)
    return file


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def grey(run: Path, fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = (run / "detector.onnx").read_bytes()
    detector = Detector.load(run)
    scores = [detector.inspect(file).score for file in (fabric / "test").glob("*/*.png")]
    file = tmp_path_factory.mktemp("grey") / "detector.onnx"
    return written(data, read_record(data, run), file, scores)


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained detector of colour pictures: all that matters is that it looks at them."""
    settings, _ = load_settings("autoencoder", changes=[*TINY, "color=rgb"])
    inspector = inspector_of(network_of(settings), settings)
    graph = graph_bytes(inspector, 3, settings.tile)
    record = Record(version=ssim_ae.__version__, settings=settings, reach=inspector.reach)
    return written(graph, record, tmp_path_factory.mktemp("rgb") / "detector.onnx", [0.5, 0.5])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    Image.fromarray(noise(160, 176)).save(file)
    return file


def read_pfm(file: Path) -> NDArray[np.float32]:
    kind, size, scale, values = file.read_bytes().split(b"\n", 3)
    assert (kind, scale) == (b"Pf", b"-1.0")
    width, height = map(int, size.split())
    return np.flipud(np.frombuffer(values, "<f4").reshape(height, width))


def check(program: Program, detector_file: Path, files: list[Path], output: Path) -> set[str]:
    """Every file's line, map and mask against the Python package; the verdicts."""
    outcome = program("--output", output, detector_file, *files)
    assert (outcome.code, outcome.errors) == (0, [])
    detector, verdicts = Detector.load(detector_file), set()
    for line, file in zip(outcome.lines, files, strict=True):
        expected = detector.inspect(file)
        verdict, score, name = line.split(maxsplit=2)
        verdicts.add(verdict)
        assert name == str(file)
        assert float(score) == pytest.approx(expected.score, abs=ATOL)
        if abs(expected.score - expected.thresholds.score) > ATOL:
            assert verdict == ("defective" if expected.is_defective else "good")
        found = read_pfm(output / "maps" / f"{file.stem}.pfm")
        np.testing.assert_allclose(found, expected.working_map, atol=ATOL)
        mask = np.asarray(Image.open(output / "masks" / f"{file.stem}.png"))
        threshold = np.float32(expected.thresholds.pixel)
        np.testing.assert_array_equal(mask, np.where(found > threshold, 255, 0))
    assert not list(output.rglob("*.part"))
    return verdicts


def test_says_what_python_says(program: Program, grey: Path, fabric: Path, tmp_path: Path) -> None:
    files = []
    for file in sorted((fabric / "test").glob("*/*.png")):
        files.append(tmp_path / f"{file.parent.name} {file.name}")
        shutil.copy(file, files[-1])
    assert check(program, grey, files, tmp_path / "out") == {"good", "defective"}
    without = program(grey, *files)
    assert without == program("--output", tmp_path / "again", grey, *files)


def test_grey_files_are_decoded_by_the_policy(program: Program, grey: Path, tmp_path: Path) -> None:
    values = noise(160, 176)
    every = np.random.default_rng(1).permutation(1 << 16).astype(np.uint16).reshape(256, 256)
    Image.fromarray(every).save(tmp_path / "sixteen_bits.png")
    Image.fromarray(every // 64).save(tmp_path / "dark.png")  # a level more or less tells here
    Image.fromarray(values > 127).save(tmp_path / "one_bit.png")
    alpha = Image.fromarray(noise(160, 176, seed=2))
    Image.merge("LA", [Image.fromarray(values), alpha]).save(tmp_path / "alpha.png")
    Image.fromarray(values).save(tmp_path / "transparent.png", transparency=int(values[0, 0]))
    linear = PngInfo()
    linear.add(b"gAMA", struct.pack(">I", 100_000))
    Image.fromarray(values).save(tmp_path / "linear.png", pnginfo=linear)
    check(program, grey, sorted(tmp_path.glob("*.png")), tmp_path / "out")


def test_colour_files_are_decoded_by_the_policy(
    program: Program, rgb: Path, tmp_path: Path
) -> None:
    Image.fromarray(noise(130, 150, 3)).save(tmp_path / "rgb.png")
    Image.fromarray(noise(130, 150, 4)).save(tmp_path / "rgba.png")
    Image.fromarray(noise(140, 131)).save(tmp_path / "grey.png")
    palette = Image.fromarray(noise(130, 150, 3)).quantize(50)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(50)))
    check(program, rgb, sorted(tmp_path.glob("*.png")), tmp_path / "out")


def bad_files(picture: Path) -> list[Path]:
    """Beside a good picture: files that cannot be read as PNG."""
    good = picture.read_bytes()
    flipped, huge = bytearray(good), bytearray(good)
    flipped[9000] ^= 0xFF
    huge[16:24] = struct.pack(">II", 900_000, 900_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    contents: dict[str, bytes] = {"text": b"no picture", "empty": b"", "cut": good[:9000]}
    contents |= {"flipped": bytes(flipped), "huge": bytes(huge)}
    for name, content in contents.items():
        picture.with_name(f"{name}.png").write_bytes(content)
    Image.open(picture).save(picture.with_name("jpeg.png"), format="JPEG")
    picture.with_name("folder.png").mkdir()
    names = [*contents, "jpeg", "folder", "missing"]
    return [picture.with_name(f"{name}.png") for name in names]


def test_an_unreadable_picture_is_told_and_the_others_inspected(
    program: Program, grey: Path, picture: Path, tmp_path: Path
) -> None:
    bad, last = bad_files(picture), tmp_path / "last.png"
    shutil.copy(picture, last)
    output = tmp_path / "out"
    outcome = program("--output", output, grey, picture, *bad, last)
    assert outcome.code == 1
    assert [line.split()[-1] for line in outcome.lines] == [str(picture), str(last)]
    assert len(outcome.errors) == len(bad)
    for file, error in zip(bad, outcome.errors, strict=True):
        assert error.startswith(f"error: {file}: ")
        assert error.count(": ") >= 3  # where, what, cure
    assert {file.name for file in (output / "masks").iterdir()} == {"picture.png", "last.png"}
    assert {file.name for file in (output / "maps").iterdir()} == {"picture.pfm", "last.pfm"}


@pytest.mark.parametrize(
    ("shape", "entries", "wanted"),
    [
        ((160, 176), {"resize": "150"}, "a short side of 150: resize it"),
        ((160, 176), {"resize": "176"}, "a short side of 176: resize it"),
        ((160, 176), {"centre_crop": "160"}, "160x160: crop it"),
        ((150, 150), {"resize": "170", "centre_crop": "160"}, "160x160: resize, then crop it"),
        ((127, 200), {}, "sides from 128 upwards: use larger pictures"),
    ],
)
def test_a_picture_of_another_size_is_refused(
    program: Program,
    grey: Path,
    picture: Path,
    shape: tuple[int, int],
    entries: dict[str, str],
    wanted: str,
) -> None:
    Image.fromarray(noise(*shape)).save(picture)
    outcome = program(with_entries(grey, **entries), picture)
    assert (outcome.code, outcome.lines, len(outcome.errors)) == (2, [], 1)
    size = f"is {shape[1]}x{shape[0]}, the detector wants"
    assert outcome.errors[0].startswith(f"error: {picture}: {size} {wanted}")


@pytest.mark.parametrize(
    ("shape", "entries"),
    [((160, 176), {"resize": "160"}), ((160, 160), {"resize": "170", "centre_crop": "160"})],
)
def test_a_picture_of_the_working_size_is_taken(
    program: Program, grey: Path, picture: Path, shape: tuple[int, int], entries: dict[str, str]
) -> None:
    Image.fromarray(noise(*shape)).save(picture)
    assert program(with_entries(grey, **entries), picture) == program(grey, picture)


def test_what_libpng_cannot_do_by_the_policy_is_refused(
    program: Program, grey: Path, rgb: Path, picture: Path, tmp_path: Path
) -> None:
    colour = Image.fromarray(noise(160, 176, 3))
    colour.save(tmp_path / "rgb.png")
    colour.quantize(9).save(tmp_path / "palette.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(picture).save(tmp_path / "turned.png", exif=turned)
    outcome = program(grey, tmp_path / "rgb.png", tmp_path / "palette.png")
    assert (outcome.code, outcome.lines) == (2, [])
    assert [error.split(": ")[2] for error in outcome.errors] == [
        "has colour, the detector wants grey"
    ] * 2
    for detector in (grey, rgb):
        outcome = program(detector, tmp_path / "turned.png")
        assert (outcome.code, outcome.lines) == (2, [])
        assert "EXIF" in outcome.errors[0]


def test_sixteen_bits_of_which_fewer_count_are_refused(
    program: Program, grey: Path, picture: Path, tmp_path: Path
) -> None:
    wide, twelve = tmp_path / "wide.png", with_entries(grey, depth="12")
    Image.fromarray(np.asarray(Image.open(picture), np.uint16) * 16).save(wide)
    outcome = program(twelve, wide)
    assert (outcome.code, outcome.lines, len(outcome.errors)) == (2, [], 1)
    assert outcome.errors[0].startswith(
        f"error: {wide}: has 16 bits, of which the detector counts 12: save it as 8 bits"
    )
    # 8 bits are 8 bits, and what says nothing of them counts all
    assert program(twelve, picture) == program(grey, picture)
    assert program(with_entries(grey, depth=None), wide) == program(grey, wide)


def test_a_depth_that_is_none_is_refused(program: Program, grey: Path, picture: Path) -> None:
    outcome = program(with_entries(grey, depth="17"), picture)
    assert (outcome.code, outcome.lines, len(outcome.errors)) == (2, [], 1)
    assert outcome.errors[0].endswith("its entry `depth` is damaged: copy it again")


def another_model(entries: dict[str, str]) -> bytes:
    """A model that is no detector, of the versions that detectors have."""
    value, result = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [result])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(made, entries)
    return bytes(made.SerializeToString())


def test_a_detector_that_cannot_be_used_is_refused(
    program: Program, grey: Path, picture: Path, tmp_path: Path
) -> None:
    data, cut = grey.read_bytes(), tmp_path / "cut.onnx"
    cut.write_bytes(data[: len(data) // 2])
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    foreign, alien = tmp_path / "foreign.onnx", tmp_path / "alien.onnx"
    entries = {"color": "grey", "resize": "none", "centre_crop": "none", "smallest": "128"}
    foreign.write_bytes(another_model({}))
    alien.write_bytes(another_model(entries | {"score_threshold": "1"}))
    newer = tmp_path / "newer.onnx"
    newer.write_bytes(data + b"\x08\xe7\x07")  # IR version 999: the last one in the file counts
    for file, wanted in [
        (tmp_path / "missing.onnx", "does not exist: name a detector.onnx"),
        (tmp_path, "does not exist: name a detector.onnx"),
        (cut, "copy it again"),
        (text, "copy it again"),
        (newer, "use a newer ONNX Runtime"),
        (foreign, "lacks the entry `color`: name a detector"),
        (alien, "gives no mask and no verdict: train it anew"),
        (with_entries(grey, smallest="12x"), "`smallest` is damaged (12x): copy it again"),
        (with_entries(grey, depth="12x"), "`depth` is damaged (12x): copy it again"),
        (with_entries(grey, resize=None), "lacks the entry `resize`: name a detector"),
        (with_entries(grey, score_threshold=None), "is not calibrated: run `ssim-ae calibrate`"),
    ]:
        outcome = program("--output", tmp_path / "out", file, picture)
        assert (outcome.code, outcome.lines, len(outcome.errors)) == (2, [], 1)
        assert outcome.errors[0].startswith(f"error: {file}: ")
        assert wanted in outcome.errors[0]
        assert not (tmp_path / "out").exists()


def test_wrong_use_is_told_before_work_begins(
    program: Program, grey: Path, picture: Path, tmp_path: Path
) -> None:
    for arguments in ([], [grey], ["--output", tmp_path], ["--maps", grey, picture]):
        outcome = program(*arguments)
        assert (outcome.code, outcome.lines) == (2, [])
        assert outcome.errors[0].startswith("error: usage: inspect")
    twin = tmp_path / "other" / picture.name
    twin.parent.mkdir()
    shutil.copy(picture, twin)
    outcome = program("--output", tmp_path / "out", grey, picture, twin)
    assert (outcome.code, outcome.lines) == (2, [])
    assert f"{twin}: an earlier picture has this name" in outcome.errors[0]
    assert program(grey, picture, twin).code == 0
    (tmp_path / "file").touch()
    outcome = program("--output", tmp_path / "file", grey, picture)
    assert (outcome.code, outcome.lines) == (2, [])
    assert f"{tmp_path / 'file'}: no folder can be made there" in outcome.errors[0]


def test_a_result_that_cannot_be_written_is_told_and_leaves_nothing(
    program: Program, grey: Path, picture: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "out" / "masks" / "picture.png"
    (taken / "full").mkdir(parents=True)
    outcome = program("--output", tmp_path / "out", grey, picture)
    assert (outcome.code, outcome.lines) == (1, [])
    assert f"{taken}: cannot be written" in outcome.errors[0]
    assert not list(tmp_path.rglob("*.part"))
