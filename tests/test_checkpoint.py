from pathlib import Path

import pytest
import torch
from torch import nn

from ssim_ae.errors import InputError
from ssim_ae.model.weights import load_weights, save_weights
from ssim_ae.training.checkpoint import load_state, save_state


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 1))
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    for _ in range(3):
        network(torch.rand(2, 1, 8, 8)).sum().backward()
        optimizer.step()
    return network, optimizer


def test_state_round_trip_is_exact(tmp_path: Path) -> None:
    network, optimizer = trained()
    save_state(network, optimizer, {"step": 3, "seconds": 1.5}, tmp_path / "s")
    other, fresh = trained()
    with torch.no_grad():
        next(other.parameters()).zero_()
    assert load_state(other, fresh, tmp_path / "s") == {"step": 3, "seconds": 1.5}
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    a, b = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert a.keys() == b.keys()
    for index in a:
        assert all(torch.equal(a[index][k], b[index][k]) for k in a[index])


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    network, _ = trained()
    save_weights(network, tmp_path / "w")
    assert load_weights(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 1)), tmp_path / "w") == []
    wider = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 1))
    missing = load_weights(wider, tmp_path / "w")
    assert [m.split()[0] for m in missing] == ["1.bias", "1.weight"]
    assert torch.equal(next(wider.parameters()), next(network.parameters()))
    with pytest.raises(InputError, match="no layer fits"):
        load_weights(nn.Linear(2, 2), tmp_path / "w")


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    network, optimizer = trained()
    with pytest.raises(InputError, match="does not exist"):
        load_state(network, optimizer, tmp_path / "none")
    save_state(network, optimizer, {"step": 1}, tmp_path / "s")
    data = (tmp_path / "s").read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_state(network, optimizer, tmp_path / "cut")
    save_weights(nn.Linear(2, 2), tmp_path / "w")
    with pytest.raises(InputError, match="no training state"):
        load_state(network, optimizer, tmp_path / "w")
