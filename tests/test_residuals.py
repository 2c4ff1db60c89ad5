import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from ssim_ae.config import ResidualSettings, ResidualTerm
from ssim_ae.model.anomaly_map import SURROUND, Residual, bounded, surroundings
from ssim_ae.model.findings import Findings
from ssim_ae.model.residuals import KINDS


def pictures(c: int, h: int = 96, w: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(2, c, h, w, generator=rng)
    return x, (0.7 * x + 0.3 * torch.rand(2, c, h, w, generator=rng)).clamp(0, 1)


def residual(*terms: ResidualTerm, combine: str = "sum") -> Residual:
    return Residual(ResidualSettings.model_validate({"terms": terms, "combine": combine}))


@pytest.mark.parametrize("channels", [1, 3])
def test_uniform_ssim_equals_scikit_image_inside_the_border(channels: int) -> None:
    x, y = pictures(channels)
    ours = residual(ResidualTerm(kind="ssim", window=11))(x, Findings(y))
    for i in range(2):
        _, full = structural_similarity(
            x[i].double().numpy(), y[i].double().numpy(), data_range=1, win_size=11,
            use_sample_covariance=False, full=True, channel_axis=0,
        )  # fmt: skip
        expected = (1 - full).mean(0)[5:-5, 5:-5]
        np.testing.assert_allclose(ours[i, 5:-5, 5:-5].numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(("sigma", "radius"), [(1.5, 5), (4.0, 14), (10.0, 35)])
def test_gaussian_ssim_equals_scikit_image_inside_the_border(sigma: float, radius: int) -> None:
    x, y = pictures(1)
    module = residual(ResidualTerm(kind="ssim", sigma=sigma))
    assert module.reach == radius
    _, full = structural_similarity(
        x[0, 0].double().numpy(), y[0, 0].double().numpy(), data_range=1, gaussian_weights=True,
        sigma=sigma, use_sample_covariance=False, full=True,
    )  # fmt: skip
    inside = (slice(radius, -radius),) * 2
    np.testing.assert_allclose(
        module(x, Findings(y))[0][inside].numpy(), (1 - full)[inside], atol=2e-5
    )


def test_l1_is_the_mean_absolute_difference() -> None:
    x, y = pictures(3)
    expected = (x - y).abs().mean(1)
    torch.testing.assert_close(residual(ResidualTerm(kind="l1"))(x, Findings(y)), expected)


@pytest.mark.parametrize(
    ("kind", "field"),
    [("head", "logit"), ("rarity", "rarity"), ("memory", "memory"), ("features", "features")],
)
def test_what_the_network_says_itself_is_taken_as_it_is(kind: str, field: str) -> None:
    x, y = pictures(1)
    said = {name: torch.rand(2, 96, 80) for name in Findings._fields[1:]}
    module = residual(ResidualTerm.model_validate({"kind": kind}))
    torch.testing.assert_close(module(x, Findings(y, **said)), said[field])
    del said[field]
    with pytest.raises(ValueError, match=f"finds no {field}"):
        module(x, Findings(y, **said))


def test_combinations() -> None:
    x, y = pictures(1)
    ssim, l1 = ResidualTerm(kind="ssim", scale=2), ResidualTerm(kind="l1", weight=3)
    a = residual(ResidualTerm(kind="ssim"))(x, Findings(y)) / 2
    b = residual(ResidualTerm(kind="l1"))(x, Findings(y)) * 3
    torch.testing.assert_close(residual(ssim, l1)(x, Findings(y)), a + b)
    torch.testing.assert_close(
        residual(ssim, l1, combine="max")(x, Findings(y)), torch.maximum(a, b)
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_equal_pictures_have_no_residual_and_any_size_is_kept(kind: str) -> None:
    x, _ = pictures(1, 57, 41)
    nothing = Findings(x, *(torch.zeros(2, 57, 41) for _ in Findings._fields[1:]))
    out = residual(ResidualTerm.model_validate({"kind": kind, "sigma": 3}))(x, nothing)
    assert out.shape == (2, 57, 41)
    assert float(out.abs().max()) < 1e-5


def brute_gradient(picture: np.ndarray) -> np.ndarray:
    """Length of the Sobel gradient by scipy, in units of 1 a pixel."""
    slopes = [ndimage.sobel(picture, axis, mode="nearest") / 8 for axis in (0, 1)]
    return np.sqrt(slopes[0] ** 2 + slopes[1] ** 2)


def test_gradient_residual_by_scipy() -> None:
    x, y = pictures(1, 64, 96)
    ours = residual(ResidualTerm(kind="gradient", sigma=3))(x, Findings(y))[0].numpy()
    a, b = (t[0, 0].double().numpy() for t in (x, y))
    total = np.zeros((32, 48))
    for scale in range(3):
        a, b = (p.reshape(p.shape[0] // 2, 2, -1, 2).mean((1, 3)) for p in (a, b))
        g, k = brute_gradient(a), brute_gradient(b)
        unlike = 1 - (2 * g * k + 0.0026) / (g * g + k * k + 0.0026)
        total += _bilinear(unlike, 1 << scale) / 3
    expected = _bilinear(ndimage.gaussian_filter(total, 1.5, mode="nearest", truncate=3.5), 2)
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_band_residual_by_scipy() -> None:
    x, y = pictures(3, 64, 96)
    ours = residual(ResidualTerm(kind="band", sigma=2))(x, Findings(y))[0].numpy()
    difference = (x - y)[0].double().numpy().reshape(3, 32, 2, 48, 2).mean((2, 4))

    def smooth(maps: np.ndarray, sigma: float) -> np.ndarray:
        return np.stack(
            [ndimage.gaussian_filter(m, sigma, mode="nearest", truncate=3.5) for m in maps]
        )

    band = np.abs(smooth(difference, 1) - smooth(difference, 6)).mean(0, keepdims=True)
    np.testing.assert_allclose(ours, _bilinear(smooth(band, 1)[0], 2), atol=2e-5)


def _bilinear(values: np.ndarray, factor: int) -> np.ndarray:
    """Enlarged as OpenCV and Pillow do: pixel centres, nearest beyond the border."""
    if factor == 1:
        return values
    size = [(np.arange(n * factor) + 0.5) / factor - 0.5 for n in values.shape]
    where = np.meshgrid(*size, indexing="ij")
    return ndimage.map_coordinates(values, where, order=1, mode="nearest")


@pytest.mark.parametrize(("h", "w"), [(128, 200), (57, 41)])
def test_the_surroundings_by_scipy(h: int, w: int) -> None:
    maps = torch.rand(2, h, w, generator=torch.Generator().manual_seed(0))
    ours = surroundings(maps, torch.full((SURROUND,), 1 / SURROUND))
    assert ours.shape == (2, h, w)
    for one, found in zip(maps.double().numpy(), ours.numpy(), strict=True):
        whole = np.pad(one, ((0, -h % 8), (0, -w % 8)), mode="reflect")
        cells = whole.reshape(whole.shape[0] // 8, 8, -1, 8).mean((1, 3))
        mean = ndimage.uniform_filter(cells, SURROUND, mode="nearest")
        np.testing.assert_allclose(found, _bilinear(mean, 8)[:h, :w], atol=1e-5)


def test_the_same_everywhere_is_no_outline_and_a_spot_stays_one() -> None:
    settings = {"terms": [ResidualTerm(kind="l1")], "surround": 0.5}
    subtracted = Residual(ResidualSettings.model_validate(settings))
    x = torch.full((1, 1, 256, 256), 0.5)
    lit = torch.full_like(x, 0.7)
    lit[..., 100:104, 100:104] = 0.9
    found = subtracted(x, Findings(lit))[0]
    assert float(found[0, 0]) == pytest.approx(0.1, abs=1e-3)
    assert float(found[101, 101]) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize(
    "terms",
    [
        [{"kind": "head"}],
        [{"kind": "gradient", "sigma": 3}],
        [{"kind": "band", "sigma": 2}],
        [{"kind": "ssim", "sigma": 4}, {"kind": "rarity"}],
    ],
    ids=str,
)
def test_nothing_beyond_reach_is_seen(terms: list[dict[str, object]]) -> None:
    settings = ResidualSettings.model_validate({"terms": terms, "smooth": 2, "surround": 0.5})
    module = Residual(settings)
    x, y = pictures(1, 400, 32)
    zeros = torch.zeros(2, 400, 32)
    changed = x.clone()
    changed[:, :, :64] = 1 - changed[:, :, :64]
    first, second = (module(p, Findings(y, zeros, zeros)) for p in (x, changed))
    assert torch.equal(first[:, 64 + module.reach :], second[:, 64 + module.reach :])


def test_a_share_of_the_map_is_blurred() -> None:
    x, y = pictures(1)
    zeros = torch.zeros(2, *x.shape[2:])

    def anomaly_map(**change: float) -> np.ndarray:
        settings = {"terms": [{"kind": "l1"}], **change}
        module = Residual(ResidualSettings.model_validate(settings))
        return module(x, Findings(y, zeros, zeros)).numpy()

    sharp = anomaly_map()
    blurred = np.stack(
        [
            ndimage.gaussian_filter(m, 3, mode="nearest", truncate=3.5)
            for m in sharp.astype(np.float64)
        ]
    )
    for share in (1.0, 0.33):
        found = anomaly_map(smooth=3, smooth_share=share)
        np.testing.assert_allclose(found, (1 - share) * sharp + share * blurred, atol=1e-6)
    np.testing.assert_array_equal(anomaly_map(smooth=3), anomaly_map(smooth=3, smooth_share=1))


def test_a_bounded_term_counts_as_it_is_then_less_and_never_more_than_its_bound() -> None:
    values = torch.linspace(-3, 200, 5001)
    found = bounded(values, 3.0)
    assert torch.equal(found[values <= 2], values[values <= 2])
    assert (found.diff() > 0).all()
    assert float(found.max()) < 3
    slope = (bounded(torch.tensor([2.0, 2.001]), 3.0).diff() / 0.001).item()
    assert slope == pytest.approx(1, abs=0.01)  # no kink
    assert bounded(values, None) is values
    # one map, however large, outvotes no others: each term is bounded before its weight
    terms = [{"kind": "l1", "scale": 1e-3}, {"kind": "l1", "scale": 1e3, "weight": 0.5}]
    settings = {"terms": terms, "bound": 3}
    x, y = pictures(1)
    both = Residual(ResidualSettings.model_validate(settings))(x, Findings(y))
    assert float(both.max()) < 3.01
