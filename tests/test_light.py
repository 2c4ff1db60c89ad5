import numpy as np
import pytest
import torch

from ssim_ae.config import Stretch
from ssim_ae.data.contrast import stretched
from ssim_ae.runtime.light import other_light

GREY = Stretch(gain=1, level=0.5, low=0.3, high=0.6)
FAINT = Stretch(gain=8, level=0.4)
COLOUR = Stretch(gain=4, level=[0.7, 0.5, 0.3])


@pytest.mark.parametrize("stretch", [GREY, FAINT, COLOUR])
def test_it_tells_what_the_inspection_clips(stretch: Stretch) -> None:
    channels = (3,) if stretch is COLOUR else ()
    tint = np.array([51, 0, -51]) if stretch is COLOUR else 0
    rng = np.random.default_rng(0)
    told = set()
    for middle in range(0, 256, 15):
        pixels = np.clip(rng.normal(middle + tint, 9, (40, 50, *channels)), 0, 255).astype(np.uint8)
        picture = torch.from_numpy(pixels.reshape(40, 50, -1) / 255).permute(2, 0, 1)[None]
        free = stretch.model_copy(update={"low": -1e9, "high": 1e9})
        lost = (stretched(picture, stretch) - stretched(picture, free)).abs().amax(1) > 1e-9
        share, line = float(lost.double().mean()), other_light(pixels, stretch)
        assert (line is not None) == (share > 0.5)
        if line is not None:
            assert line.startswith(f"{share:.0%} of it is darker or brighter")
        told.add(line is None)
    assert told == {True, False}


def test_a_border_of_a_line_scan_is_not_the_whole() -> None:
    scan = np.full((16384, 64), 128, np.uint8)
    scan[:, 0] = 0
    assert other_light(scan, GREY) is None
    assert str(other_light(128 - scan, GREY)).startswith("98% of it")


def test_without_a_range_nothing_is_told() -> None:
    assert other_light(np.zeros((9, 9), np.uint8), None) is None
