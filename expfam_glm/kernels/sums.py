"""Sums over a block of rows: Gram products and triangles of QR, both associative."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import blas

from expfam_glm.kernels import tally
from expfam_glm.kernels.coded import Coded, Matrix, dense
from expfam_glm.kernels.machine import sums as machine
from expfam_glm.kernels.machine.load import is_wide
from expfam_glm.kernels.scratch import scratch


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


def product(A: np.ndarray, B: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """AB: `np.dot` lets other threads run meanwhile, but copies what lies apart in memory."""
    together = all(v.flags.forc for v in (A, B))
    return np.dot(A, B, out=out) if together else np.matmul(A, B, out=out)


# Columns and products of a block from which machine code pays for loading it; and its most rows, as
# for a whole design BLAS takes several threads.
_FEWEST_COLUMNS, _FEWEST_PRODUCTS, _MOST_ROWS = 8, 1 << 21, 1 << 17


def weighted_gram(X: Matrix, W: np.ndarray | float) -> np.ndarray:
    """XᵀWX of a block, symmetric to the last bit; W (n,), or a number for all rows."""
    if isinstance(X, Coded):
        return tally.gram(X, np.broadcast_to(W, (len(X),)))
    if not isinstance(W, np.ndarray) or W.ndim == 0:
        if _pays_in_machine(X):
            return float(W) * machine.gram(X, np.broadcast_to(1.0, X.shape[:1]))
        return float(W) * product(X.T, X)  # NumPy computes one triangle and copies it
    n, p = X.shape
    by_columns = X.strides[0] == X.itemsize and not X.flags.c_contiguous
    if W.min(initial=0.0) >= 0:
        if _pays_in_machine(X):
            return machine.gram(X, W)
        root = np.sqrt(W)
        if by_columns:
            return squares(np.multiply(X.T, root, out=scratch("weighted", (p, n))))
        rooted = np.multiply(X, root[:, None], out=scratch("weighted", X.shape))
        return product(rooted.T, rooted)
    if by_columns:
        scaled = np.multiply(X.T, W, out=scratch("weighted", (p, n))).T
    else:
        scaled = np.multiply(X, W[:, None], out=scratch("weighted", X.shape))
    G = product(X.T, scaled)
    return 0.5 * (G + G.T)


def _pays_in_machine(X: np.ndarray) -> bool:
    n, p = X.shape
    many = p >= _FEWEST_COLUMNS and n * p * p >= _FEWEST_PRODUCTS
    return many and n <= _MOST_ROWS and machine.fits(X) and is_wide()


def over_rows(u: np.ndarray, X: Matrix) -> np.ndarray:
    """uᵀX of a block."""
    return u @ X if isinstance(X, Coded) else product(u, X)


# Up to this many columns and doubles a whole product takes less time than one triangle of it.
_FEW, _SHORT = 16, 1 << 17


def squares(columns: np.ndarray) -> np.ndarray:
    """C Cᵀ of columns that lie side by side (q, rows), symmetric to the last bit."""
    if len(columns) > _FEW or columns.size >= _SHORT:
        return product(columns, columns.T)  # NumPy computes one triangle and copies it
    G = blas.dgemm(1.0, columns.T, columns.T, trans_a=True)
    return 0.5 * (G + G.T)


def triangle(X: Matrix, W: np.ndarray | None = None, z: np.ndarray | None = None) -> np.ndarray:
    """The R factor of [√W X | √W z] of a block."""
    root = None if W is None else np.sqrt(W)[:, None]
    columns = dense(X) if z is None else np.column_stack([dense(X), z])
    return np.linalg.qr(columns if root is None else columns * root, mode="r")


def join(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The R factor of two stacked blocks from their R factors."""
    return np.linalg.qr(np.vstack([first, second]), mode="r")
