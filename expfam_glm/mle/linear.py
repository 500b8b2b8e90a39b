"""Solving with an information matrix: scaled Cholesky of XᵀWX, or the R factor of √W X."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# A squared relative residual of a column below this asks for QR instead of the Gram matrix:
# its condition number may then exceed 1e8 and XᵀWX has lost half of the digits.
DOUBTFUL_PIVOT = 1e-8


@dataclass(frozen=True)
class Factor:
    """An upper triangular R with RᵀR = D⁻¹ I D⁻¹, and the column scales D."""

    R: np.ndarray  # (p, p)
    scale: np.ndarray  # (p,)

    def solve(self, U: np.ndarray) -> np.ndarray:
        """I⁻¹U for one (p,) or several (p, m) right-hand sides."""
        half = self._root.T @ (U.T / self.scale).T
        return ((self._root @ half).T / self.scale).T

    def inverse(self) -> np.ndarray:
        """I⁻¹, symmetric."""
        return self.root @ self.root.T

    @property
    def root(self) -> np.ndarray:
        """D⁻¹R⁻¹, whose columns are orthonormal under I: X·root has the information 1."""
        return self._root / self.scale[:, None]

    @property
    def triangle(self) -> np.ndarray:
        """RD, the inverse of `root`."""
        return self.R * self.scale

    @cached_property
    def _root(self) -> np.ndarray:
        """R⁻¹."""
        return np.linalg.inv(self.R)

    def length(self, beta: np.ndarray) -> float:
        """√(βᵀ I β)."""
        return float(np.linalg.norm(self.R @ (beta * self.scale)))

    @property
    def smallest_pivot(self) -> float:
        """The smallest squared residual of a column on the earlier ones, in units of its norm."""
        return float(np.abs(self.R.diagonal()).min() ** 2) if self.R.size else 1.0


def factor_gram(information: np.ndarray) -> Factor | None:
    """The factor of a Gram matrix, columns scaled to length one; None if not positive definite."""
    diagonal = information.diagonal()
    if not (np.isfinite(information).all() and (diagonal > 0).all()):
        return None
    scale = np.sqrt(diagonal)
    try:
        lower = np.linalg.cholesky(information / scale / scale[:, None])
    except np.linalg.LinAlgError:
        return None
    return Factor(lower.T, scale)


def factor_triangle(R: np.ndarray) -> Factor | None:
    """The factor from the R of a QR decomposition; None if a column is numerically zero."""
    with np.errstate(over="ignore"):
        scale = np.sqrt(np.sum(R * R, axis=0))
    if not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
        return None
    scaled = R / scale
    return Factor(scaled, scale) if np.all(np.diag(scaled) != 0) else None
