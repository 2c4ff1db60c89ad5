import math
from copy import copy

import numpy as np
import pytest
import torch
from PIL import Image

from ssim_ae.config import Stretch
from ssim_ae.config_files import load_settings
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.working_size import Preparation
from ssim_ae.model.findings import Findings
from ssim_ae.model.ssim import ssim_loss
from ssim_ae.training.objective import LIGHT, Batches, loss_of, segmentation_loss

CHANGES = ["batch_size=6", "resize=null", "seed=3"]


@pytest.fixture(scope="module")
def store(fabric) -> PictureStore:
    files = sorted((fabric / "train" / "good").glob("*"))[:6]
    return PictureStore(files, Preparation("grey", None, None), 128, 1 << 30)


def test_segmentation_loss_by_hand() -> None:
    logit = torch.tensor([[[[2.0, -1.0]]]])
    label = torch.tensor([[[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]]]])
    focal = dice_over = dice_under = 0.0
    for value, share in ((2.0, 1.0), (-1.0, 0.25)):
        p = 1 / (1 + math.exp(-value))
        entropy = -share * math.log(p) - (1 - share) * math.log(1 - p)
        focal += (p - share) ** 2 * entropy / 2
        dice_over += 2 * p * share
        dice_under += p + share
    expected = 5 * focal + 0.3 * (1 - (dice_over + 1) / (dice_under + 1))
    assert float(segmentation_loss(logit, label)) == pytest.approx(expected, rel=1e-5)


def test_a_right_head_loses_less_than_a_wrong_one() -> None:
    label = torch.zeros(1, 1, 32, 32)
    label[..., 8:16, 8:16] = 1
    right = (label[..., ::2, ::2] * 2 - 1) * 8
    assert float(segmentation_loss(right, label)) < 0.01
    assert float(segmentation_loss(-right, label)) > 1


def test_the_joint_network_is_shown_defects_and_asked_for_the_clean_patch(store) -> None:
    batches = Batches(store, load_settings("texture", changes=CHANGES)[0])
    shown, clean, label = batches.draw(5, 0, 32)
    assert shown.shape == clean.shape == label.shape == (32, 1, 128, 128)
    struck = label.amax((1, 2, 3)) > 0
    assert 0 < int(struck.sum()) < 32
    assert not torch.equal(shown[struck], clean[struck])
    again = batches.draw(5, 0, 32)
    assert all(torch.equal(a, b) for a, b in zip(again, (shown, clean, label), strict=True))
    assert not torch.equal(batches.draw(6, 0, 32).clean, clean)
    assert not torch.equal(batches.draw(5, 1, 32).clean, clean)


def test_training_sees_no_more_of_the_range_than_inspection(store) -> None:
    settings = load_settings("auto", changes=CHANGES)[0]
    wide = Batches(store, settings).draw(0, 0, 6)
    clipping = copy(store)
    clipping.stretch = Stretch(gain=1, level=0.5, low=0.4, high=0.55)
    narrow = Batches(clipping, settings).draw(0, 0, 6)
    assert float(wide.shown.min()) < 0.4
    assert float(wide.shown.max()) > 0.55
    for patches in (narrow.shown, narrow.clean):
        assert float(patches.min()) == pytest.approx(0.4)
        assert float(patches.max()) == pytest.approx(0.55)


def test_patches_of_a_texture_are_relit_more_than_those_of_a_part(store, tmp_path) -> None:
    part = np.full((160, 160), 128, np.uint8)
    part[32:96, 48:112] = np.random.default_rng(0).integers(0, 256, (64, 64))
    Image.fromarray(part).save(tmp_path / "part.png")
    parts = PictureStore([tmp_path / "part.png"], Preparation("grey", None, None), 128, 1 << 30)
    settings = load_settings("texture", changes=CHANGES)[0]
    spread = {}
    for kind, pictures in {"texture": store, "object": parts}.items():
        clean = Batches(pictures, settings).draw(0, 0, 64).clean
        middle = clean.flatten(1).median(1).values  # of a part: its plain ground
        spread[kind] = float(middle.max() - middle.min())
    low, high = 0.5 * LIGHT["object"], 2 * (0.51 + 0.4) * LIGHT["object"]
    assert low < spread["object"] < high
    assert spread["texture"] > high


def test_the_reference_is_shown_what_it_should_give_back(store) -> None:
    batch = Batches(store, load_settings("reference-texture", changes=CHANGES)[0]).draw(0, 0, 4)
    assert batch.label is None
    assert torch.equal(batch.shown, batch.clean)
    y = torch.rand(4, 1, 128, 128)
    assert float(loss_of(Findings(y), batch)) == pytest.approx(float(ssim_loss(y, batch.clean)))


def test_the_loss_of_both_parts_is_their_sum(store) -> None:
    batch = Batches(store, load_settings("texture", changes=CHANGES)[0]).draw(0, 0, 4)
    y, logit = torch.rand(4, 1, 128, 128), torch.randn(4, 1, 64, 64)
    parts = ssim_loss(y, batch.clean) + segmentation_loss(logit, batch.label)
    assert float(loss_of(Findings(y, logit), batch)) == pytest.approx(float(parts))
