"""How OpenMP's threads wait: said before anything loads OpenMP, and the user's word stands."""

import os
import subprocess
import sys

import pytest

# libgomp, which torch's wheels for Linux bring, tells what it read when it was loaded
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp is Linux's")


@pytest.mark.parametrize("way", ["from ssim_ae import train", "import ssim_ae.training.loop"])
@pytest.mark.parametrize(
    ("given", "policy", "count"),
    [
        ({}, "PASSIVE", "1000"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE", "0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", "30000000000"),
        ({"GOMP_SPINCOUNT": "5"}, "PASSIVE", "5"),
    ],
)
def test_threads_that_wait_soon_sleep_unless_told_otherwise(way, given, policy, count):
    others = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", way],
        env={**others, "OMP_DISPLAY_ENV": "VERBOSE", **given},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
    assert f"GOMP_SPINCOUNT = '{count}'" in done.stderr
