"""The PNG writer against Pillow's decoder."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ssim_ae.runtime.png import write_png

RNG = np.random.default_rng(0)
SLOPE = (np.add.outer(np.arange(61), 3 * np.arange(47)) % 256).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        RNG.integers(0, 256, (61, 47), dtype=np.uint8),
        RNG.integers(0, 256, (61, 47, 3), dtype=np.uint8),
        np.stack([SLOPE, SLOPE[::-1], 255 - SLOPE], 2),
        (SLOPE > 99) * np.uint8(255),
        RNG.integers(0, 256, (1, 1), dtype=np.uint8),
        RNG.integers(0, 256, (9, 3), dtype=np.uint8),  # three pixels wide, not three channels
    ],
    ids=lambda p: str(p.shape),
)
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_what_is_written_is_read_back(picture: np.ndarray, rows: int) -> None:
    stream = BytesIO()
    strips = (picture[top : top + rows] for top in range(0, len(picture), rows))
    write_png(stream, *picture.shape[:2], strips)
    stream.seek(0)
    Image.open(stream).verify()  # checksums
    image = Image.open(stream)
    assert image.mode == ("L" if picture.ndim == 2 else "RGB")
    assert np.array_equal(np.asarray(image), picture)


def test_what_is_alike_from_row_to_row_becomes_small() -> None:
    stream = BytesIO()
    row = RNG.integers(0, 256, (1, 500), dtype=np.uint8)
    write_png(stream, 400, 500, [np.repeat(row, 400, axis=0)])
    assert len(stream.getvalue()) < 500 * 10


@pytest.mark.parametrize(
    "strips",
    [
        [np.zeros((3, 5), np.uint8)],  # too few rows
        [np.zeros((5, 5), np.uint8)],  # too many
        [np.zeros((4, 6), np.uint8)],
        [np.zeros((4, 5, 4), np.uint8)],
        [np.zeros((2, 5), np.uint8), np.zeros((2, 5, 3), np.uint8)],
        [],
    ],
    ids=lambda s: str([x.shape for x in s]),
)
def test_other_strips_are_refused(strips: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"rows for a picture|in a picture"):
        write_png(BytesIO(), 4, 5, strips)
