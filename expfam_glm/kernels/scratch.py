"""Memory of a thread for what is computed of a block: fresh pages cost more than the sums."""

from __future__ import annotations

import math
import threading

import numpy as np

_LINE = 8  # doubles of a line of the cache
_own = threading.local()


def scratch(use: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array for one use, which the thread's next call for the same use writes over."""
    held, size = _own.__dict__, math.prod(shape)
    memory = held.get(use)
    if memory is None or memory.size < size:
        memory = held[use] = aligned((size,))
    return memory[:size].reshape(shape)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An array that begins where a line of the cache does."""
    size = math.prod(shape)
    memory = np.empty(size + _LINE)
    skipped = -(memory.ctypes.data // 8) % _LINE
    return memory[skipped : skipped + size].reshape(shape)
