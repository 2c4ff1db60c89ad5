import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from ssim_ae.config import ResidualSettings, ResidualTerm
from ssim_ae.model.findings import Findings
from ssim_ae.model.residuals import KINDS, Residual


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
    out = residual(ResidualTerm.model_validate({"kind": kind, "sigma": 3}))(x, x)
    assert out.shape == (2, 57, 41)
    assert float(out.abs().max()) < 1e-5
