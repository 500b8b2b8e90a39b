"""The rows of a design in coordinates in which the information is 1, and sums over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from expfam_glm.kernels.coded import Coded, Matrix, dense
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.mle.linear import Factor

# With a squared relative residual of a column below this, sums over levels lose digits that those
# over rows keep.
_CLEAR_PIVOT = 1e-6


class Turned(Protocol):
    """X·root (n, p): some of its rows, and sums over all of them."""

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        """Some rows (m, p)."""

    def lengths(self) -> np.ndarray:
        """The squared length of each row."""

    def gram(self, W: np.ndarray) -> np.ndarray:
        """Σ W xxᵀ."""

    def sums(self, u: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Σ u x over the rows of each cluster (K, p)."""


def turned(X: Matrix, factor: Factor) -> Turned:
    """X in the coordinates of a factor's information."""
    if isinstance(X, Coded) and factor.smallest_pivot > _CLEAR_PIVOT:
        return _ByLevel(X, factor.root)
    return _ByRow(dense(X) @ factor.root)


@dataclass(frozen=True, eq=False)
class _ByRow:
    X: np.ndarray

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        return self.X[rows]

    def lengths(self) -> np.ndarray:
        return np.sum(self.X**2, axis=1)

    def gram(self, W: np.ndarray) -> np.ndarray:
        return self.X.T @ (self.X * W[:, None])

    def sums(self, u: np.ndarray, codes: np.ndarray) -> np.ndarray:
        count = int(codes.max()) + 1
        columns = (self.X * u[:, None]).T
        return np.stack([np.bincount(codes, column, count) for column in columns], axis=1)


@dataclass(frozen=True, eq=False)
class _ByLevel:
    X: Coded
    root: np.ndarray

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.asarray(self.X[rows] @ self.root)

    def lengths(self) -> np.ndarray:
        return self.X.quadratic(self.root @ self.root.T)

    def gram(self, W: np.ndarray) -> np.ndarray:
        return self.root.T @ weighted_gram(self.X, W) @ self.root

    def sums(self, u: np.ndarray, codes: np.ndarray) -> np.ndarray:
        return self.X.sums(u, codes) @ self.root
