import numpy as np
import pytest
import torch
from pytorch_msssim import ssim as msssim
from skimage.metrics import structural_similarity

from ssim_ae.model.ssim import ssim_loss


def pair(n: int, c: int, h: int, w: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n, c, h, w, generator=rng, dtype=torch.float64)
    return (x + 0.2 * torch.rand(n, c, h, w, generator=rng, dtype=torch.float64)).clamp(0, 1), x


@pytest.mark.parametrize("shape", [(2, 1, 40, 33), (1, 3, 24, 24)])
def test_equals_scikit_image(shape: tuple[int, int, int, int]) -> None:
    y, x = pair(*shape)
    expected = []
    for a, b in zip(y.reshape(-1, *shape[2:]).numpy(), x.reshape(-1, *shape[2:]), strict=True):
        _, full = structural_similarity(
            a, b.numpy(), data_range=1, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        expected.append(full[5:-5, 5:-5].mean())  # valid windows only
    assert float(ssim_loss(y, x)) == pytest.approx(1 - np.mean(expected), abs=1e-6)


def test_equals_pytorch_msssim_in_value_and_gradient() -> None:
    y, x = pair(3, 2, 32, 48)
    ours, theirs = y.clone().requires_grad_(), y.clone().requires_grad_()
    a, b = ssim_loss(ours, x), 1 - msssim(theirs, x, data_range=1)
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    a.backward()
    b.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-8, rtol=1e-4)


def test_gradcheck() -> None:
    y, x = pair(2, 1, 13, 12)
    assert torch.autograd.gradcheck(lambda t: ssim_loss(t, x), y.requires_grad_())


def test_float32_agrees_with_float64() -> None:
    y, x = pair(2, 1, 64, 64)
    assert float(ssim_loss(y.float(), x.float())) == pytest.approx(float(ssim_loss(y, x)), abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.5, 0.25)])
def test_constant_patches_have_finite_gradients(a: float, b: float) -> None:
    y = torch.full((1, 1, 16, 16), a, requires_grad=True)
    loss = ssim_loss(y, torch.full((1, 1, 16, 16), b))
    loss.backward()
    assert torch.isfinite(loss)
    assert y.grad is not None
    assert torch.isfinite(y.grad).all()
    if a == b:
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)


def test_stays_in_float32_inside_autocast() -> None:
    y, x = (t.float() for t in pair(1, 1, 32, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssim_loss(y, x)
    assert inside.dtype == torch.float32
    assert float(inside) == float(ssim_loss(y, x))
    half = ssim_loss(y.bfloat16(), x)
    assert half.dtype == torch.float32


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        ssim_loss(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 17))
