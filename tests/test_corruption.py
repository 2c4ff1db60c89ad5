import pytest
import torch
from scipy import ndimage

from ssim_ae.data.corruption import TRAINED, UNSEEN, box_mean, corrupt
from ssim_ae.data.placement import placed
from ssim_ae.data.shapes import draw_masks

SIDE = 64
ALL = {**TRAINED, **UNSEEN}


def patches(channels: int, seed: int, count: int = 8) -> torch.Tensor:
    """Soft random structure, no two alike."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, channels, SIDE, SIDE, generator=rng)
    return box_mean(noise, 5, 5)


@pytest.mark.parametrize(("height", "width"), [(1, 7), (7, 1), (31, 31)])
def test_box_mean_counts_only_pixels_inside(height: int, width: int) -> None:
    x = patches(1, 0)[:1]
    ones = torch.ones_like(x)
    # scipy's filter with zeros outside, over the share of the window that lies inside
    total, share = (
        ndimage.uniform_filter(m[0, 0].numpy(), (height, width), mode="constant") for m in (x, ones)
    )
    expected = torch.from_numpy(total / share)
    torch.testing.assert_close(box_mean(x, height, width)[0, 0], expected, atol=1e-5, rtol=1e-5)


def test_masks_are_shapes_of_many_sizes_and_depend_on_the_seed() -> None:
    masks = draw_masks(SIDE, seed=1, count=60)
    assert masks.shape == (60, SIDE, SIDE)
    assert masks.dtype == torch.uint8
    assert (masks.amax((1, 2)) == 255).all()
    areas = (masks > 127).sum((1, 2))
    assert areas.min() < 40
    assert areas.max() > 1000
    assert torch.equal(masks, draw_masks(SIDE, seed=1, count=60))
    assert not torch.equal(masks, draw_masks(SIDE, seed=2, count=60))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", sorted(ALL))
def test_every_kind_changes_some_pixels_within_range(kind: str, channels: int) -> None:
    clean, masks = patches(channels, 1, 24), draw_masks(SIDE, 0, 48)
    rng = torch.Generator().manual_seed(5)
    shown, label = corrupt(clean, patches(channels, 2, 24), masks, [ALL[kind]], rng)
    assert shown.shape == clean.shape
    assert label.shape == (24, 1, SIDE, SIDE)
    assert float(shown.min()) >= 0
    assert float(shown.max()) <= 1
    struck = label.amax((1, 2, 3)) > 0
    assert struck.any()
    # a patch without a label is as good as untouched; one with a label is untouched elsewhere
    far = box_mean(label, 3, 3) == 0
    changed = (shown - clean).abs().amax(1, keepdim=True)
    assert float(changed[far].mean()) < 1e-3  # .03 and more where there is a label
    assert float((changed[far] > 0.02).float().mean()) < 0.01
    assert float(changed[label > 0].mean()) > 0.03
    assert set(label.unique().tolist()) <= {0.0, 1.0}


def test_some_patches_stay_clean_and_chance_is_the_generator_alone() -> None:
    clean, masks, kinds = patches(1, 1, 32), draw_masks(SIDE, 0, 48), list(TRAINED.values())
    first, label = corrupt(clean, clean.flip(0), masks, kinds, torch.Generator().manual_seed(3))
    again, _ = corrupt(clean, clean.flip(0), masks, kinds, torch.Generator().manual_seed(3))
    other, _ = corrupt(clean, clean.flip(0), masks, kinds, torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    untouched = (first == clean).all(3).all(2).all(1)
    assert 0 < int(untouched.sum()) < 32
    assert not label[untouched].any()
    assert torch.equal(clean, patches(1, 1, 32))  # the good patches themselves are left alone


@pytest.mark.parametrize("structured", [False, True])
def test_defects_are_as_frequent_at_the_border_as_in_the_middle(structured: bool) -> None:
    count = 4000
    # structure everywhere alike, or none
    flat = torch.full((count, 1, SIDE, SIDE), 0.5)
    board = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2 * 0.2
    masks = draw_masks(SIDE, 2, 300)
    shapes = placed(masks, flat + board if structured else flat, torch.Generator().manual_seed(1))
    often = (shapes > 0.5).float().mean((0, 1))
    middle = float(often[24:40, 24:40].mean())
    for edge in (often[:2], often[-2:], often[:, :2], often[:, -2:]):
        assert float(edge.mean()) == pytest.approx(middle, rel=0.3)
    assert float((shapes.amax((1, 2, 3)) > 0.5).float().mean()) > 0.9  # few miss the patch


def test_half_of_the_defects_look_for_structure() -> None:
    patches = torch.full((2000, 1, SIDE, SIDE), 0.5)
    patches[..., 16:32, 32:48] += torch.arange(16) % 2 * 0.3
    small = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    small[:, 31:33, 31:33] = 255
    shapes = placed(small, patches, torch.Generator().manual_seed(3))
    there = float(shapes[..., 14:34, 30:50].amax((1, 2, 3)).mean())
    assert 0.5 < there < 0.7  # half of them, and a sixteenth of the rest


def test_where_a_defect_goes_depends_on_the_generator_alone() -> None:
    masks, on = draw_masks(SIDE, 2, 30), patches(3, 1, 16)
    first, again, other = (
        placed(masks, on, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (16, 1, SIDE, SIDE)
