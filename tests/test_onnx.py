"""The short way to ONNX: same numbers as the network and as the exporter's long way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import fake_impls

from ssim_ae.config_files import load_settings
from ssim_ae.deploy import onnx, sizes
from ssim_ae.model.build import inspector_of, network_of
from ssim_ae.model.inspector import Inspector
from tests.maps import above_zero


def inspector(preset: str, *changes: str) -> Inspector:
    """With weights and BatchNorm statistics drawn at random."""
    settings, _ = load_settings(
        preset, changes=["first_layer_channels=4", "latent=8", "color=rgb", *changes]
    )
    settings = settings.model_copy(update={"residual": above_zero(settings.residual)})
    torch.manual_seed(2)
    network = network_of(settings)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight, module.bias):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return inspector_of(network, settings)


def image(batch: int) -> Tensor:
    rng = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, 141, 150, 3), dtype=torch.uint8, generator=rng)


def session(graph: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_what_is_exported_says_the_same_and_the_original_stays() -> None:
    original = inspector("auto")
    before = {name: value.clone() for name, value in original.state_dict().items()}
    copied = onnx.prepared(original)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copied.modules())
    with torch.inference_mode():
        for wanted, got in zip(original(image(2)), copied(image(2)), strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    after = original.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("preset", ["auto", "autoencoder", "fast"])
def test_the_short_way_and_the_exporters_own_give_equal_graphs(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, at_length = inspector(preset), onnx.at_length

    def refused(*_: object) -> torch.onnx.ONNXProgram:
        raise AttributeError("the exporter has no such part")

    monkeypatch.setattr(onnx, "at_length", refused)
    short = onnx.graph_bytes(made, 3, 128)
    monkeypatch.setattr(onnx, "shortly", refused)
    monkeypatch.setattr(onnx, "at_length", at_length)
    long = onnx.graph_bytes(made, 3, 128)
    one, other = session(short), session(long)
    for batch in (1, 2):
        pictures = {"image": image(batch).numpy()}
        found = one.run(None, pictures)
        for a, b in zip(found, other.run(None, pictures), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        lifted = found[1] > found[0].max((1, 2)) + 0.1  # by the mean, where it counts
        assert (lifted == (preset == "auto")).all()


ASKED = ("_contiguous", "_convolved", "_enlarged")


@pytest.mark.parametrize(("preset", "asked_for"), [("auto", ASKED), ("fast", ASKED[:2])])
def test_cheaper_sizes_change_nothing_in_the_graph(
    preset: str, asked_for: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = inspector(preset), set()

    def noting(name: str) -> Callable[..., Any]:
        own = getattr(sizes, name)

        def noted(*args: Any, **words: Any) -> Any:
            asked.add(name)
            return own(*args, **words)

        return noted

    for name in ASKED:
        monkeypatch.setattr(sizes, name, noting(name))
    quick = onnx.graph_bytes(made, 3, 128)
    assert asked == set(asked_for)  # torch still asks where it was changed
    monkeypatch.setattr(onnx, "strides_of_the_example", nullcontext)
    dear = onnx.graph_bytes(made, 3, 128)
    if preset == "auto":  # in `fast` a sum of sizes is written in another order
        assert dear == quick
    pictures = {"image": image(2).numpy()}
    for a, b in zip(
        session(quick).run(None, pictures), session(dear).run(None, pictures), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("preset", ["auto", "fast"])
def test_strides_read_off_the_example_change_nothing_in_the_file(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_torch(mode: Any, *args: Any) -> Any:
        return fake_impls.conv(mode, torch.ops.aten.convolution.default, *args)

    monkeypatch.setattr(sizes, "_convolved", by_torch)
    made = inspector(preset)
    quick = onnx.graph_bytes(made, 3, 128)
    monkeypatch.setattr(onnx, "strides_of_the_example", nullcontext)
    assert onnx.graph_bytes(made, 3, 128) == quick


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_the_size_of_a_convolution(transposed: bool, stride: int, padding: int) -> None:
    for height in range(9, 15):
        for kernel, dilation, groups in ((1, 1, 1), (3, 1, 2), (4, 1, 1), (3, 2, 1)):
            more = [stride - 1, 0] if transposed else [0, 0]
            x, weight = torch.zeros(2, 4, height, 12), torch.zeros(4, 4 // groups, kernel, kernel)
            words = (None, [stride, stride], [padding, padding], [dilation, dilation])
            rest = (transposed, more, groups)
            real = torch.ops.aten.convolution(x, weight, *words, *rest)
            found = sizes._convolved(nullcontext(), x, weight, *words, *rest)
            assert found.shape == real.shape
