"""Texture or object: against a slow loop, and on pictures whose answer is known."""

import numpy as np
import pytest
import torch

from ssim_ae.data.evenness import BLOCK, TEXTURE, unevenness


def picture(seed: int = 0, height: int = 128, width: int = 160) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.random((1, 1, height, width), np.float32)) * 0.2 + 0.4


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_spread_of_the_blocks_log_contrast(channels) -> None:
    pictures = torch.cat([picture(seed, 100, 140) for seed in range(2 * channels)], 1)
    pictures = pictures.reshape(2, channels, 100, 140) * torch.linspace(0, 1, 140)
    for number, found in enumerate(unevenness(pictures).tolist()):
        grey = pictures[number].mean(0).double().numpy() * 255
        logs = [
            np.log(grey[y : y + BLOCK, x : x + BLOCK].std() + 1)
            for y in range(0, 100 - BLOCK + 1, BLOCK)
            for x in range(0, 140 - BLOCK + 1, BLOCK)
        ]
        assert found == pytest.approx(np.std(logs), rel=1e-4)


def test_the_same_everywhere_is_a_texture_whatever_the_light() -> None:
    weave = torch.sin(torch.arange(160) * 0.8)[None, None, None] * 0.1 + picture()
    steps = torch.arange(5).repeat_interleave(BLOCK) * 0.05  # brighter from block to block
    assert float(unevenness(weave + steps - 0.2)) == pytest.approx(float(unevenness(weave)))
    assert float(unevenness(weave)) < 0.1 < TEXTURE


def test_something_on_a_plain_ground_is_an_object() -> None:
    part = torch.full((1, 1, 128, 160), 0.5)
    part[:, :, 32:96, 48:112] = picture(1, 64, 64)
    assert float(unevenness(part)) > TEXTURE


def test_noise_below_a_grey_level_is_no_structure() -> None:
    plain = torch.full((1, 1, 128, 160), 0.5)
    noisy = plain.clone()
    noisy[..., :64] += (picture()[..., :64] - 0.5) * 0.005
    assert float(unevenness(plain)) == 0
    assert float(unevenness(noisy)) < TEXTURE
