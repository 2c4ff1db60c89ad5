"""Training: from good pictures to a calibrated detector.

Anything that computes on many threads is imported after this line: OpenMP reads it when it loads.
"""

import os

# Threads that wait spin for a thousand turns, then sleep. Spinning for longer, as OpenMP does by
# default, makes a training beside other work on the same cores several times slower; sleeping at
# once costs a fifth of the speed alone (benchmarks/shared_machine.py). Runtimes that know no such
# count sleep.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
