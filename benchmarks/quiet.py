"""What comes between two programs that are timed in turn in one process."""

from __future__ import annotations

import time

# Seconds after which the threads of BLAS and OpenMP have gone to sleep: for a tenth of a second
# after their last product they take a processor from whoever comes next.
SETTLED = 0.2


def settle() -> None:
    """Keep one processor busy, so that it does not slow down, until all others are idle."""
    until = time.perf_counter() + SETTLED
    while time.perf_counter() < until:
        pass
