"""Pictures are clipped to the good ones' range and faint ones stretched, inside the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ssim_ae import train
from ssim_ae.config import PLAIN, ResidualSettings, Stretch
from ssim_ae.config_files import load_settings
from ssim_ae.data.contrast import MARGIN, MOST, ORDINARY, clipped, stretch_of, stretched
from ssim_ae.data.patches import draw_patches
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.working_size import Preparation
from ssim_ae.deploy.fold import folded
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.errors import InputError, SettingsError
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import JointNetwork, WholePicture


def patches(spread: float, drift: float = 0.0) -> torch.Tensor:
    """Waves of a standard deviation about .4; patches differ in level by up to ``drift``."""
    x = torch.arange(64) * 2 * np.pi / 16
    wave = torch.sin(x)[:, None] * torch.sin(x)[None, :] * 2 * spread
    return 0.4 + wave.expand(10, 1, 64, 64) + torch.linspace(-1, 1, 10).view(-1, 1, 1, 1) * drift


FILLED = 1 / (1 + 2 * MARGIN)  # of the range, by the pixels of a stretched set


@pytest.mark.parametrize("spread", [ORDINARY * 1.01, 0.08])
def test_ordinary_pictures_are_clipped_to_their_range_and_a_margin(spread: float) -> None:
    plain = patches(spread)
    stretch = stretch_of(plain)
    assert stretch.gain == 1
    assert torch.equal(stretched(plain, stretch), plain)  # bit for bit
    low, high = float(plain.min()), float(plain.max())
    margin = MARGIN * (high - low)
    ends = stretched(torch.tensor([0.0, 1.0]), stretch).tolist()
    assert ends == pytest.approx([max(low - margin, 0), min(high + margin, 1)], abs=2e-3)
    assert stretched(plain, None) is plain


def test_pictures_that_use_the_whole_range_are_left_alone() -> None:
    stretch = stretch_of(patches(0.2))
    assert (stretch.gain, stretch.low) == (1, 0.0)
    assert stretch.high == pytest.approx(0.9, abs=2e-3)
    everything = torch.rand(2, 1, 8, 8)
    assert torch.equal(clipped(everything, None), everything)


@pytest.mark.parametrize("spread", [0.04, 0.02, 0.005])
def test_faint_ones_are_brought_to_fill_the_range(spread: float) -> None:
    faint = patches(spread)
    stretch = stretch_of(faint)
    assert stretch.level == pytest.approx(0.4, abs=1e-3)
    plain = stretched(faint, stretch)
    assert float(plain.min()) == pytest.approx(0.5 - FILLED / 2, abs=0.01)
    assert float(plain.max()) == pytest.approx(0.5 + FILLED / 2, abs=0.01)
    again = stretch_of(plain)
    assert (again.gain, again.low, again.high) == pytest.approx((1, 0, 1), abs=0.01)


BRASS = torch.tensor([0.7, 0.5, 0.3]).view(1, 3, 1, 1)


def test_a_tint_is_no_contrast() -> None:
    faint = patches(0.02) - 0.4 + BRASS
    stretch = stretch_of(faint)
    assert stretch.gain == pytest.approx(stretch_of(patches(0.02)).gain, rel=0.01)
    assert stretch.level == pytest.approx([0.7, 0.5, 0.3], abs=1e-3)
    found = stretched(faint, stretch)
    for channel in range(3):
        expected = (faint[:, channel] - stretch.level[channel]) * stretch.gain + 0.5
        torch.testing.assert_close(found[:, channel], expected)
    assert float(found.amin()) == pytest.approx(0.5 - FILLED / 2, abs=0.01)
    assert float(found.amax()) == pytest.approx(0.5 + FILLED / 2, abs=0.01)
    uneven = patches(0.02).expand(-1, 3, -1, -1).clone()
    uneven[:, 1] = (uneven[:, 1] - 0.4) * 2 + 0.4  # one gain for all, from the widest channel
    assert stretch_of(uneven).gain == pytest.approx(stretch_of(uneven[:, 1:2]).gain)


def test_ordinary_colour_pictures_share_one_range() -> None:
    stretch = stretch_of(patches(0.06) - 0.4 + BRASS)
    assert (stretch.gain, stretch.level) == (1, 0.5)
    assert stretch.low < 0.3 < 0.7 < stretch.high


def test_drifting_light_limits_the_gain() -> None:
    faint = patches(0.01, drift=0.2)
    stretch = stretch_of(faint)
    assert stretch.gain > 1
    values = stretched(faint, stretch)
    assert float(values.min()) >= 0.5 - FILLED / 2 - 0.01
    assert float(values.max()) <= 0.5 + FILLED / 2 + 0.01
    assert stretch_of(patches(0.01, drift=0.39)).gain == 1  # no room


def test_uniform_pictures_are_no_trouble() -> None:
    stretch = stretch_of(torch.full((4, 1, 16, 16), 0.5))
    assert stretch.gain == MOST
    assert torch.isfinite(stretched(torch.zeros(1, 1, 4, 4), stretch)).all()


@pytest.mark.parametrize("level", [0.4, [0.5, 0.4, 0.3]])
def test_patches_come_stretched_and_the_graph_stretches_likewise(
    fabric: Path, level: float | list[float]
) -> None:
    files = sorted((fabric / "train" / "good").iterdir())[:4]
    color, channels = ("grey", 1) if isinstance(level, float) else ("rgb", 3)
    store = PictureStore(files, Preparation(color, None, None), 128, 1 << 30)
    raw = draw_patches(store, 3, 128, PLAIN, 5)
    store.stretch = Stretch(gain=3, level=level, low=0.1, high=0.8)
    middle = torch.tensor(level).view(1, -1, 1, 1)
    torch.testing.assert_close(
        draw_patches(store, 3, 128, PLAIN, 5), ((raw - middle) * 3 + 0.5).clamp(0.1, 0.8)
    )
    torch.manual_seed(0)
    residual = Residual(ResidualSettings.model_validate({"terms": [{"kind": "l1"}]}))
    network = WholePicture(JointNetwork(channels, 4, 2)).eval()
    inside = Inspector(network, residual, store.stretch).eval()
    image = (raw * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    image = image[..., 0] if channels == 1 else image
    picture = stretched(Inspector.picture(image), store.stretch)
    with torch.inference_mode():
        expected = residual(picture, network(picture))
    session = onnxruntime.InferenceSession(graph_bytes(inside, channels, 128))
    found = session.run(["anomaly_map"], {"image": image.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_level_for_each_channel_needs_no_further_operators() -> None:
    """Those that MindIR has a translation of (deploy/mindspore_ops.py) are enough."""
    residual = Residual(ResidualSettings.model_validate({"terms": [{"kind": "l1"}]}))
    network = WholePicture(JointNetwork(3, 4, 2)).eval()
    kinds = []
    for level in (0.4, [0.5, 0.4, 0.3]):
        inside = Inspector(network, residual, Stretch(gain=3, level=level)).eval()
        kinds.append({n.op_type for n in folded(graph_bytes(inside, 3, 128), 128, 128).graph.node})
    assert kinds[1] - kinds[0] <= {"Slice", "Concat", "Sub"}


def test_only_the_joint_network_is_stretched() -> None:
    with pytest.raises(SettingsError, match="needs network=joint"):
        load_settings("autoencoder", changes=["contrast=auto"])
    three = ["stretch.gain=2", "stretch.level=[0.5, 0.5]"]
    with pytest.raises(SettingsError, match=r"stretch\.level"):
        load_settings("auto", changes=three)


@pytest.mark.parametrize("contrast", ["auto", "as-is"])
def test_three_levels_are_for_colour(fabric: Path, tmp_path: Path, contrast: str) -> None:
    three = ["stretch.gain=2", "stretch.level=[0.5, 0.4, 0.3]", f"contrast={contrast}"]
    with pytest.raises(InputError, match="three values, but grey pictures one"):
        train(fabric, changes=[*three, "color=grey", "resize=none"], output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_of_the_stretch_are_checked() -> None:
    with pytest.raises(SettingsError, match=r"stretch\.gain is 0\.5"):
        load_settings("auto", changes=["stretch.gain=0.5", "stretch.level=0.5"])
