"""The zoo's names for our weights; MindSpore itself is the oracle where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssim_ae.deploy.mindspore_checkpoint import checkpoint_bytes, read_checkpoint
from ssim_ae.deploy.zoo_weights import load_zoo_weights, settings_of, zoo_weights
from ssim_ae.errors import InputError
from ssim_ae.model.network import Autoencoder

SMALL = {"tile": 128, "channels": 1, "latent": 7, "first_layer_channels": 4}
LARGE = {"tile": 256, "channels": 3, "latent": 9, "first_layer_channels": 5}


def lively(settings: dict[str, int], seed: int = 0) -> Autoencoder:
    """A network whose answer depends on all weights, biases too."""
    torch.manual_seed(seed)
    network = Autoencoder(**settings).eval()
    with torch.no_grad():
        for weight in network.parameters():
            fan = weight[0].numel() if weight.ndim == 4 else 100
            weight.normal_(0, (2 / fan) ** 0.5)
    return network


@pytest.mark.parametrize("settings", [SMALL, LARGE], ids=["128", "256"])
def test_weights_go_out_and_come_back(settings: dict[str, int], tmp_path: Path) -> None:
    network = lively(settings)
    file = tmp_path / "some.ckpt"
    file.write_bytes(checkpoint_bytes(zoo_weights(network)))
    found = read_checkpoint(file)
    assert settings_of(found) == settings
    fresh = Autoencoder(**settings)
    assert load_zoo_weights(fresh, found) == []
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, fresh.state_dict()[name])


def test_names_and_order_of_the_zoo() -> None:
    """Every second place of the two sequences is an activation."""
    names = list(zoo_weights(lively(LARGE)))
    places = [f"encoded.{i}" for i in range(0, 20, 2)] + [f"decoded.{i}" for i in range(0, 20, 2)]
    assert names == [f"{place}.{kind}" for place in places for kind in ("weight", "bias")]
    assert list(zoo_weights(lively(SMALL)))[-1] == "decoded.16.bias"


def test_weights_are_copies() -> None:
    network = lively(SMALL)
    before = [weight.clone() for weight in network.parameters()]
    for array in zoo_weights(network).values():
        array += 1
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_what_is_no_weight_is_named_and_ignored() -> None:
    network = lively(SMALL)
    tensors: dict[str, Any] = {
        "global_step": np.array(3),
        "adam_m.encoded.0.weight": np.ones((4, 1, 4, 4), np.float32),
        **zoo_weights(network),
        "note": np.array("text"),
    }
    ignored = ["global_step", "adam_m.encoded.0.weight", "note"]
    assert load_zoo_weights(Autoencoder(**SMALL), tensors) == ignored


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_weights_of_other_precision(kind: type) -> None:
    network, fresh = lively(SMALL), Autoencoder(**SMALL)
    load_zoo_weights(fresh, {k: v.astype(kind) for k, v in zoo_weights(network).items()})
    for weight, loaded in zip(network.parameters(), fresh.parameters(), strict=True):
        assert loaded.dtype == torch.float32
        assert torch.allclose(weight, loaded, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("change", [{"tile": 256}, {"channels": 3}, {"latent": 8},
                                    {"first_layer_channels": 5}, LARGE])  # fmt: skip
def test_other_settings_are_told(change: dict[str, int]) -> None:
    network = lively({**SMALL, **change})
    before = [weight.clone() for weight in network.parameters()]
    cure = "set tile: 128, color: grey, latent: 7, first_layer_channels: 4,"
    with pytest.raises(InputError, match=cure):
        load_zoo_weights(network, zoo_weights(lively(SMALL)))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def changed(**changes: Any) -> dict[str, Any]:
    tensors: dict[str, Any] = dict(zoo_weights(lively(SMALL)))
    for name, array in changes.items():
        tensors.pop(name) if array is None else tensors.update({name: array})
    return tensors


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoded.6.bias": None}, r"decoded.6.bias \[8\] is missing"),
        ({"decoded.0.weight": None}, "no layer decoded.0.weight"),
        ({"encoded.0.weight": np.ones(3, np.float32)}, "no layer encoded.0.weight with four axes"),
        ({"encoded.0.weight": np.array("text")}, "no layer encoded.0.weight with four axes"),
        ({"encoded.0.weight": np.ones((4, 2, 4, 4))}, "2 colour channels"),
        ({"encoded.8.weight": np.ones((8, 8, 5, 5))}, "encoded.8.weight is .* instead of"),
        ({"encoded.18.weight": np.ones((4, 4, 4, 4))}, "encoded.4.weight is .* instead of"),
    ],
)
def test_other_networks(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"{words}.*model zoo's ssim-ae$"):
        settings_of(changed(**changes))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite(value: float) -> None:
    network = lively(SMALL, seed=1)
    before = [weight.clone() for weight in network.parameters()]
    with pytest.raises(InputError, match=r"decoded.16.bias holds infinite or NaN values"):
        load_zoo_weights(network, changed(**{"decoded.16.bias": np.array([value])}))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_weights_that_are_no_numbers_of_that_kind() -> None:
    with pytest.raises(InputError, match=r"decoded\.16\.bias holds int32 instead of float32"):
        load_zoo_weights(lively(SMALL), changed(**{"decoded.16.bias": np.ones(1, np.int32)}))


def interpreter_with_mindspore() -> str:
    """MindSpore 2.10 fails beside NumPy 2, so it has an interpreter of its own."""
    python = os.environ.get("SSIM_AE_MINDSPORE", sys.executable)
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('mindspore') is None)"
    if subprocess.run([python, "-c", probe], check=False).returncode:
        pytest.skip("mindspore is not installed: set SSIM_AE_MINDSPORE to a Python that has it")
    return python


@pytest.mark.parametrize("settings", [SMALL, LARGE], ids=["128", "256"])
def test_mindspore_and_torch_answer_alike(settings: dict[str, int], tmp_path: Path) -> None:
    python = interpreter_with_mindspore()
    network = lively(settings)
    tile, channels = settings["tile"], settings["channels"]
    pictures = np.random.default_rng(0).random((2, channels, tile, tile), np.float32)
    (tmp_path / "ours.ckpt").write_bytes(checkpoint_bytes(zoo_weights(network)))
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    np.save(tmp_path / "pictures.npy", pictures)
    script = Path(__file__).with_name("mindspore_side.py")
    subprocess.run([python, str(script), str(tmp_path)], check=True)

    told = json.loads((tmp_path / "told.json").read_text())
    assert told == {"left": [[], []], "names": list(zoo_weights(network))}
    with torch.no_grad():
        answer = network(torch.from_numpy(pictures)).numpy()
    assert answer.std() > 0.01
    assert np.abs(np.load(tmp_path / "with_ours.npy") - answer).max() < 1e-5

    theirs = read_checkpoint(tmp_path / "theirs.ckpt")
    assert settings_of(theirs) == settings
    trained = Autoencoder(**settings).eval()
    ignored = load_zoo_weights(trained, theirs)
    assert {f"adam_{m}.{name}" for m in "mv" for name in told["names"]} <= set(ignored)
    assert len(theirs) == len(ignored) + len(told["names"])
    with torch.no_grad():
        trained_answer = trained(torch.from_numpy(pictures)).numpy()
    assert np.abs(trained_answer - answer).max() > 1e-4  # one step was taken
    assert np.abs(np.load(tmp_path / "with_theirs.npy") - trained_answer).max() < 1e-5

    sealed = read_checkpoint(tmp_path / "crc.ckpt")
    assert load_zoo_weights(Autoencoder(**settings), sealed) == ["note", "half", "brain"]
    assert str(sealed["note"]) == "grün"
    for name, kind in (("half", np.float16), ("brain", np.float32)):
        assert sealed[name].dtype == kind
        assert sealed[name].tolist() == [1.5, -2]
