import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ssim_ae.data import chroma, images
from ssim_ae.data.images import (
    read_mask,
    read_picture,
    readable,
    size_of,
    to_pixels,
)
from ssim_ae.data.working_size import Preparation
from ssim_ae.errors import InputError, PictureError

RAMP = (np.arange(40 * 30) % 251).reshape(30, 40).astype(np.uint8)


def save(tmp_path: Path, image: Image.Image, name: str = "p.png", **options: Any) -> Path:
    file = tmp_path / name
    image.save(file, **options)
    return file


def twelve_bits(file: Path, values: list[int]) -> None:
    """A TIFF of one row, two values to three bytes, as cameras write it and Pillow does not."""
    packed = b"".join(
        (a << 12 | b).to_bytes(3, "big") for a, b in zip(values[::2], values[1::2], strict=True)
    )
    tags = {256: len(values), 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1,
            278: 1, 279: len(packed)}  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    file.write_bytes(head + entries + struct.pack("<I", 0) + packed)


@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_twelve_bits_fill_the_range(tmp_path: Path, color: str) -> None:
    twelve_bits(tmp_path / "a.tif", [0, 1024, 2048, 4095])
    found = read_picture(tmp_path / "a.tif", color)
    expected = np.array([[0, 64, 128, 255]], np.uint8)
    np.testing.assert_array_equal(found if color == "grey" else found[..., 1], expected)


def test_grey_and_rgb_by_setting(tmp_path: Path) -> None:
    file = save(tmp_path, Image.fromarray(RAMP))
    assert np.array_equal(read_picture(file, "grey"), RAMP)
    assert np.array_equal(read_picture(file, "rgb"), np.repeat(RAMP[..., None], 3, 2))
    colour = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)
    file = save(tmp_path, Image.fromarray(colour))
    assert np.array_equal(read_picture(file, "rgb"), colour)
    luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(read_picture(file, "grey") - luma).max() <= 1


def test_16_bit_is_scaled_not_clipped(tmp_path: Path) -> None:
    wide = np.array([[0, 257, 514, 32768, 65535]], np.uint16)
    file = save(tmp_path, Image.fromarray(wide))
    assert read_picture(file, "grey").tolist() == [[0, 1, 2, 128, 255]]
    assert read_picture(file, "rgb").shape == (1, 5, 3)
    file = save(tmp_path, Image.fromarray(wide), "p.tiff")
    assert read_picture(file, "grey").tolist() == [[0, 1, 2, 128, 255]]


def test_alpha_palette_one_bit_cmyk(tmp_path: Path) -> None:
    rgba = np.dstack([RAMP, RAMP, RAMP, np.zeros_like(RAMP)])  # fully transparent
    assert np.array_equal(read_picture(save(tmp_path, Image.fromarray(rgba)), "grey"), RAMP)
    la = Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(np.zeros_like(RAMP))])
    assert np.array_equal(read_picture(save(tmp_path, la), "grey"), RAMP)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="L").convert("P")
    palette.putpalette([200, 0, 0, 0, 0, 100])
    assert read_picture(save(tmp_path, palette), "rgb").tolist() == [[[200, 0, 0], [0, 0, 100]]]
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read_picture(save(tmp_path, bits), "grey").tolist() == [[0, 255]]
    cmyk = Image.new("CMYK", (2, 1), (0, 255, 255, 0))
    assert read_picture(save(tmp_path, cmyk, "p.tiff"), "rgb").tolist() == [[[255, 0, 0]] * 2]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    file = save(tmp_path, Image.fromarray(RAMP), exif=exif)
    assert np.array_equal(read_picture(file, "grey"), np.rot90(RAMP, -1))


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}],
    ids=["plain", "lzw", "deflate"],
)
@pytest.mark.parametrize("deep", [False, True], ids=["8 bit", "16 bit"])
def test_turned_tiffs_are_turned_once(
    tmp_path: Path, orientation: int, options: dict[str, str], deep: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = RAMP.astype(np.uint16) * 257 if deep else RAMP
    file = save(tmp_path, Image.fromarray(values), "turned.tiff", exif=exif, **options)
    upright = np.rot90(RAMP, {3: 2, 6: -1, 8: 1}[orientation])
    assert np.array_equal(read_picture(file, "grey"), upright)
    assert size_of(file) == upright.shape


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("deep", [False, True], ids=["8 bit", "16 bit"])
def test_tiffs_whose_zero_is_white(tmp_path: Path, deep: bool, orientation: int) -> None:
    values = RAMP.astype(np.uint16) * 257 if deep else RAMP
    file = tmp_path / "negative.tiff"
    turned = [(0x0112, "H", 1, orientation, True)]
    tifffile.imwrite(file, ~values, photometric="miniswhite", extratags=turned)
    upright = np.rot90(RAMP, -1 if orientation == 6 else 0)
    assert np.array_equal(read_picture(file, "grey"), upright)
    assert size_of(file) == upright.shape
    with file.open("rb") as stream, Image.open(stream) as image:  # handed over by Pillow
        assert np.array_equal(to_pixels(image, "grey", "it"), upright)
    assert np.array_equal(read_mask(file), upright != 0)


def test_large_pictures_are_decoded_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "LARGE", 50)
    files = [tmp_path / f"{i}.png" for i in range(6)]
    for file in files:
        Image.fromarray(RAMP).save(file)
    at_once, most = [], []

    def watched(image: Image.Image, color: str, name: object, depth: int) -> Any:
        at_once.append(name)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.remove(name)
        return np.asarray(image)

    monkeypatch.setattr(images, "to_pixels", watched)
    assert len(readable(files)[0]) == 6
    assert max(most) == 1
    monkeypatch.setattr(images, "LARGE", RAMP.size)
    most.clear()
    readable(files)
    assert max(most) > 1


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.tiff"])
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    file = save(tmp_path, Image.fromarray(noise), name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(PictureError, match=name):
        read_picture(file, "grey")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", bytes(999)])
def test_hostile_contents(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "hostile.png"
    file.write_bytes(content)
    with pytest.raises(PictureError, match=r"hostile\.png") as caught:
        read_picture(file, "grey")
    assert "\n" not in str(caught.value)


def test_missing_float_wide_and_oversized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PictureError, match="does not exist"):
        read_picture(tmp_path / "none.png", "grey")
    file = save(tmp_path, Image.fromarray(np.zeros((4, 4), np.float32)), "float.tiff")
    with pytest.raises(PictureError, match="float"):
        read_picture(file, "grey")
    file = save(tmp_path, Image.fromarray(np.full((4, 4), 70000, np.int32)), "wide.tiff")
    with pytest.raises(PictureError, match="65535"):
        read_picture(file, "grey")
    monkeypatch.setattr(images, "PIXEL_LIMIT", 100)
    with pytest.raises(PictureError, match="over the limit"):
        read_picture(save(tmp_path, Image.fromarray(RAMP)), "grey")


@pytest.mark.parametrize("shape", [(100, 60), (60, 100), (50, 50)])
@pytest.mark.parametrize(("resize", "crop"), [(None, None), (40, None), (40, 32), (None, 32)])
def test_working_size_and_back(
    shape: tuple[int, int], resize: int | None, crop: int | None
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    working, geometry = Preparation("grey", resize, crop).apply(pixels)
    if crop:
        assert working.shape == (crop, crop)
    elif resize:
        assert min(working.shape) == resize
        assert working.shape[0] / working.shape[1] == pytest.approx(shape[0] / shape[1], abs=0.03)
    else:
        assert np.array_equal(working, pixels)
    back = geometry.map_to_original(np.ones(working.shape, np.float32))
    assert back.shape == shape
    assert back[shape[0] // 2, shape[1] // 2] == 1
    if crop:
        assert back[0, 0] == 0  # not inspected


def test_centre_crop_is_the_centre() -> None:
    working, _ = Preparation("grey", None, 12).apply(RAMP)
    assert np.array_equal(working, RAMP[9:21, 14:26])


def test_masks_follow_the_picture_and_none_vanishes() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:40, 60:80] = True
    _, geometry = Preparation("grey", 50, None).apply(np.zeros((100, 100), np.uint8))
    small = geometry.mask_to_working(mask)
    expected = np.zeros((50, 50), bool)
    expected[10:20, 30:40] = True
    assert np.array_equal(small, expected)
    speck = np.zeros((100, 100), bool)
    speck[33, 51] = True
    assert geometry.mask_to_working(speck).sum() == 1
    speck[20:60, 20:60] = True  # a large region beside it, at half size
    assert geometry.mask_to_working(speck).sum() == 20 * 20
    speck[80, 10:90] = True  # a line of one pixel covers half of each of its pixels
    speck[90, 2] = True
    assert geometry.mask_to_working(speck)[45, 1]
    with pytest.raises(ValueError, match="mask"):
        geometry.mask_to_working(mask[:50])


@pytest.mark.parametrize(("shape", "resize", "crop"), [((96, 64), 16, None), ((60, 90), 20, 16)])
def test_every_speck_keeps_a_pixel_where_it_lies(
    shape: tuple[int, int], resize: int, crop: int | None
) -> None:
    _, geometry = Preparation("grey", resize, crop).apply(np.zeros(shape, np.uint8))
    top, left, h, w = geometry.crop
    factor = shape[0] / geometry.scaled[0]
    for row, column in np.random.default_rng(0).integers(0, shape, (60, 2)):
        speck = np.zeros(shape, bool)
        speck[row, column] = True
        found = np.argwhere(geometry.mask_to_working(speck)).tolist()
        there = int((row + 0.5) / factor) - top, int((column + 0.5) / factor) - left
        inside = 0 <= there[0] < h and 0 <= there[1] < w
        assert found == ([list(there)] if inside else [])


def test_masks_count_every_value_but_zero(tmp_path: Path) -> None:
    wide = np.array([[0, 1, 100, 65535]], np.uint16)
    assert read_mask(save(tmp_path, Image.fromarray(wide))).tolist() == [[False, True, True, True]]
    colour = np.array([[[0, 0, 0], [0, 0, 1]]], np.uint8)
    assert read_mask(save(tmp_path, Image.fromarray(colour))).tolist() == [[False, True]]
    rgba = np.array([[[0, 0, 0, 255], [9, 0, 0, 0]]], np.uint8)
    assert read_mask(save(tmp_path, Image.fromarray(rgba))).tolist() == [[False, True]]
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read_mask(save(tmp_path, bits)).tolist() == [[False, True]]


def test_masks_in_transparency_and_in_jpeg(tmp_path: Path) -> None:
    drawn = np.zeros((40, 40), np.uint8)
    drawn[10:20, 5:30] = 255
    white = np.full_like(drawn, 255)
    black = np.zeros_like(drawn)
    for picture in (
        np.dstack([white, drawn]),
        np.dstack([white, white, white, drawn]),
        np.dstack([black, black, black, drawn]),
    ):
        assert np.array_equal(read_mask(save(tmp_path, Image.fromarray(picture))), drawn > 0)
    coloured = np.dstack([drawn, drawn, drawn, 255 - drawn])  # colours tell, so they count
    assert np.array_equal(read_mask(save(tmp_path, Image.fromarray(coloured))), drawn > 0)
    nothing = np.dstack([black, black, black, white])
    assert not read_mask(save(tmp_path, Image.fromarray(nothing))).any()
    for name in ("p.jpg", "p.webp"):
        file = save(tmp_path, Image.fromarray(drawn), name, quality=75)
        assert np.abs(read_mask(file) ^ (drawn > 0)).sum() <= 8  # of 250; of 1,600


def test_a_picture_that_shows_nothing_is_told(tmp_path: Path) -> None:
    dead = save(tmp_path, Image.fromarray(np.full((8, 8), 7, np.uint8)), "dead.png")
    good = save(tmp_path, Image.fromarray(RAMP), "good.png")
    kept, lines = readable([dead, good])
    assert kept == [good]
    assert lines == [f"{dead}: shows nothing but one grey level: remove it"]
    with pytest.raises(InputError, match="shows nothing"):
        readable([dead])
    faint = save(tmp_path, Image.fromarray(np.arange(121, dtype=np.uint16)[None]), "faint.png")
    assert readable([faint, good])[1] == [f"{faint}: shows nothing but one grey level: remove it"]
    with pytest.raises(InputError, match="train with --set depth=8"):  # the camera gives no more
        readable([faint])
    assert readable([faint, good], depth=8) == ([faint, good], [])


def test_thin_pictures_do_not_explode_at_working_size() -> None:
    with pytest.raises(PictureError, match="1x5000000 becomes 256x1280000000"):
        Preparation("grey", 256, None).apply(np.zeros((5_000_000, 1), np.uint8))


def test_a_picture_s_middle_comes_back_to_its_middle() -> None:
    _, geometry = Preparation("grey", 50, None).apply(np.zeros((100, 200), np.uint8))
    assert geometry.to_original(25, 50) == (51, 101)
    _, geometry = Preparation("grey", None, 20).apply(np.zeros((100, 200), np.uint8))
    assert geometry.to_original(0, 19) == (40, 109)


@pytest.mark.parametrize("orientation", [0, 9, 200])
def test_an_orientation_that_there_is_not_turns_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path, Image.fromarray(RAMP), exif=exif)
    assert size_of(file) == read_picture(file, "grey").shape == RAMP.shape


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_black_is_black_in_masks_of_any_colours(tmp_path: Path, mode: str) -> None:
    mask = Image.fromarray(np.zeros((20, 20), np.uint8))
    mask.paste(255, (3, 3, 6, 6))
    file = save(tmp_path, mask.convert("RGB").convert(mode), "m.tiff")
    assert np.array_equal(read_mask(file), np.asarray(mask) > 0)


def turned_png(file: Path, behind: bool) -> None:
    """A turned PNG whose Exif chunk lies before its pixels, or behind them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(file, exif=exif)
    if behind:
        data = file.read_bytes()
        start = data.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        last = data.index(b"IEND") - 4
        file.write_bytes(data[:start] + data[end:last] + data[start:end] + data[last:])


@pytest.mark.parametrize("behind", [False, True])
def test_a_size_is_that_of_the_upright_picture(tmp_path: Path, behind: bool) -> None:
    turned_png(tmp_path / "turned.png", behind)
    upright = read_picture(tmp_path / "turned.png", "grey")
    assert upright.shape == size_of(tmp_path / "turned.png") == (40, 30)


@pytest.mark.parametrize("name", ["p.png", "turned.png", "p.tiff", "p.jpg", "p.bmp", "p.webp"])
def test_a_size_is_read_off_the_header(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "turned.png":
        turned_png(tmp_path / name, behind=False)
    else:
        save(tmp_path, Image.fromarray(RAMP), name)

    def decoded(self: Image.Image) -> None:
        raise AssertionError("decoded")

    for kind in (ImageFile.ImageFile, PngImageFile, TiffImageFile, WebPImageFile):
        monkeypatch.setattr(kind, "load", decoded)
    assert sorted(size_of(tmp_path / name)) == [30, 40]
    monkeypatch.setattr(images, "LARGE", RAMP.size - 1)
    assert images.is_large(tmp_path / name)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 100)
    with pytest.raises(PictureError, match="over the limit"):
        size_of(tmp_path / name)


def test_colour_is_looked_for_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.repeat(RAMP[..., None], 3, 2)
    values[20, :13] = (200, 20, 20)  # 13 of 1200 pixels
    coloured = save(tmp_path, Image.fromarray(values), "coloured.png")
    values[20, 12] = 90
    grey = save(tmp_path, Image.fromarray(values), "grey.png")
    for at_once in (1 << 24, 100):
        monkeypatch.setattr(images, "AT_ONCE", at_once)
        assert chroma.coloured([grey, coloured])
        assert not chroma.coloured([grey])
