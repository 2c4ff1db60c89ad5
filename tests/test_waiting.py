"""How OpenMP's threads wait: said before anything loads OpenMP, and the user's word stands."""

import os
import subprocess
import sys

import pytest

# libgomp, which torch's wheels for Linux bring, tells what it read when it was loaded
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp is Linux's")


@pytest.mark.parametrize("way", ["from ssim_ae import train", "import ssim_ae.training.loop"])
@pytest.mark.parametrize(
    ("given", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_threads_sleep_while_they_wait_unless_told_otherwise(way, given, found):
    others = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", way],
        env={**others, "OMP_DISPLAY_ENV": "TRUE", **given},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"OMP_WAIT_POLICY = '{found}'" in done.stderr
