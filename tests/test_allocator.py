import subprocess
import sys

# pages faulted in by the rounds after the first; start-up and the size of a page don't count
CODE = """
import resource, sys
from ssim_ae.training.allocator import keep_freed_memory
import numpy as np
if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = []
for _ in range(50):
    block = np.empty(1 << 26, np.uint8)
    block[::4096] = 1
    del block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_freed_blocks_are_used_again() -> None:
    if sys.platform.startswith("linux"):
        assert faults("keep") < faults("give back") / 2
