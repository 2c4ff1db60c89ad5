"""What large pictures go through in strips equals one pass over the whole."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ssim_ae import Detector
from ssim_ae.data import images
from ssim_ae.data.images import to_pixels
from ssim_ae.data.working_size import Geometry, Preparation
from ssim_ae.runtime import onnxruntime_engine
from ssim_ae.runtime import overlay as runtime_overlay
from ssim_ae.runtime.detector import Inspection
from ssim_ae.runtime.overlay import overlay
from ssim_ae.runtime.record import Thresholds
from ssim_ae.runtime.writers import write_pictures

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "CMYK"])
@pytest.mark.parametrize("rows", [1, 3, 37])
def test_conversion(monkeypatch, mode, color, rows) -> None:
    values = RNG.integers(0, 256, (37, 20, 3), np.uint8)
    image = Image.fromarray(values)
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 65536, (37, 20), np.uint16))
    elif mode != "RGB":
        image = image.convert(mode)
    whole = to_pixels(image, color, "picture")
    monkeypatch.setattr(images, "AT_ONCE", rows * 20)
    np.testing.assert_array_equal(to_pixels(image, color, "picture"), whole)


def test_a_turned_picture_is_turned_in_strips_too(monkeypatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = BytesIO()
    Image.fromarray(RNG.integers(0, 256, (31, 20), np.uint8)).save(stream, "PNG", exif=exif)
    whole = to_pixels(Image.open(stream), "grey", "picture")
    assert whole.shape == (20, 31)
    monkeypatch.setattr(images, "AT_ONCE", 100)
    np.testing.assert_array_equal(to_pixels(Image.open(stream), "grey", "picture"), whole)


@pytest.mark.parametrize("original", [(50, 40), (97, 64), (401, 333)])
def test_a_map_comes_back_to_the_picture_s_size(monkeypatch, original) -> None:
    small = RNG.random((32, 32), np.float32)
    geometry = Geometry(original=original, scaled=(32, 32), crop=(0, 0, 32, 32))
    whole = geometry.map_to_original(small)
    monkeypatch.setattr(images, "AT_ONCE", 7 * original[1])
    np.testing.assert_allclose(geometry.map_to_original(small), whole, atol=1e-4)


def test_a_picture_scaled_by_one_pixel_and_cropped_back_is_scaled() -> None:
    picture = RNG.integers(0, 256, (256, 256), np.uint8)
    working, geometry = Preparation("grey", 257, 256).apply(picture)
    resized = Image.fromarray(picture).resize((257, 257), Image.Resampling.BILINEAR)
    assert geometry.scaled == (257, 257)
    assert np.abs(working.astype(int) - np.asarray(resized)[:256, :256].astype(int)).mean() < 20
    assert (working != picture).mean() > 0.5


def inspection(height: int, width: int = 30) -> Inspection:
    picture = RNG.integers(0, 256, (height, width), np.uint8)
    geometry = Geometry((height, width), (height, width), (0, 0, height, width))
    anomaly_map = ndimage.gaussian_filter(RNG.random((height, width), np.float32), 2)
    threshold = float(np.quantile(anomaly_map, 0.8))
    return Inspection(
        "x", 1.0, Thresholds(score=1, pixel=threshold), anomaly_map, picture, geometry
    )


@pytest.mark.parametrize("height", [1, 15, 16, 17, 33, 257])
def test_outlines_cross_the_strips(height, tmp_path, monkeypatch) -> None:
    found = inspection(height)
    rows = 16 * found.mask.shape[1]
    monkeypatch.setattr(runtime_overlay, "DRAWN", rows)
    monkeypatch.setattr(images, "AT_ONCE", rows)
    mask = found.mask
    edge = ndimage.binary_dilation(mask) & ~mask
    drawn = overlay(found)
    colour = drawn[tuple(np.argwhere(edge)[0])]
    np.testing.assert_array_equal((drawn == colour).all(2) & ~mask, edge)
    write_pictures(found, tmp_path, "x", maps=False)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "overlays" / "x.png")), drawn)
    written = np.asarray(Image.open(tmp_path / "masks" / "x.png"))
    np.testing.assert_array_equal(written, np.where(mask, 255, 0))


def test_memory_given_back_changes_no_value(run: Path, monkeypatch) -> None:
    detector = Detector.load(run)
    picture = RNG.integers(0, 256, (300, 260), np.uint8)
    kept, score = detector.measure(picture)
    monkeypatch.setattr(onnxruntime_engine, "KEPT", 0)
    given_back, again = detector.measure(picture)
    np.testing.assert_array_equal(given_back, kept)
    assert again == score
