import numpy as np
import pytest
import torch
from scipy import ndimage

from ssim_ae.model.colors import RAREST, SIGMA, SPREAD, ColorRarity


def local_bins(picture: np.ndarray, levels: int) -> np.ndarray:
    """Colours averaged to half size and blurred, in bins from the first one's centre."""
    c, h, w = picture.shape
    half = picture.reshape(c, h // 2, 2, w // 2, 2).mean((2, 4))
    blurred = [ndimage.gaussian_filter(p, SIGMA / 2, mode="nearest", truncate=3.5) for p in half]
    return np.stack(blurred) * levels - 0.5


def pictures(channels: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(channels)
    return 0.3 + 0.3 * torch.rand(3, channels, 40, 48, generator=rng)


def counted(channels: int) -> ColorRarity:
    colors = ColorRarity(channels)
    colors.settle(colors.counted(pictures(channels)))
    return colors


@pytest.mark.parametrize("channels", [1, 3])
def test_rarity_equals_a_histogram_by_numpy_and_scipy(channels: int) -> None:
    colors, levels = counted(channels), ColorRarity(channels).levels
    bins = [local_bins(p.double().numpy(), levels) for p in pictures(channels)]
    edges = [np.arange(-0.5, levels + 0.5)] * channels
    points = np.concatenate([b.reshape(channels, -1).T for b in bins])
    histogram, _ = np.histogramdd(points, edges)
    density = ndimage.gaussian_filter(histogram / histogram.sum(), SPREAD)
    table = -np.log(density + RAREST)
    picture = torch.rand(1, channels, 40, 48, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        ours = colors(picture)[0].numpy()
    where = local_bins(picture[0].double().numpy(), levels)
    half = ndimage.map_coordinates(table, where, order=1, mode="nearest")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(half)[None, None], scale_factor=2, mode="bilinear"
    )[0, 0]
    np.testing.assert_allclose(ours, expected, atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize("channels", [1, 3])
def test_between_bins_the_table_is_interpolated_linearly_along_each_channel(channels: int) -> None:
    """Every cell's corners in turn, in float64 by SciPy; colours outside the table included."""
    colors, levels = ColorRarity(channels), ColorRarity(channels).levels
    table = 10 * torch.rand(levels**channels, generator=torch.Generator().manual_seed(3))
    colors.rarity.copy_(table)
    picture = torch.rand(2, channels, 41, 33, generator=torch.Generator().manual_seed(4))
    picture = picture * 1.2 - 0.1
    with torch.inference_mode():
        ours, where = colors(picture).numpy(), colors._positions(picture).double().numpy()
    grid = table.double().numpy().reshape((levels,) * channels)
    half = np.stack([ndimage.map_coordinates(grid, w, order=1, mode="nearest") for w in where])
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(half)[:, None], scale_factor=2, mode="bilinear"
    )[:, 0, :41, :33]
    np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_a_colour_that_no_good_picture_holds_is_rarest() -> None:
    colors = counted(3)
    good = pictures(3)[:1]
    rust = good.clone()
    rust[:, 0, 10:20, 10:20] = 0.95
    with torch.inference_mode():
        common, rare = colors(good), colors(rust)
    assert float(rare[0, 12:18, 12:18].min()) > float(common.max()) + 2
    torch.testing.assert_close(rare[0, 28:], common[0, 28:])


@pytest.mark.parametrize("size", [(41, 33), (64, 20)])
def test_any_size_is_kept(size: tuple[int, int]) -> None:
    assert counted(1)(torch.rand(2, 1, *size)).shape == (2, *size)


def test_counts_of_parts_add_up() -> None:
    colors, x = ColorRarity(1), pictures(1)
    parts = sum(colors.counted(p) for p in x.split(1))
    assert torch.equal(parts, colors.counted(x))
    assert float(parts.sum()) == 3 * 20 * 24
