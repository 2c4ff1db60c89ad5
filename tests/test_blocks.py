import numpy as np
import pytest
import torch

from ssim_ae.config import ResidualSettings, ResidualTerm
from ssim_ae.config_files import load_settings
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.network import Autoencoder, initialize
from ssim_ae.model.tiling import BlendedFeatures, TiledReconstruction
from ssim_ae.runtime.blocks import Tiling, run_in_blocks


def one_graph(tile: int, stride: int, term: ResidualTerm) -> Inspector:
    torch.manual_seed(0)
    network = Autoencoder(tile, 1, latent=4, first_layer_channels=2)
    return Inspector(
        TiledReconstruction(network, tile, stride), Residual(ResidualSettings(terms=[term]))
    )


def tiling(tile: int, stride: int, reach: int, blend: str = "pixels") -> Tiling:
    """Of a narrow network, in blocks of 25 MB."""
    changes = {"tile": tile, "stride": stride, "blend": blend, "first_layer_channels": 2}
    return Tiling(load_settings("autoencoder", changes=changes)[0], reach, memory=25_000_000)


class Eager:
    """The graph without an engine, counting how often and how large it ran."""

    name = "eager"

    def __init__(self, inspector: Inspector) -> None:
        self.inspector = inspector
        self.sizes: list[tuple[int, ...]] = []

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.sizes.append(batch.shape[1:])
        with torch.inference_mode():
            maps, scores, *_ = self.inspector(torch.from_numpy(batch))
        return maps.numpy(), scores.numpy()


@pytest.mark.parametrize(
    ("h", "w", "tile", "stride", "sigma"),
    [
        (1500, 128, 128, 32, None), (900, 700, 128, 32, None), (811, 640, 128, 64, 4),
        (777, 600, 128, 48, 10), (1201, 700, 256, 64, 10), (700, 1333, 128, 128, 4),
    ],
)  # fmt: skip
def test_blocks_equal_one_pass_at_the_seams(
    h: int, w: int, tile: int, stride: int, sigma: float | None
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (h, w), dtype=np.uint8)
    graph = one_graph(tile, stride, ResidualTerm(kind="ssim", sigma=sigma))
    engine = Eager(graph)
    whole, scores = engine.run(picture[None])
    engine.sizes.clear()
    blocks, score = run_in_blocks(engine, picture, tiling(tile, stride, graph.reach))
    assert len(engine.sizes) > 1
    np.testing.assert_allclose(blocks, whole[0], atol=2e-6)
    assert score == pytest.approx(float(scores[0]), abs=2e-6)


@pytest.mark.parametrize(
    ("h", "w", "tile", "stride"),
    [
        (1800, 128, 128, 32),
        (1100, 1011, 128, 16),
        (1900, 260, 256, 64),
        (1700, 130, 128, 48),
        (2600, 140, 128, 128),
        (3500, 256, 256, 192),
    ],
)
def test_blocks_equal_one_pass_with_blended_features(
    h: int, w: int, tile: int, stride: int
) -> None:
    torch.manual_seed(0)
    network = Autoencoder(tile, 1, latent=4, first_layer_channels=2)
    initialize(network, "kaiming")  # Xavier's fades: what lies beyond the tile would not show
    term = ResidualTerm(kind="ssim", sigma=4)
    graph = Inspector(BlendedFeatures(network, stride), Residual(ResidualSettings(terms=[term])))
    picture = np.random.default_rng(0).integers(0, 256, (h, w), dtype=np.uint8)
    engine = Eager(graph)
    whole, scores = engine.run(picture[None])
    engine.sizes.clear()
    blocks, score = run_in_blocks(engine, picture, tiling(tile, stride, graph.reach, "features"))
    assert len(engine.sizes) > 1
    np.testing.assert_allclose(blocks, whole[0], atol=5e-6)
    assert score == pytest.approx(float(scores[0]), abs=5e-6)


def test_a_small_picture_is_one_pass() -> None:
    engine = Eager(one_graph(128, 32, ResidualTerm(kind="ssim")))
    run_in_blocks(engine, np.zeros((256, 256), np.uint8), tiling(128, 32, 5))
    assert engine.sizes == [(256, 256)]


@pytest.mark.parametrize("length", [128, 129, 500, 1024, 3001])
@pytest.mark.parametrize("stride", [16, 32, 100, 128])
@pytest.mark.parametrize("reach", [0, 5, 35])
def test_cuts_cover_every_pixel_once(length: int, stride: int, reach: int) -> None:
    cut = tiling(128, stride, reach)
    covered = np.zeros(length, int)
    for extent, keep in cut.cuts(length, cut.fewest()):
        assert extent.start % stride == 0
        assert extent.start <= keep.start < keep.stop <= extent.stop
        covered[keep] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("size", [(128, 85_000), (85_000, 128), (256, 17_000), (20_000, 20_000)])
@pytest.mark.parametrize(
    "changes",
    [
        {"blend": "features"}, {"stride": 128}, {"color": "rgb", "tile": 256},
        {"network": "joint"}, {"network": "joint", "color": "rgb", "first_layer_channels": 16},
    ],
    ids=str,
)  # fmt: skip
def test_a_block_of_any_shape_stays_within_the_memory(
    size: tuple[int, int], changes: dict[str, object]
) -> None:
    settings = load_settings("autoencoder", changes=changes)[0]
    cut = Tiling(settings, reach=170 if settings.blend == "features" else 14)
    height, width = (max(length, settings.tile) for length in size)
    down, across = cut.block(height, width)
    room = cut.room(height, width)
    assert cut.taken(down, across) <= room
    could_grow = [
        down < cut.count(height) and cut.taken(down + 1, across) <= room,
        across < cut.count(width) and cut.taken(down, across + 1) <= room,
    ]
    assert not all(could_grow)  # no smaller than it must be


def test_small_pictures_leave_more_room_for_a_block_and_none_takes_all_of_4_gib() -> None:
    settings = load_settings("auto", changes={"color": "rgb"})[0]
    cut, sides = Tiling(settings, reach=100), (1000, 5000, 15_000, 20_000)
    rooms = [cut.room(side, side) for side in sides]
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[0] == rooms[1] == 2 * rooms[-1]
    held = [7 * side * side for side in sides]  # picture and map
    assert all(room + bytes_ < 3.5 * 2**30 for room, bytes_ in zip(rooms, held, strict=True))
    assert Tiling(settings, reach=100, memory=12_345).room(5000, 5000) == 12_345
