import numpy as np
import onnxruntime
import pytest
import torch
from skimage.metrics import structural_similarity

from ssim_ae.config import CELL, ResidualSettings
from ssim_ae.config_files import load_settings
from ssim_ae.deploy.onnx import graph_bytes
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.filters import mirrored
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import JointNetwork, WholePicture, compared
from ssim_ae.model.network import parameter_count
from ssim_ae.runtime.blocks import Tiling, run_in_blocks

TERMS = [
    {"kind": "head", "offset": -4},  # so that maps lie above 0
    {"kind": "gradient", "sigma": 3},
    {"kind": "band", "sigma": 2},
]


def network(channels: int = 1) -> JointNetwork:
    """Narrow, with statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    made = JointNetwork(channels, latent=4, first_layer_channels=2)
    with torch.no_grad():
        for _ in range(3):
            made(torch.rand(4, channels, 64, 64))
    return made.eval()


def inspector(channels: int = 1) -> Inspector:
    after = {"smooth": 2, "surround": 0.5, "mean_beyond": 0.01}
    settings = ResidualSettings.model_validate({"terms": TERMS, **after})
    return Inspector(WholePicture(network(channels)), Residual(settings)).eval()


def test_the_preset_is_small() -> None:
    settings, _ = load_settings("auto")
    made = JointNetwork(3, settings.latent, settings.first_layer_channels)
    assert parameter_count(made) < 700_000


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 71), (33, 128)])
def test_findings_have_the_pictures_size(channels: int, height: int, width: int) -> None:
    picture = torch.rand(2, channels, height, width)
    with torch.inference_mode():
        found = WholePicture(network(channels))(picture)
    assert found.reconstruction.shape == picture.shape
    assert found.logit.shape == (2, height, width)
    assert float(found.reconstruction.min()) >= 0
    assert float(found.reconstruction.max()) <= 1


def test_mirrored_equals_numpy() -> None:
    x = torch.rand(2, 1, 50, 71)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 14), (0, 9)), mode="reflect")
    np.testing.assert_array_equal(mirrored(x, CELL).numpy(), expected)


def test_compared_holds_half_size_pictures_and_their_ssim() -> None:
    x, y = torch.rand(2, 1, 1, 96, 80)
    out = compared(x, y)
    halves = [t.reshape(48, 2, 40, 2).mean((1, 3)) for t in (x[0, 0], y[0, 0])]
    torch.testing.assert_close(out[0, 0], halves[0])
    torch.testing.assert_close(out[0, 1], halves[1])
    torch.testing.assert_close(out[0, 2], 4 * (halves[0] - halves[1]).abs())
    a, b = (t.double().numpy() for t in halves)
    _, full = structural_similarity(
        a, b, data_range=1, win_size=7, use_sample_covariance=False, full=True
    )
    np.testing.assert_allclose(out[0, 3, 3:-3, 3:-3], 1 - full[3:-3, 3:-3], atol=2e-5)


def test_the_head_teaches_the_encoder_but_not_the_decoder() -> None:
    made = network().train()
    made(torch.rand(2, 1, 64, 64)).logit.sum().backward()
    assert made.encode1[0].weight.grad is not None
    assert all(p.grad is None for p in made.decode.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_exported_graph_equals_the_module(channels: int) -> None:
    graph = inspector(channels)
    session = onnxruntime.InferenceSession(graph_bytes(graph, channels, 128))
    for n, h, w in ((1, 128, 128), (2, 150, 203), (1, 256, 256)):
        shape = (n, h, w) if channels == 1 else (n, h, w, 3)
        image = torch.randint(0, 256, shape, dtype=torch.uint8)
        with torch.inference_mode():
            expected, score, *_ = graph(image)
        anomaly_map, found, mask, defective = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(anomaly_map, expected, atol=1e-4)
        np.testing.assert_allclose(found, score, atol=1e-4)
        assert (found > anomaly_map.max((1, 2))).all()  # their means count as well
        assert not mask.any()  # without thresholds nothing exceeds them
        assert not defective.any()


class Eager:
    name = "eager"

    def __init__(self, graph: Inspector) -> None:
        self.graph, self.shapes = graph, []

    def run(self, images):
        self.shapes.append(images.shape)
        with torch.inference_mode():
            maps, scores, *_ = self.graph(torch.from_numpy(images))
        return maps.numpy(), scores.numpy()


@pytest.mark.parametrize("size", [(1100, 700), (1003, 997)])
def test_blocks_equal_one_pass(size: tuple[int, int]) -> None:
    graph = inspector()
    engine = Eager(graph)
    settings = load_settings("texture", changes={"first_layer_channels": 2})[0]
    settings = settings.model_copy(update={"residual": graph.residual.settings})
    picture = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    blocks, score = run_in_blocks(engine, picture, Tiling(settings, graph.reach, 50_000_000))
    assert len(engine.shapes) > 1
    whole, expected = Eager(graph).run(picture[None])
    np.testing.assert_allclose(blocks, whole[0], atol=1e-4)
    assert score == pytest.approx(float(expected[0]), abs=1e-4)
    assert score > blocks.max() + 0.1  # the whole picture's mean, not that of a block


def test_reach_covers_what_a_pixel_sees() -> None:
    """Changing pixels further away than ``reach`` changes nothing; nearer ones do."""
    graph = inspector()
    picture = torch.randint(0, 256, (1, 1024, 64), dtype=torch.uint8)
    changed = picture.clone()
    changed[:, :128] = 255 - changed[:, :128]
    with torch.inference_mode():
        difference = (graph(picture)[0] - graph(changed)[0]).abs()[0].amax(1)
    assert float(difference[128 + graph.reach :].max()) == 0
    assert float(difference[128 : 128 + graph.reach // 2].max()) > 0
