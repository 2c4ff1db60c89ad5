"""The exported file against the torch graph, and what the detector says of pictures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from skimage.measure import label, regionprops

import ssim_ae
from ssim_ae import Detector
from ssim_ae.config import ResidualSettings, ResidualTerm
from ssim_ae.data.images import read_picture
from ssim_ae.data.working_size import Geometry
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.errors import DetectorError, InputError, PictureError
from ssim_ae.model.build import inspector_of
from ssim_ae.model.network import Autoencoder
from ssim_ae.model.weights import load_weights
from ssim_ae.runtime.constants import read_constants, replace_constants
from ssim_ae.runtime.detector import READ_AHEAD, Inspection
from ssim_ae.runtime.metadata import read_metadata, replace_metadata
from ssim_ae.runtime.onnxruntime_engine import OnnxRuntime
from ssim_ae.runtime.openvino_engine import OpenVino
from ssim_ae.runtime.overlay import overlay
from ssim_ae.runtime.record import KEY, Record, Thresholds, read_record, write_detector
from ssim_ae.runtime.regions import find_regions
from ssim_ae.training.calibrate import calibrate
from ssim_ae.training.train import train
from tests.conftest import TINY


@pytest.fixture(scope="module")
def detector(run: Path) -> Detector:
    return Detector.load(run)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("shape", [(128, 128), (160, 176), (301, 129)])
def test_engines_equal_torch(run: Path, engine: str, shape: tuple[int, int]) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")  # an extra
    loaded = Detector.load(run, engine)
    s = loaded.record.settings
    network = Autoencoder(s.tile, s.channels, s.latent, s.first_layer_channels)
    assert load_weights(network, run / "model.safetensors") == []
    image = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    with torch.inference_mode():
        maps, scores, *_ = inspector_of(network, s)(torch.from_numpy(image))
    found, found_scores = loaded.engine.run(image)
    np.testing.assert_allclose(found, maps.numpy(), atol=1e-5)
    np.testing.assert_allclose(found_scores, scores.numpy(), atol=1e-5)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_ctrl_c_after_engines_have_gone_is_heard(run: Path) -> None:
    pytest.importorskip("openvino")  # an extra
    code = f"""
import os, signal
from ssim_ae import Detector

first, second = (Detector.load({str(run)!r}, "openvino") for _ in range(2))
del first
del second
signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n")


@pytest.fixture(scope="module")
def blended(run: Path) -> tuple[bytes, torch.nn.Module]:
    """The run's weights with blend=features, exported from where training leaves them."""
    s = read_record((run / "detector.onnx").read_bytes(), run).settings
    s = s.model_copy(update={"blend": "features"})
    network = Autoencoder(s.tile, s.channels, s.latent, s.first_layer_channels)
    load_weights(network, run / "model.safetensors")
    inspector = inspector_of(network.to(memory_format=torch.channels_last), s)
    return graph_bytes(inspector, s.channels, s.tile), inspector


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("shape", [(128, 128), (160, 176), (301, 129)])
def test_engines_equal_torch_with_blended_features(
    blended: tuple[bytes, torch.nn.Module], engine: str, shape: tuple[int, int]
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")  # an extra
    graph, inspector = blended
    image = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    with torch.inference_mode():
        maps, scores, *_ = inspector(torch.from_numpy(image))
    started = OpenVino(graph) if engine == "openvino" else OnnxRuntime(graph)
    found, found_scores = started.run(image)
    np.testing.assert_allclose(found, maps.numpy(), atol=1e-5)
    np.testing.assert_allclose(found_scores, scores.numpy(), atol=1e-5)


@pytest.mark.e2e
def test_a_detector_trained_in_bf16_computes_in_float32(fabric: Path, tmp_path: Path) -> None:
    train(fabric, "autoencoder", changes=[*TINY, "precision=bf16"], output=tmp_path / "run")
    model = onnx.load(tmp_path / "run" / "detector.onnx")
    types = {t.data_type for t in model.graph.initializer}
    assert onnx.TensorProto.BFLOAT16 not in types
    assert onnx.TensorProto.FLOAT in types
    casts = [a.i for n in model.graph.node if n.op_type == "Cast" for a in n.attribute]
    assert onnx.TensorProto.BFLOAT16 not in casts
    image = np.random.default_rng(0).integers(0, 256, (160, 176), dtype=np.uint8)
    assert np.isfinite(Detector.load(tmp_path / "run").inspect(image).score)


def test_the_file_is_self_contained_and_symbolic(run: Path) -> None:
    model = onnx.load(run / "detector.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    assert not any(t.external_data for t in model.graph.initializer)
    assert [i.domain for i in model.opset_import] == [""]
    for value in (*model.graph.input, *model.graph.output):
        assert all(d.dim_param for d in value.type.tensor_type.shape.dim), value.name
    assert [o.name for o in model.graph.output] == ["anomaly_map", "score", "mask", "defective"]
    assert str(Path(ssim_ae.__file__).parent).encode() not in (run / "detector.onnx").read_bytes()


def test_the_graph_holds_the_thresholds_of_the_record(
    run: Path, fabric: Path, detector: Detector
) -> None:
    """Clients that read no metadata get the same mask and verdict."""
    picture = read_picture(next((fabric / "test" / "hole").glob("*.png")), "grey")
    session = onnxruntime.InferenceSession(run / "detector.onnx")
    anomaly_map, score, mask, defective = session.run(None, {"image": picture[None]})
    thresholds = detector.thresholds
    assert mask.dtype == defective.dtype == bool
    np.testing.assert_array_equal(mask, anomaly_map > np.float32(thresholds.pixel))
    assert mask.any()
    assert defective == (score > np.float32(thresholds.score))
    found = read_constants((run / "detector.onnx").read_bytes())
    assert found == {"score_threshold": thresholds.score, "pixel_threshold": thresholds.pixel}


def test_the_record_tells_where_the_thresholds_come_from(run: Path, detector: Detector) -> None:
    record = detector.record
    assert record.calibration is not None
    assert record.calibration.pictures == 19  # a fifth of 40 is 8, but 19 can promise 5 %
    assert record.calibration.scores == sorted(record.calibration.scores)
    assert record.calibration.scores[record.calibration.rank - 1] == record.thresholds.score
    assert record.thresholds.pixel <= record.thresholds.score
    assert len(record.trained_on) == 21
    assert set(record.fingerprints) == {"data", "weights"}
    assert record.settings.seed == 3


def test_inspect_takes_files_arrays_and_images(fabric: Path, detector: Detector) -> None:
    file = fabric / "test" / "good" / "000.png"
    a = detector.inspect(file)
    pixels = np.array(Image.open(file))
    b, c = detector.inspect(pixels), detector.inspect(Image.open(file).convert("RGB"))
    assert a.score == b.score == c.score == a.anomaly_map.max()
    assert a.anomaly_map.shape == a.mask.shape == pixels.shape
    assert a.is_defective == (a.score > detector.thresholds.score)
    turned = Image.open(file)
    turned.getexif()[0x0112] = 3  # upside down: as a file with that mark would be read
    assert np.array_equal(detector.inspect(turned).picture, pixels[::-1, ::-1])
    for bad in (pixels.astype(np.float32), pixels[0], pixels[None, None], pixels[..., None]):
        with pytest.raises(PictureError, match="pass uint8"):
            detector.inspect(bad)
    with pytest.raises(PictureError, match="smaller than the detector's 128x128"):
        detector.inspect(pixels[:100])


def test_a_camera_of_twelve_bits_gives_what_eight_give(
    run: Path, fabric: Path, tmp_path: Path
) -> None:
    eight = read_picture(next((fabric / "test" / "hole").glob("*.png")), "grey")
    twelve = np.round(eight / 255 * 4095).astype(np.uint16)
    file = tmp_path / "twelve.png"
    Image.fromarray(twelve).save(file)
    record = read_record((run / "detector.onnx").read_bytes(), "x")
    changed = record.model_copy(
        update={"settings": record.settings.model_copy(update={"depth": 12})}
    )
    write_detector((run / "detector.onnx").read_bytes(), changed, tmp_path / "d.onnx")
    detector = Detector.load(tmp_path / "d.onnx")
    expected = Detector.load(run).inspect(eight).working_map
    for picture in (file, twelve, twelve.astype(">u2"), Image.fromarray(twelve), eight):
        np.testing.assert_array_equal(detector.inspect(picture).working_map, expected)
    (found,) = detector.inspect_files([file])
    assert isinstance(found, Inspection)
    np.testing.assert_array_equal(found.working_map, expected)
    with pytest.raises(PictureError, match="picture: holds 4096, which takes 13 bits"):
        detector.inspect(twelve + np.uint16(4096 - twelve.max()))
    assert read_metadata((tmp_path / "d.onnx").read_bytes())["depth"] == "12"


def test_a_detector_is_calibrated_on_what_its_depth_shows(run: Path, tmp_path: Path) -> None:
    rng, good = np.random.default_rng(1), tmp_path / "good"
    good.mkdir()
    for i in range(4):  # at 16 bits, a few of these levels are one
        Image.fromarray(rng.integers(0, 100, (160, 176), np.uint16)).save(good / f"{i}.png")
    data = (run / "detector.onnx").read_bytes()
    with pytest.raises(InputError, match="16 bits that hold no more than 99"):
        calibrate(run, good, 0.2)
    record = read_record(data, "x")
    settings = record.settings.model_copy(update={"depth": 8})
    write_detector(data, record.model_copy(update={"settings": settings}), tmp_path / "d.onnx")
    found, _, _ = calibrate(tmp_path / "d.onnx", good, 0.2)
    assert found.calibration is not None
    assert found.calibration.pictures == 4
    Image.fromarray(np.full((160, 176), 256, np.uint16)).save(good / "4.png")
    with pytest.raises(InputError, match=r"4\.png: holds 256, which takes 9 bits, but depth is 8"):
        calibrate(tmp_path / "d.onnx", good, 0.2)


def test_a_set_of_twelve_bits_is_trained_on_as_one_of_eight(
    run: Path, fabric: Path, tmp_path: Path
) -> None:
    twelve = Path(shutil.copytree(fabric, tmp_path / "twelve"))
    for file in [*twelve.glob("train/*/*.png"), *twelve.glob("test/*/*.png")]:
        values = np.round(np.asarray(Image.open(file)) / 255 * 4095).astype(np.uint16)
        Image.fromarray(values).save(file)
    told: list[str] = []
    changes = [*TINY, "depth=12"]
    train(twelve, "autoencoder", changes=changes, output=tmp_path / "run", on_note=told.append)
    assert not any("grey levels" in line for line in told)
    expected = ssim_ae.evaluate(run, fabric, tmp_path / "eight").metrics
    found = ssim_ae.evaluate(tmp_path / "run", twelve, tmp_path / "evaluation").metrics
    for key in ("pixel_auroc", "image_auroc", "at_threshold"):
        assert found[key] == expected[key]


def test_many_files_keep_their_order_and_bad_ones_do_not_stop(
    fabric: Path, detector: Detector, tmp_path: Path
) -> None:
    good = sorted((fabric / "test" / "good").iterdir())
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    found = list(detector.inspect_files([good[0], bad, good[1], *good]))
    assert isinstance(found[1], PictureError)
    assert "bad.png" in str(found[1])
    sources = [f.source for f in found if isinstance(f, Inspection)]
    assert sources == [str(f) for f in [good[0], good[1], *good]]


def test_files_are_taken_as_they_are_needed(fabric: Path, detector: Detector) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield fabric / "test" / "good" / "000.png"

    found = detector.inspect_files(endless())
    for _ in range(3):
        next(found)
    assert taken <= 3 + READ_AHEAD + 1  # memory does not grow with the folder


def inspection(anomaly_map: np.ndarray, threshold: float) -> Inspection:
    h, w = anomaly_map.shape
    picture = np.random.default_rng(0).integers(0, 256, (h, w), dtype=np.uint8)
    return Inspection(
        "p", float(anomaly_map.max()), Thresholds(score=threshold, pixel=threshold),
        anomaly_map, picture, Geometry((h, w), (h, w), (0, 0, h, w)),
    )  # fmt: skip


@pytest.mark.parametrize("rows", [60, 7, 1])
def test_regions_equal_scikit_image(rows: int) -> None:
    rng = np.random.default_rng(0)
    anomaly_map = rng.random((60, 70)).astype(np.float32)
    mask = anomaly_map > 0.8
    regions = find_regions(mask, anomaly_map, rows * 70)
    expected = regionprops(label(mask, connectivity=2), intensity_image=anomaly_map)
    theirs = {(*p.bbox, int(p.area), round(float(p.intensity_max), 5)) for p in expected}
    ours = {(r.top, r.left, r.bottom, r.right, r.area, round(r.peak, 5)) for r in regions}
    assert ours == theirs
    assert [r.peak for r in regions] == sorted((r.peak for r in regions), reverse=True)
    assert find_regions(np.zeros((5, 5), bool), np.zeros((5, 5), np.float32)) == []


def test_a_good_part_looks_calm_and_a_defect_does_not() -> None:
    quiet = np.random.default_rng(0).random((40, 40)).astype(np.float32) * 0.5
    calm = inspection(quiet, threshold=1.0)
    assert np.array_equal(overlay(calm), np.repeat(calm.picture[..., None], 3, axis=2))
    quiet[10:14, 10:14] = 3.0
    loud = inspection(quiet, threshold=1.0)
    changed = (overlay(loud) != loud.picture[..., None]).any(axis=2)
    assert changed[10:14, 10:14].all()
    assert not changed[20:, 20:].any()


def test_a_pixel_threshold_below_zero_leaves_good_pixels_calm() -> None:
    anomaly_map = np.full((40, 40), -3.0, np.float32)
    anomaly_map[20:, 20:] = 0.001  # above 0 and a little above the threshold of pixels
    anomaly_map[:10, :10] = 5.0
    anomaly_map[:20, 25:29] = -0.6  # a little below it
    found = replace(inspection(anomaly_map, 1.0), thresholds=Thresholds(score=1.0, pixel=-0.5))
    shown = overlay(found).astype(int)
    base = np.repeat(found.picture[..., None], 3, axis=2).astype(int)
    calm = shown[5:15, 20:] == base[5:15, 20:]
    assert calm.all()
    at_zero = inspection(np.zeros((9, 9), np.float32), 0.0)
    assert np.array_equal(overlay(at_zero)[..., 0], at_zero.picture)
    redness = shown[..., 0] - shown[..., 1] - (base[..., 0] - base[..., 1])
    assert redness[:9, :9].mean() > 2 * redness[25:, 25:].mean() > 0


def test_a_defective_picture_always_shows_its_peak() -> None:
    working = np.zeros((40, 40), np.float32)
    working[7, 30] = 2.0
    shrunk = Inspection(
        "p", 2.0, Thresholds(score=1.5, pixel=1.5), working, np.zeros((10, 10), np.uint8),
        Geometry((10, 10), (40, 40), (0, 0, 40, 40)),
    )  # fmt: skip
    assert shrunk.anomaly_map.max() < 1.5  # averaged away by shrinking
    assert np.argwhere(shrunk.mask).tolist() == [[1, 7]]
    assert len(shrunk.regions) == 1
    working[20:36, 0:16] = 1.4  # a large region that is marked does not hide it
    beside = replace(shrunk, thresholds=Thresholds(score=1.5, pixel=1.3))
    assert beside.mask[1, 7]
    assert beside.mask[6:8, :3].all()
    assert len(beside.regions) == 2
    # of one that its mean makes defective nothing need lie above the threshold of pixels
    as_a_whole = replace(shrunk, score=3.0, thresholds=Thresholds(score=2.5, pixel=2.5))
    assert np.argwhere(as_a_whole.mask).tolist() == [[1, 7]]


def test_files_that_are_no_detector(run: Path, tmp_path: Path) -> None:
    data = (run / "detector.onnx").read_bytes()
    cases = {
        "cut": (data[: len(data) // 2], "damaged|no ssim-ae detector"),
        "text": (b"hello", "no detector"),
        "empty": (b"", "no detector"),
        "other": (replace_metadata(data, {"made": "elsewhere"}), "no ssim-ae detector"),
        "newer": (replace_metadata(data, {KEY: '{"format": 99}'}), "newer"),
        "odd": (replace_metadata(data, {KEY: "{}"}), "record is damaged"),
    }
    for name, (content, words) in cases.items():
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(content)
        with pytest.raises(DetectorError, match=words) as caught:
            Detector.load(file)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    broken = onnx.load_from_string(data)
    broken.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "broken.onnx").write_bytes(broken.SerializeToString())
    with pytest.raises(DetectorError, match=r"broken\.onnx.*refuses"):
        Detector.load(tmp_path / "broken.onnx")
    with pytest.raises(DetectorError, match="OpenVINO refuses") as caught:
        Detector.load(tmp_path / "broken.onnx", "openvino")
    assert "\n" not in str(caught.value)
    with pytest.raises(DetectorError, match="does not exist"):
        Detector.load(tmp_path / "none")
    elsewhere = onnx.load_from_string(data)
    elsewhere.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    (tmp_path / "elsewhere.onnx").write_bytes(elsewhere.SerializeToString())
    with pytest.raises(DetectorError, match="another file"):
        Detector.load(tmp_path / "elsewhere.onnx")
    hidden = onnx.load_from_string(data)
    secret = onnx.TensorProto(data_type=1, dims=[1], data_location=1)
    secret.external_data.add(key="location", value="secret.bin")
    hidden.graph.node.add(op_type="Constant", output=["s"]).attribute.add(
        name="value", type=onnx.AttributeProto.TENSOR
    ).t.CopyFrom(secret)
    (tmp_path / "hidden.onnx").write_bytes(hidden.SerializeToString())
    with pytest.raises(DetectorError, match="another file"):
        Detector.load(tmp_path / "hidden.onnx")
    moved = replace_constants(data, {"score_threshold": 9.0, "pixel_threshold": 9.0})
    assert len(moved) == len(data)
    (tmp_path / "moved.onnx").write_bytes(moved)
    with pytest.raises(DetectorError, match="other thresholds than its record"):
        Detector.load(tmp_path / "moved.onnx")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(DetectorError, match="--resume"):
        Detector.load(tmp_path / "run")
    with pytest.raises(InputError, match="engine 'x' is unknown"):
        Detector.load(run, "x")


def test_an_uncalibrated_detector_says_so(run: Path, fabric: Path, tmp_path: Path) -> None:
    data = (run / "detector.onnx").read_bytes()
    bare = read_record(data, "x").model_copy(update={"thresholds": None})
    file = tmp_path / "bare.onnx"
    file.write_bytes(replace_metadata(data, {KEY: bare.model_dump_json()}))
    with pytest.raises(DetectorError, match=r"not calibrated.*ssim-ae calibrate"):
        Detector.load(file).inspect(fabric / "test" / "good" / "000.png")


def test_the_detector_is_one_movable_file(run: Path, fabric: Path, tmp_path: Path) -> None:
    shutil.copy(run / "detector.onnx", tmp_path / "moved.onnx")
    file = fabric / "test" / "good" / "000.png"
    assert Detector.load(tmp_path / "moved.onnx").inspect(file).score == (
        Detector.load(run).inspect(file).score
    )


def test_inspecting_imports_no_torch(run: Path, fabric: Path) -> None:
    code = (
        "import sys, ssim_ae, ssim_ae.cli\n"
        "from ssim_ae import Detector, evaluate\n"
        "from ssim_ae.training.calibrate import calibrate\n"
        f"Detector.load({str(run)!r}).inspect({str(fabric / 'test/good/000.png')!r}).regions\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        "assert 'onnx' not in sys.modules, 'onnx'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_record_without_zoo_keys_is_small(run: Path) -> None:
    text = read_metadata((run / "detector.onnx").read_bytes())[KEY]
    assert Record.model_validate_json(text).settings.zoo is None
    assert len(text) < 8000


def test_residual_settings_travel(run: Path, detector: Detector) -> None:
    assert detector.record.settings.residual == ResidualSettings(
        terms=[ResidualTerm(kind="ssim", sigma=4)]
    )
    assert detector.record.reach == 14
