import numpy as np
import pytest
import torch
from torch import nn

from ssim_ae.config import ResidualSettings, ResidualTerm
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.inspector import Inspector, MedianGrey
from ssim_ae.model.network import Autoencoder, initialize
from ssim_ae.model.tiling import BlendedFeatures, TiledReconstruction

TILE = 16


class Marked(nn.Module):
    """Tells tiles apart: scales each by its own maximum."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return tiles * tiles.amax(dim=(1, 2, 3), keepdim=True)


def by_hand(picture: np.ndarray, stride: int) -> np.ndarray:
    h, w = picture.shape[1:]
    total, count = np.zeros_like(picture), np.zeros_like(picture)
    starts = [sorted({*range(0, n - TILE, stride), n - TILE}) for n in (h, w)]
    for y in starts[0]:
        for x in starts[1]:
            tile = picture[:, y : y + TILE, x : x + TILE]
            total[:, y : y + TILE, x : x + TILE] += tile * tile.max()
            count[:, y : y + TILE, x : x + TILE] += 1
    return total / count


@pytest.mark.parametrize(
    ("h", "w", "stride"),
    [(16, 16, 4), (32, 32, 4), (33, 47, 4), (64, 16, 8), (17, 40, 5), (48, 31, 16), (20, 20, 1)],
)
def test_overlap_average_equals_a_loop(h: int, w: int, stride: int) -> None:
    picture = torch.rand(2, 3, h, w, dtype=torch.float64)
    out = TiledReconstruction(Marked(), TILE, stride)(picture)
    for i in range(2):
        np.testing.assert_allclose(out[i].numpy(), by_hand(picture[i].numpy(), stride), atol=1e-12)


@pytest.mark.parametrize("stride", [0, TILE + 1])
def test_a_stride_that_leaves_gaps_is_refused(stride: int) -> None:
    with pytest.raises(ValueError, match="stride"):
        TiledReconstruction(nn.Identity(), TILE, stride)


def test_median_control() -> None:
    image = torch.randint(0, 256, (3, 2, 31, 18), dtype=torch.uint8)
    image[0] = 255
    image[1, :, :16] = 0
    out = MedianGrey()(image / 255)
    flat = image.reshape(3, 2, -1).long()
    expected = flat.median(dim=2).values  # torch takes the lower median
    assert torch.equal(torch.round(out[:, :, 0, 0] * 255).long(), expected)
    assert (out == out[:, :, :1, :1]).all()


@pytest.mark.parametrize("shape", [(2, 130, 150), (1, 128, 128, 3)])
def test_map_and_score(shape: tuple[int, ...]) -> None:
    channels = 1 if len(shape) == 3 else 3
    network = Autoencoder(128, channels, latent=4, first_layer_channels=2)
    residual = Residual(ResidualSettings(terms=[ResidualTerm(kind="ssim")]))
    inspector = Inspector(TiledReconstruction(network, 128, 32), residual)
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    with torch.inference_mode():
        anomaly_map, score, *_ = inspector(image)
    assert anomaly_map.shape == shape[:3]
    assert torch.equal(score, anomaly_map.flatten(1).max(1).values)
    assert torch.isfinite(anomaly_map).all()


def blended(stride: int, tile: int = 128) -> tuple[Autoencoder, BlendedFeatures]:
    torch.manual_seed(0)
    network = Autoencoder(tile, 1, latent=6, first_layer_channels=4).double()
    initialize(network, "kaiming")
    return network, BlendedFeatures(network, stride).double().eval()


def test_blended_features_of_one_tile_are_the_network() -> None:
    network, whole = blended(32)
    picture = torch.rand(2, 1, 128, 128, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(whole(picture), network(picture), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("h", "w", "stride"), [(256, 288, 32), (250, 261, 64), (129, 400, 16)])
def test_blended_features_average_the_tiles_first_feature_maps(h: int, w: int, stride: int) -> None:
    """By hand: a loop over tiles of the mirrored picture, up to the decoder's first layer."""
    network, whole = blended(stride)
    picture = torch.rand(1, 1, h, w, dtype=torch.float64)
    full = [-(-(n - 128) // stride) * stride + 128 for n in (h, w)]
    mirrored = torch.nn.functional.pad(
        picture, (0, full[1] - w, 0, full[0] - h), mode="reflect"
    )  # fmt: skip
    with torch.inference_mode():
        features = network.encoder[:-1](mirrored)
        total = torch.zeros(1, 4, full[0] // 16, full[1] // 16, dtype=torch.float64)
        count = torch.zeros_like(total)
        for y in range(0, full[0] // 16 - 7, stride // 16):
            for x in range(0, full[1] // 16 - 7, stride // 16):
                latent = network.encoder[-1](features[:, :, y : y + 8, x : x + 8])
                total[:, :, y : y + 8, x : x + 8] += network.decoder[0](latent)
                count[:, :, y : y + 8, x : x + 8] += 1
        expected = network.decoder[1:](total / count)[:, :, :h, :w]
        torch.testing.assert_close(whole(picture), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("stride", [8, 24, 144])
def test_blended_features_need_a_stride_on_their_grid(stride: int) -> None:
    with pytest.raises(ValueError, match="16 pixels apart"):
        BlendedFeatures(Autoencoder(128, 1, 4, 2), stride)
