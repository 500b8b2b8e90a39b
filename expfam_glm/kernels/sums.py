"""Sums over a block of rows: Gram products and triangles of QR, both associative."""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

import numpy as np


class Gram(NamedTuple):
    """XᵀWX, Xᵀu and scalars that add up over blocks."""

    information: np.ndarray  # (p, p)
    score: np.ndarray  # (p,)
    objective: float  # Σ f (yθ − b(θ)) w, or −½ Σ f w d where d has a closed form
    magnitude: float  # Σ |terms| of the objective, for its rounding error
    pearson: float  # Σ u²/W where φ is free, else 0
    low: float  # smallest η
    high: float  # largest η

    def __add__(self, other: object) -> Gram:
        if not isinstance(other, Gram):
            return NotImplemented
        return Gram(
            self.information + other.information,
            self.score + other.score,
            self.objective + other.objective,
            self.magnitude + other.magnitude,
            self.pearson + other.pearson,
            min(self.low, other.low),
            max(self.high, other.high),
        )


# Up to so many columns, in a block beyond so many doubles, a loop along each column beats one
# along each row.
_NARROW, _LONG = 24, 1 << 15


def weighted_gram(X: np.ndarray, W: np.ndarray) -> np.ndarray:
    """XᵀWX of a block, symmetric to the last bit."""
    if X.shape[1] <= _NARROW and X.size > _LONG:
        G = np.multiply(X.T, W, out=_scratch(X.shape[::-1])) @ X
    else:
        G = X.T @ np.multiply(X, W[:, None], out=_scratch(X.shape))
    return 0.5 * (G + G.T)


_buffers = threading.local()


def _scratch(shape: tuple[int, ...]) -> np.ndarray:
    """Memory of this thread, written over by the next call: fresh pages cost more than the sums."""
    size = math.prod(shape)
    held = getattr(_buffers, "held", None)
    if held is None or held.size < size:
        held = _buffers.held = np.empty(size)
    return held[:size].reshape(shape)


def triangle(X: np.ndarray, W: np.ndarray | None = None, z: np.ndarray | None = None) -> np.ndarray:
    """The R factor of [√W X | √W z] of a block."""
    root = None if W is None else np.sqrt(W)[:, None]
    columns = X if z is None else np.column_stack([X, z])
    return np.linalg.qr(columns if root is None else columns * root, mode="r")


def join(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The R factor of two stacked blocks from their R factors."""
    return np.linalg.qr(np.vstack([first, second]), mode="r")
