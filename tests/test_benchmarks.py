"""The benchmark scripts run on generated pictures, so that they do not rot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssim_ae.data.synthetic import make_dataset

pytestmark = pytest.mark.e2e
SCRIPTS = Path(__file__).parents[1] / "benchmarks"


def test_reference_runs_on_the_zoo_s_layouts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    size = (266, 266)
    for name, layout in (("texture_1", "woven"), ("metal_nut", "mvtec")):
        make_dataset(data / name, train=24, good=2, per_defect=1, size=size, layout=layout)
    small = ["first_layer_channels=2", "latent=4", "batch_size=2", "steps=2"]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "reference.py", "--data", data, "--work", tmp_path / "runs",
         "--epochs", "1", "--json", *[x for s in small for x in ("--set", s)]],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sets = json.loads(done.stdout)["sets"]
    assert set(sets) == {"texture_1", "metal_nut"}
    for result in sets.values():
        assert set(result["by_the_zoo_s_rule"]) == {"pixel_auc", "ok", "nok", "acc"}
        assert 0 <= result["by_ours"]["pixel_auroc"] <= 1
    assert sets["metal_nut"]["published"]["acc"] == 0.741


def test_reference_says_which_folders_it_wants(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "reference.py", "--data", tmp_path],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "texture_1, texture_2, metal_nut, cable" in done.stderr
