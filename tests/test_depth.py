"""How many of the bits of 16-bit files count."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from ssim_ae.config_files import load_settings
from ssim_ae.data.images import lost_depth, read_picture, readable, to_pixels
from ssim_ae.data.working_size import Preparation
from ssim_ae.errors import InputError, PictureError
from ssim_ae.training.pictures import divide
from tests.test_images import twelve_bits

EIGHT = np.arange(40, dtype=np.uint8).reshape(5, 8) * 6
WHITE_IS_ZERO = 0


def save(file: Path, values: Any) -> Path:
    Image.fromarray(values).save(file)
    return file


def wide_png(file: Path, pixels: np.ndarray[Any, np.dtype[np.uint16]]) -> Path:
    """Grey or colour of 16 bits a channel, with transparency, as Pillow does not write it."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 4: 6}[channels], 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return file


def ramp(depth: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    return np.linspace(0, (1 << depth) - 1, 40).astype(np.uint16).reshape(5, 8)


def rounded(values: np.ndarray[Any, Any], depth: int) -> list[list[int]]:
    white = (1 << depth) - 1
    return [[int(Fraction(int(v) * 255, white) + Fraction(1, 2)) for v in row] for row in values]


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_depth_says_how_many_of_16_bits_count(depth: int, tmp_path: Path) -> None:
    values = ramp(depth)
    file = save(tmp_path / "p.png", values)
    expected = rounded(values, depth)
    assert read_picture(file, "grey", depth).tolist() == expected
    assert read_picture(file, "rgb", depth)[..., 1].tolist() == expected
    assert Preparation("grey", None, None, depth).read(file)[0].tolist() == expected
    eight = save(tmp_path / "eight.png", EIGHT)
    assert np.array_equal(read_picture(eight, "grey", depth), EIGHT)  # 8 bits are 8 bits


def test_a_value_beyond_the_depth_is_told(tmp_path: Path) -> None:
    beyond = save(tmp_path / "beyond.png", ramp(12) + np.uint16(1))
    why = r"beyond\.png: holds 4096, which takes 13 bits, but depth is 12: .* train with depth=13"
    with pytest.raises(PictureError, match=why):
        read_picture(beyond, "grey", 12)
    good = save(tmp_path / "good.png", ramp(12))
    with pytest.raises(InputError, match=why):  # not left out: only dark ones would be left
        readable([good, beyond], 12)
    tifffile.imwrite(tmp_path / "far.tif", ramp(12).astype(np.int32) * 20)
    with pytest.raises(InputError, match=r"far\.tif: 32-bit values beyond 0\.\.65535"):
        readable([good, tmp_path / "far.tif"], 12)
    assert readable([good, tmp_path / "far.tif"])[0] == [good]


@pytest.mark.parametrize("inverted", [False, True])
def test_tiffs_whose_zero_is_white(tmp_path: Path, inverted: bool) -> None:
    values = ramp(12)
    photometric = "miniswhite" if inverted else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric)
    expected = rounded(4095 - values if inverted else values, 12)
    assert read_picture(tmp_path / "a.tif", "grey", 12).tolist() == expected
    assert "train with --set depth=12" in str(lost_depth([tmp_path / "a.tif"]))
    tifffile.imwrite(tmp_path / "b.tif", values + 1, photometric=photometric)
    with pytest.raises(PictureError, match="holds 4096, which takes 13 bits"):
        read_picture(tmp_path / "b.tif", "grey", 12)


@pytest.mark.parametrize("depth", [10, 12, 16])
@pytest.mark.parametrize("plain", [False, True])
def test_files_that_say_their_range_are_taken_at_their_word(
    tmp_path: Path, depth: int, plain: bool
) -> None:
    values = ramp(12)
    body = b" ".join(b"%d" % v for v in values.flat) if plain else values.astype(">u2").tobytes()
    pgm = tmp_path / "a.pgm"
    pgm.write_bytes(b"P%d 8 5 4095 " % (2 if plain else 5) + body)
    twelve_bits(tmp_path / "b.tif", [int(v) for v in values.flat])
    for file in (pgm, tmp_path / "b.tif"):
        found = read_picture(file, "grey", depth).astype(int).flatten()
        assert np.abs(found - np.array(rounded(values, 12)).flatten()).max() <= 1
        assert lost_depth([file]) is None


@pytest.mark.parametrize("plain", [False, True])
def test_a_pgm_of_whole_range_says_nothing(tmp_path: Path, plain: bool) -> None:
    values = ramp(12)
    body = b" ".join(b"%d" % v for v in values.flat) if plain else values.astype(">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(b"P%d 8 5 65535 " % (2 if plain else 5) + body)
    assert read_picture(tmp_path / "a.pgm", "grey", 12).tolist() == rounded(values, 12)
    assert "train with --set depth=12" in str(lost_depth([tmp_path / "a.pgm"]))


def test_wide_colour_has_no_depth(tmp_path: Path) -> None:
    colour = np.stack([ramp(12)] * 3, axis=2)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    (tmp_path / "b.ppm").write_bytes(b"P6 8 5 65535 " + colour.astype(">u2").tobytes())
    for name in ("a.tif", "b.ppm"):
        file = tmp_path / name
        assert read_picture(file, "rgb").max() <= 16
        with pytest.raises(PictureError, match=f"{name}: of 16-bit colour only the high byte"):
            read_picture(file, "rgb", 12)
        line = str(lost_depth([file]))
        assert line.endswith("if the camera has 12 bits, save all as 8 bits")
    for channels in (2, 4):  # with opaque transparency, which is no brightness
        deep = np.full((5, 8, channels), 65535, np.uint16)
        deep[..., :-1] = ramp(12)[..., None]
        assert "save all as 8 bits" in str(lost_depth([wide_png(tmp_path / "d.png", deep)]))
    bright = tmp_path / "c.ppm"
    bright.write_bytes(b"P6 8 5 65535 " + (colour * 16).astype(">u2").tobytes())
    assert lost_depth([bright]) is None


def test_bitmaps_of_16_bits_a_pixel_are_of_8_a_channel(tmp_path: Path) -> None:
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 66)
    info = struct.pack("<IiiHHIIiiII", 40, 8, 5, 1, 16, 3, 0, 0, 0, 0, 0)
    pixels = np.full((5, 8), 0x1234, np.uint16)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)  # 5, 6, 5 bits
    (tmp_path / "a.bmp").write_bytes(head + info + masks + pixels.tobytes())
    assert np.array_equal(read_picture(tmp_path / "a.bmp", "rgb", 12),
                          read_picture(tmp_path / "a.bmp", "rgb"))  # fmt: skip


def test_little_left_of_16_bits_is_told(tmp_path: Path) -> None:
    twelve, full = (save(tmp_path / f"{d}.png", ramp(d)) for d in (12, 16))
    eight, broken = save(tmp_path / "eight.png", EIGHT), tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    line = str(lost_depth([twelve, eight, broken]))
    assert line.startswith(f"{twelve}: 16 bits that hold no more than 4095 leave 17 grey levels")
    assert line.endswith("if the camera has 12 bits, train with --set depth=12")
    dark = save(tmp_path / "dark.png", ramp(12) // 5 * 2)  # of the same camera
    assert "no more than 1638 leave 7 grey levels: if the camera has 12" in str(lost_depth([dark]))
    assert lost_depth([twelve, full]) is lost_depth([eight]) is lost_depth([broken]) is None


def test_one_bright_picture_of_many_says_the_depth(tmp_path: Path) -> None:
    for i in range(40):
        save(tmp_path / f"{i:02}.png", ramp(12 if i == 17 else 9) + np.uint16(0))
    assert "depth=12" in str(lost_depth(sorted(tmp_path.iterdir())))


def test_arrays_and_images_have_a_depth_too() -> None:
    image = Image.fromarray(ramp(12))
    assert to_pixels(image, "grey", "x", 12).tolist() == rounded(ramp(12), 12)


def test_training_proposes_a_depth_unless_it_is_told_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(8):
        save(tmp_path / f"{i}.png", rng.integers(0, 4096, (16, 16), np.uint16))
    plain, _ = load_settings("auto", changes=["color=grey"])
    for settings, resumed, proposed in (
        (plain, False, 1),
        (plain, True, 0),
        (plain.model_copy(update={"depth": 12}), False, 0),
    ):
        told: list[str] = []
        divide(tmp_path, settings, set(), told.append, resumed)
        assert sum("--set depth=12" in line for line in told) == proposed
