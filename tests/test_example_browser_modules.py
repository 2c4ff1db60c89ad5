"""The browser example's own arithmetic, run in Node and compared with Pillow and the package."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ssim_ae.config import ResidualSettings
from ssim_ae.config_files import load_settings
from ssim_ae.data.images import to_pixels
from ssim_ae.data.working_size import Geometry, Preparation
from ssim_ae.picture_score import picture_score
from ssim_ae.runtime.blocks import Tiling, run_in_blocks
from ssim_ae.runtime.detector import Inspection
from ssim_ae.runtime.overlay import overlay
from ssim_ae.runtime.record import FORMAT, Record, Thresholds, read_record, write_detector

EXAMPLE = Path(__file__).parent.parent / "examples" / "browser"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")
FLOATS = "new Float32Array(Uint8Array.from(Buffer.from(map, 'base64')).buffer)"
BYTES = "Uint8Array.from(Buffer.from(data, 'base64'))"


def node(modules: str, body: str, **values: Any) -> Any:
    """What a function body of JavaScript returns; ``values`` are its variables."""
    script = "".join(
        f"const {{{', '.join(names)}}} = await import('{(EXAMPLE / file).as_uri()}');\n"
        for file, *names in (line.split() for line in modules.splitlines())
    )
    script += (
        f"const {{{', '.join(values)}}} = JSON.parse(await new Response(process.stdin).text())"
    )
    script += f";\nconsole.log(JSON.stringify(await (async () => {{ {body} }})()));"
    done = subprocess.run(
        [str(NODE), "--input-type=module", "-e", script],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def text(values: NDArray[Any] | bytes) -> str:
    data = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((31, 47), (11, 17)), ((31, 47), (47, 64)), ((64, 33), (64, 20)), ((20, 64), (33, 64)),
        ((200, 301), (199, 300)), ((17, 500), (2, 59)), ((5, 3), (201, 121)),
    ],
)  # fmt: skip
def test_resampling_gives_pillows_bytes(size: tuple[int, int], target: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    # half of it saturated: overshoot of the cubic must be clipped
    pixels = np.where(rng.random((*size, 3)) < 0.5, 0, 255).astype(np.uint8)
    pixels[: size[0] // 2] = rng.integers(0, 256, (size[0] // 2, size[1], 3))
    pictures = {1: pixels[..., 0], 3: pixels}
    cases = [(channels, name) for channels in pictures for name in ("box", "bicubic")]
    got = node(
        "resample.js resample",
        f"""return cases.map(([channels, name]) => {{
          const data = pictures[channels];
          const out = resample({BYTES}, [...size, channels], target, name);
          return Buffer.from(out).toString("base64");
        }})""",
        pictures={channels: text(values) for channels, values in pictures.items()},
        size=size,
        target=target,
        cases=cases,
    )
    for (channels, name), data in zip(cases, got, strict=True):
        image = Image.fromarray(pictures[channels])
        expected = image.resize(target[::-1], Image.Resampling[name.upper()])
        assert base64.b64decode(data) == np.asarray(expected).tobytes(), (channels, name)


@pytest.mark.parametrize(
    ("size", "resize", "crop"),
    [
        ((160, 176), None, None), ((160, 176), 40, None), ((50, 31), 64, 60), ((61, 97), 30, 25),
        ((33, 45), None, 20), ((100, 250), 35, 35), ((23, 23), 23, 40),
    ],
)  # fmt: skip
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_working_pictures_and_maps_equal_pythons(
    size: tuple[int, int], resize: int | None, crop: int | None, color: str
) -> None:
    rng = np.random.default_rng(4)
    decoded = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    canvas = np.concatenate([decoded, np.full((*size, 1), 255, np.uint8)], axis=2)
    preparation = Preparation(color, resize, crop)
    pixels = to_pixels(Image.fromarray(decoded), color, "x")
    working, geometry = preparation.apply(pixels)
    anomaly_map = rng.normal(1, 1, working.shape[:2]).astype(np.float32)
    peak = (working.shape[0] - 1, working.shape[1] // 3)
    got = node(
        "picture.js toPixels geometry prepare mapToOriginal toOriginal",
        f"""const place = geometry(...size, {{resize, centre_crop: crop}});
        const picture = toPixels({BYTES}, "x", color);
        const working = prepare({{...picture, height: size[0], width: size[1]}}, place);
        const back = mapToOriginal({FLOATS}, place);
        return {{
          size: [working.height, working.width],
          working: Buffer.from(working.pixels).toString("base64"),
          map: Buffer.from(back.buffer).toString("base64"),
          peak: toOriginal(...peak, place),
        }}""",
        data=text(canvas),
        map=text(anomaly_map),
        size=size,
        resize=resize,
        crop=crop,
        color=color,
        peak=peak,
    )
    assert tuple(got["size"]) == working.shape[:2]
    assert base64.b64decode(got["working"]) == working.tobytes()
    expected = np.asarray(geometry.map_to_original(anomaly_map))
    assert base64.b64decode(got["map"]) == expected.tobytes()
    assert tuple(got["peak"]) == geometry.to_original(*peak)


def test_half_pixels_round_as_in_python() -> None:
    sizes = [(h, w) for h in range(11, 60, 3) for w in range(11, 60)]
    got = node(
        "picture.js geometry",
        "return sizes.map((s) => geometry(...s, {resize: 22, centre_crop: 15}))",
        sizes=sizes,
    )
    preparation = Preparation("grey", 22, 15)
    for size, place in zip(sizes, got, strict=True):
        crop = tuple(place["crop"][key] for key in ("top", "left", "h", "w"))
        found = Geometry(tuple(place["original"]), tuple(place["scaled"]), crop)
        assert found == preparation.geometry(*size)


class Positions:
    """An engine whose map is the picture and whose score is not used."""

    name = "positions"

    def __init__(self) -> None:
        self.sizes: list[list[int]] = []

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.sizes.append(list(batch.shape[1:3]))
        maps = batch.reshape(*batch.shape[:3], -1)[..., 0].astype(np.float32)
        return maps, maps.max(axis=(1, 2))


@pytest.mark.parametrize("size", [(128, 128), (1500, 140), (900, 700), (131, 4000)])
@pytest.mark.parametrize(
    ("preset", "changes", "reach"),
    [
        ("autoencoder", {"first_layer_channels": 2, "stride": 32}, 14),
        ("autoencoder", {"first_layer_channels": 2, "blend": "features", "stride": 64}, 90),
        ("auto", {"first_layer_channels": 4, "color": "rgb"}, 40),
    ],
)
def test_blocks_are_cut_as_in_python(
    size: tuple[int, int], preset: str, changes: dict[str, Any], reach: int
) -> None:
    settings = load_settings(preset, changes={"color": "grey", **changes})[0]
    shape = size if settings.color == "grey" else (*size, 3)
    picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    engine, memory = Positions(), 40_000_000
    whole, score = run_in_blocks(engine, picture, Tiling(settings, reach, memory))
    got = node(
        "blocks.js runInBlocks tiling",
        f"""const sizes = [];
        const run = async (pixels, height, width) => {{
          sizes.push([height, width]);
          const map = Float32Array.from({{length: height * width}}, (_, i) => pixels[i * channels]);
          return {{map, score: map.reduce((a, b) => Math.max(a, b))}};
        }};
        const picture = {{pixels: {BYTES}, height: size[0], width: size[1], channels}};
        const {{map, score}} = await runInBlocks(run, picture, tiling(settings, reach, memory));
        return {{sizes, score, map: Buffer.from(map.buffer).toString("base64")}}""",
        data=text(picture),
        size=size,
        channels=settings.channels,
        settings=settings.model_dump(mode="json"),
        reach=reach,
        memory=memory,
    )
    assert got["sizes"] == engine.sizes
    assert got["score"] == pytest.approx(score, rel=1e-6)
    in_blocks = len(engine.sizes) > 1  # otherwise the graph gives the score
    assert (score > whole.max()) == (in_blocks and settings.residual.mean_beyond is not None)
    assert base64.b64decode(got["map"]) == whole.tobytes()


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_a_score_is_that_of_python(combine: str) -> None:
    terms = [{"kind": "ssim", "weight": 0.5}, {"kind": "l1", "weight": 1.5}]
    values = np.random.default_rng(0).normal(0.2, 1, 1000).astype(np.float32)
    highest, mean = np.float64(values.max()), values.mean(dtype=np.float64)
    for beyond in (None, 0.0, 0.05, 0.4):
        rules = {"terms": terms, "combine": combine, "mean_beyond": beyond}
        settings = ResidualSettings.model_validate(rules)
        got = node(
            "score.js pictureScore",
            "return pictureScore(values, residual)",
            values=values.tolist(),
            residual=settings.model_dump(mode="json"),
        )
        assert got == pytest.approx(picture_score(highest, mean, settings), rel=1e-6)
    before = settings.model_dump(mode="json", exclude={"mean_beyond"})
    for residual in (None, before):  # as detectors of earlier formats say it
        got = node(
            "score.js pictureScore",
            "return pictureScore(values, residual)",
            values=values.tolist(),
            residual=residual,
        )
        assert got == values.max()


READ = "try { return readRecord(" + BYTES + ", 'd.onnx') } catch (e) { return e.message }"


def read(model: bytes) -> Any:
    return node("record.js readRecord", READ, data=text(model))


def changed(model: bytes, file: Path, **values: Any) -> bytes:
    """The detector with another record; the graph's thresholds stay as they are."""
    record = read_record(model, "x").model_copy(update={"thresholds": None} | values)
    write_detector(model, record, file)
    return file.read_bytes()


def test_the_record_is_read_as_in_python(run: Path) -> None:
    model = (run / "detector.onnx").read_bytes()
    expected = read_record(model, "x")
    assert Record.model_validate(read(model)) == expected


def test_older_records_without_newer_settings_are_read(run: Path, tmp_path: Path) -> None:
    model = (run / "detector.onnx").read_bytes()
    old = model.replace(b'"network":"reference",', b'"Network":"reference",')
    assert old != model
    assert read(old)["settings"]["network"] == "reference"


def test_files_that_are_no_detectors_are_told_in_one_line(run: Path, tmp_path: Path) -> None:
    model = (run / "detector.onnx").read_bytes()
    kept = read_record(model, "x").thresholds
    assert kept is not None
    file = tmp_path / "x.onnx"
    moved = Thresholds(score=kept.score, pixel=kept.pixel * 2)
    graph_changed = model.replace(b'"reach":', b'"Reach":')
    cases = {
        "is no detector or is damaged": b"not a model",
        "truncated": model[: len(model) // 2],
        "no ONNX graph inside": b"",
        "no ssim-ae detector": model.replace(b"\n\x07ssim_ae\x12", b"\n\x07ssim_aX\x12"),
        f"format {FORMAT + 1} is newer than {FORMAT}": changed(model, file, format=FORMAT + 1),
        "is not calibrated: run": changed(model, file),
        "other thresholds than its record": _with_record_only(model, file, moved),
        "its record is damaged (reach)": graph_changed,
        "its record is damaged (settings.depth)": model.replace(b'"depth":16', b'"depth":17'),
    }
    for message, data in cases.items():
        told = read(data)
        assert isinstance(told, str), message
        assert message in told
        assert told.startswith("d.onnx: ")
        assert "\n" not in told


def _with_record_only(model: bytes, file: Path, thresholds: Thresholds) -> bytes:
    from ssim_ae.runtime.metadata import replace_metadata

    record = read_record(model, "x").model_copy(update={"thresholds": thresholds})
    return replace_metadata(model, {"ssim_ae": record.model_dump_json()})


def test_pngs_of_16_bits_are_told_from_others(tmp_path: Path) -> None:
    heads = {}
    for name, pixels in {
        "deep.png": np.zeros((4, 4), np.uint16),
        "eight.png": np.zeros((4, 4), np.uint8),
        "colour.png": np.zeros((4, 4, 3), np.uint8),
        "eight.bmp": np.zeros((4, 4), np.uint8),
    }.items():
        Image.fromarray(pixels).save(tmp_path / name)
        heads[name] = [*(tmp_path / name).read_bytes()[:25]]
    found = node(
        "picture.js isDeepPng",
        "return Object.entries(heads).filter(([, head]) => isDeepPng(head)).map(([n]) => n)",
        heads=heads,
    )
    assert found == ["deep.png"]


@pytest.mark.parametrize("alpha", [0, 254])
def test_transparent_pictures_are_refused(alpha: int) -> None:
    told = node(
        "picture.js toPixels",
        "try { return toPixels(Uint8Array.of(1, 2, 3, alpha), 'a.png', 'grey') }"
        "catch (e) { return e.message }",
        alpha=alpha,
    )
    assert told.startswith("a.png: has transparent pixels")


@pytest.mark.parametrize(("score", "pixel"), [(2.0, 1.0), (1.0, -0.5), (0.0, 0.0), (-0.2, -3.0)])
def test_its_overlay_is_that_of_the_package(score: float, pixel: float) -> None:
    rng = np.random.default_rng(0)
    anomaly_map = rng.normal(0, 2, (30, 40)).astype(np.float32)
    anomaly_map[:5] = 0
    picture = rng.integers(0, 256, (30, 40), dtype=np.uint8)
    thresholds = Thresholds(score=score, pixel=pixel)
    found = Inspection(
        "p", 9.0, thresholds, anomaly_map, picture, Geometry((30, 40), (30, 40), (0, 0, 30, 40))
    )
    shown = node(
        "overlay.js overlay",
        f"""const floats = {FLOATS};
        const pixels = Uint8Array.from(Buffer.from(picture, 'base64'));
        const mask = Uint8Array.from(Buffer.from(marked, 'base64'));
        const seen = {{ pixels, channels: 1, height: 30, width: 40 }};
        return [...overlay(seen, floats, mask, {{ score, pixel }})];""",
        map=text(anomaly_map),
        picture=text(picture),
        marked=text(found.mask.astype(np.uint8)),
        score=score,
        pixel=pixel,
    )
    ours = np.array(shown).reshape(30, 40, 4)[..., :3]
    assert np.abs(ours - overlay(found).astype(int)).max() <= 1
