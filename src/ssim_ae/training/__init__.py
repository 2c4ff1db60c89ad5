"""Training: from good pictures to a calibrated detector.

Anything that computes on many threads is imported after this line: OpenMP reads it when it loads.
"""

import os

# Threads that wait sleep instead of spinning. Beside other work on the same cores spinning makes
# a training several times slower, alone it gains little (benchmarks/shared_machine.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
