"""The browser example in headless Chromium: what it finds is what Python finds."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import ssim_ae
from ssim_ae import Detector
from ssim_ae.config_files import load_settings
from ssim_ae.data.images import read_picture
from ssim_ae.data.synthetic import DEFECTS
from ssim_ae.data.synthetic import fabric as cloth
from ssim_ae.runtime.overlay import overlay
from ssim_ae.runtime.record import Record, Thresholds, read_record, write_detector
from tests.devtools import Chromium
from tests.maps import above_zero

EXAMPLE = Path(__file__).parent.parent / "examples" / "browser"
ATOL = 2e-4
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    pytest.mark.skipif(
        not (EXAMPLE / "vendor" / "ort.wasm.min.mjs").is_file(),
        reason="needs examples/browser/vendor: cd examples/browser && npm ci && npm run build",
    ),
]

WAIT = """
const page = await import("/inspect.js");
const lines = () => [...document.querySelectorAll("#errors p")].map((p) => p.textContent);
while (page.results.length + lines().length < count) await new Promise((r) => setTimeout(r, 20));
const base64 = (values) => {
  let text = "";
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  }
  return btoa(text);
};
const cards = [...document.querySelectorAll("article")].reverse();
const results = page.results.map((found, i) => {
  const canvas = cards[i].querySelectorAll("canvas")[1];
  const shown = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return {
    name: found.name, score: found.score, defective: found.defective,
    verdict: cards[i].querySelector(".verdict").textContent,
    size: [found.height, found.width],
    map: base64(found.map), mask: base64(found.mask), overlay: base64(shown.data),
  };
});
return { results, errors: lines() };
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder, copied, so that detectors can lie beside the page."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(
        EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "vendor")
    )
    (folder / "vendor").symlink_to((EXAMPLE / "vendor").resolve())
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The example's own server on a free port."""
    command = [sys.executable, str(site / "serve.py"), "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(str(CHROMIUM), tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def pictures(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Pictures for each detector below."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(9)
    large = (DEFECTS["stain"](rng, cloth(rng, 600, 431))[0] * 255).clip(0, 255).astype(np.uint8)
    small = (cloth(rng, 130, 170) * 255).astype(np.uint8)
    colour = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    blocks = np.asarray(Image.fromarray(colour).resize((700, 520), Image.Resampling.BICUBIC))
    # pale, so that the spot stands out even for a network that has learned nothing
    pale = blocks // 8 + 112
    spotted = pale.copy()
    spotted[200:260, 300:340] = (250, 20, 30)
    for name, pixels in {
        "large": large,
        "small": small,
        "rgb": blocks,
        "pale": pale,
        "spot": spotted,
    }.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    turned = Image.fromarray(spotted)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    turned.save(folder / "turned.png", exif=exif)
    test = sorted((fabric / "test").glob("*/*.png"))
    return {
        "own_size": test,
        "resized": [folder / "large.png", folder / "small.png", folder / "rgb.png"],
        "colour": [folder / f"{name}.png" for name in ("pale", "spot", "turned")],
    }


@pytest.fixture(scope="module")
def detectors(run: Path, site: Path, pictures: dict[str, list[Path]]) -> dict[str, Path]:
    """Of own size; resized and cropped; and of colour, with the joint network, untrained."""
    model = (run / "detector.onnx").read_bytes()
    record = read_record(model, "x")
    settings = record.settings.model_copy(update={"resize": 150, "centre_crop": 140})
    found = {
        "own_size": (model, record),
        "resized": (model, record.model_copy(update={"settings": settings})),
        "colour": _joint(),
    }
    for name, (graph, made) in found.items():
        file = site / f"{name}.onnx"
        write_detector(graph, made, file)
        # in the widest gap of the scores, so that both verdicts occur, and inside the maps' range
        inspections = [Detector.load(file).inspect(p) for p in pictures[name]]
        scores = sorted(i.score for i in inspections)
        gap, score = max((b - a, (a + b) / 2) for a, b in pairwise(scores))
        assert gap > 4 * ATOL, name
        pixel = float(np.quantile(inspections[0].working_map, 0.95))
        thresholds = Thresholds(score=score, pixel=pixel)
        write_detector(graph, made.model_copy(update={"thresholds": thresholds}), file)
    return {name: site / f"{name}.onnx" for name in found}


def _joint() -> tuple[bytes, Record]:
    import torch

    from ssim_ae.deploy.onnx import graph_bytes
    from ssim_ae.model.build import inspector_of, network_of

    torch.manual_seed(0)
    changes = {"color": "rgb", "resize": 192, "first_layer_channels": 4, "latent": 8}
    settings = load_settings("auto", changes=changes)[0]
    settings = settings.model_copy(update={"residual": above_zero(settings.residual)})
    inspector = inspector_of(network_of(settings), settings)
    record = Record(
        version=ssim_ae.__version__,
        settings=settings,
        reach=inspector.reach,
        thresholds=Thresholds(score=1.0, pixel=1.0),
    )
    return graph_bytes(inspector, settings.channels, settings.tile), record


def found_by(browser: Chromium, address: str, model: str, files: list[Path]) -> dict[str, Any]:
    """Results and lines of error of the page for these files."""
    browser.open(f"{address}?model={model}")
    browser.evaluate('await (await import("/inspect.js")).ready')
    if files:
        browser.choose("#pictures", *files)
    return dict(browser.evaluate(f"const count = {len(files)};{WAIT}"))


@pytest.mark.parametrize("name", ["own_size", "resized", "colour"])
def test_the_page_finds_what_python_finds(
    name: str,
    browser: Chromium,
    address: str,
    detectors: dict[str, Path],
    pictures: dict[str, list[Path]],
) -> None:
    detector = Detector.load(detectors[name])
    answer = found_by(browser, address, f"{name}.onnx", pictures[name])
    assert answer["errors"] == []
    verdicts = set()
    worst = 0.0
    for file, got in zip(pictures[name], answer["results"], strict=True):
        expected = detector.inspect(file)
        size = tuple(got["size"])
        assert got["name"] == file.name
        assert size == expected.mask.shape
        assert got["score"] == pytest.approx(expected.score, abs=ATOL)
        assert got["defective"] == expected.is_defective
        assert got["verdict"] == ("defective" if expected.is_defective else "good")
        anomaly_map = array(got["map"], np.float32, size)
        worst = max(worst, float(np.abs(anomaly_map - expected.anomaly_map).max()))
        np.testing.assert_allclose(anomaly_map, expected.anomaly_map, atol=ATOL)
        mask = array(got["mask"], np.bool_, size)
        sure = np.abs(expected.anomaly_map - expected.thresholds.pixel) > ATOL
        assert mask.any()
        np.testing.assert_array_equal(mask[sure], expected.mask[sure])
        shown = array(got["overlay"], np.uint8, (*size, 4))[..., :3].astype(int)
        far = np.abs(shown - overlay(expected)).max(axis=2) > 2
        assert far.mean() < 1e-3  # outlines beside pixels at the threshold may differ
        verdicts.add(got["verdict"])
    print(f"{name}: largest difference of the maps {worst:.1e}")
    assert verdicts == {"good", "defective"}


def array(data: str, dtype: type[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(data), dtype).reshape(shape)


@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_files_are_decoded_to_python_values(
    color: str, browser: Chromium, address: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    coarse = Image.fromarray(rng.integers(0, 256, (20, 23, 3), dtype=np.uint8))
    image = coarse.resize((230, 200), Image.Resampling.BICUBIC)
    deep = Image.fromarray(rng.integers(0, 1 << 16, (50, 60), dtype=np.uint16))
    gamma = PngInfo()
    gamma.add(b"gAMA", struct.pack(">I", 100_000))  # linear light: to be ignored, as Pillow does
    image.save(tmp_path / "gamma.png", pnginfo=gamma)
    image.quantize(64).save(tmp_path / "palette.png")
    image.convert("1").save(tmp_path / "bits.png")
    image.save(tmp_path / "x.bmp")
    image.save(tmp_path / "x.webp", lossless=True)
    image.save(tmp_path / "x.jpg", quality=90)
    image.convert("L").save(tmp_path / "grey.jpg", quality=90)
    deep.save(tmp_path / "deep.png")
    browser.open(address)
    for file in sorted(tmp_path.iterdir()):
        data = base64.b64encode(file.read_bytes()).decode()
        got = browser.evaluate(
            f"""const {{ decode }} = await import("/picture.js");
            const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
            const wanted = {{ color: "{color}", depth: 16 }};
            const {{ pixels }} = await decode(new Blob([bytes]), "x", wanted);
            return Array.from(pixels);"""
        )
        expected = read_picture(file, color)
        far = np.abs(np.reshape(got, expected.shape) - expected.astype(int)).max()
        # 16 bit: a browser need not round as Python does
        assert far <= (1 if file.name == "deep.png" else 0), file.name


def test_16_bits_of_which_fewer_count_are_refused(
    browser: Chromium, address: str, tmp_path: Path
) -> None:
    browser.open(address)
    told = {}
    for name, kind in (("deep", np.uint16), ("eight", np.uint8)):
        Image.fromarray(np.full((50, 60), 9, kind)).save(tmp_path / name, "PNG")
        data = base64.b64encode((tmp_path / name).read_bytes()).decode()
        told[name] = browser.evaluate(
            f"""const {{ decode }} = await import("/picture.js");
            const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
            const wanted = {{ color: "grey", depth: 12 }};
            try {{
              return (await decode(new Blob([bytes]), "x", wanted)).pixels[0];
            }} catch (error) {{ return error.message; }}"""
        )
    assert told["eight"] == 9
    assert told["deep"].startswith("x: has 16 bits, of which the detector counts 12")
    assert told["deep"].endswith("save it as 8 bits (value * 255 / 4095, rounded)")


def test_what_cannot_be_inspected_costs_a_line_and_the_others_go_on(
    browser: Chromium, address: str, detectors: dict[str, Path], run: Path, tmp_path: Path,
    pictures: dict[str, list[Path]],
) -> None:  # fmt: skip
    small, broken = tmp_path / "small.png", tmp_path / "broken.png"
    glass = tmp_path / "glass.png"
    Image.new("L", (100, 400)).save(small)
    Image.new("RGBA", (200, 200), (90, 90, 90, 128)).save(glass)
    broken.write_bytes(b"no picture")
    files = [small, broken, glass, pictures["own_size"][0]]
    answer = found_by(browser, address, "own_size.onnx", files)
    assert [r["name"] for r in answer["results"]] == [files[-1].name]
    told = sorted(answer["errors"])
    assert told[0].startswith("broken.png: cannot be decoded by this browser: ")
    assert told[1].startswith("glass.png: has transparent pixels")
    assert told[2].startswith("small.png: 100x400 at working size is smaller than the detector's")


def test_a_file_that_is_no_detector_is_told_and_another_can_be_chosen(
    browser: Chromium, address: str, detectors: dict[str, Path], tmp_path: Path
) -> None:
    answer = found_by(browser, address, "absent.onnx", [])
    assert answer["errors"][0].startswith("absent.onnx: is not to be had beside this page")
    other, good = tmp_path / "other.onnx", detectors["own_size"]
    other.write_bytes(b"\x08\x07")
    browser.choose("#model", other)
    answer = browser.evaluate(f"const count = 1;{WAIT}")
    browser.evaluate(
        'while (!document.querySelector("#errors").textContent.startsWith("other"))'
        "await new Promise((r) => setTimeout(r, 20))"
    )
    assert browser.evaluate('return document.querySelector("#pictures").disabled') is True
    browser.choose("#model", good)
    browser.evaluate(
        'while (document.querySelector("#pictures").disabled)'
        "await new Promise((r) => setTimeout(r, 20))"
    )
    shown = browser.evaluate('return document.querySelector("#detector-name").textContent')
    assert shown == good.name


def test_the_page_is_isolated_uses_every_core_and_may_reach_no_one_else(
    browser: Chromium, address: str, detectors: dict[str, Path]
) -> None:
    found_by(browser, address, "own_size.onnx", [])
    facts = browser.evaluate('return document.querySelector("#detector-facts").textContent')
    cores = browser.evaluate("return navigator.hardwareConcurrency")
    assert browser.evaluate("return crossOriginIsolated") is True
    assert facts.endswith("1 thread" if cores == 1 else f"{cores} threads")
    # the same server under its other name is another origin
    elsewhere = address.replace("127.0.0.1", "localhost")
    blocked = browser.evaluate(
        f"""const seen = [];
        addEventListener("securitypolicyviolation", (e) => seen.push(e.effectiveDirective));
        await fetch("{elsewhere}", {{mode: "no-cors"}}).catch(() => null);
        await new Promise((r) => setTimeout(r, 50));
        return seen;"""
    )
    assert "connect-src" in blocked


def test_threads_need_headers_and_the_page_says_so(
    browser: Chromium, site: Path, detectors: dict[str, Path], pictures: dict[str, list[Path]]
) -> None:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        command, cwd=site, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        address = f"http://127.0.0.1:{port}/"
        answer = found_by(browser, address, "own_size.onnx", pictures["own_size"][:1])
        assert len(answer["results"]) == 1
        text = browser.evaluate("return document.body.innerText")
        assert "1 thread" in text
        assert "serve.py" in text
    finally:
        server.terminate()
        server.wait()


def test_detector_and_picture_can_be_dropped_together(
    browser: Chromium, address: str, detectors: dict[str, Path], pictures: dict[str, list[Path]]
) -> None:
    browser.open(address)
    picture = pictures["own_size"][0]
    data = base64.b64encode(picture.read_bytes()).decode()
    browser.evaluate(
        f"""const model = await (await fetch("/own_size.onnx")).arrayBuffer();
        const transfer = new DataTransfer();
        const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
        transfer.items.add(new File([bytes], "{picture.name}"));
        transfer.items.add(new File([model], "mine.onnx"));
        dispatchEvent(new DragEvent("drop", {{ dataTransfer: transfer, cancelable: true }}));"""
    )
    answer = browser.evaluate(f"const count = 1;{WAIT}")
    assert answer["errors"] == []
    expected = Detector.load(detectors["own_size"]).inspect(picture)
    assert answer["results"][0]["score"] == pytest.approx(expected.score, abs=ATOL)
