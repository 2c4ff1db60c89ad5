"""Generated pictures and one tiny trained run that many tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssim_ae.data.synthetic import make_dataset

TINY = ["first_layer_channels=4", "latent=8", "steps=6", "batch_size=8", "resize=null", "seed=3"]


@pytest.fixture(scope="session")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training, 4 good and 6 defective pictures of 176x160 in MVTec's layout."""
    root = tmp_path_factory.mktemp("data") / "fabric"
    make_dataset(root, seed=5, train=40, good=4, per_defect=1, size=(160, 176))
    return root


@pytest.fixture(scope="session")
def run(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained for a few steps: its verdicts mean little, its files are real."""
    from ssim_ae.training.train import train

    folder = tmp_path_factory.mktemp("runs") / "fabric"
    train(fabric, "autoencoder", changes=TINY, output=folder)
    return folder
