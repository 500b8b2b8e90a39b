"""Solving with an information matrix: scaled Cholesky of XᵀWX, or the R factor of √W X."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

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
        with np.errstate(over="ignore", invalid="ignore"):  # a step that is not finite is halved
            scaled = (U.T / self.scale).T
            if U.ndim == 1 and U.size:
                return lapack.dpotrs(self.R, scaled)[0] / self.scale
            solution = self.unscaled_root @ (self.unscaled_root.T @ scaled)
            return (solution.T / self.scale).T

    def sandwich(self, meat: np.ndarray) -> np.ndarray:
        """I⁻¹ meat I⁻¹."""
        return self.solve(self.solve(meat).T)

    def inverse(self) -> np.ndarray:
        """I⁻¹, symmetric."""
        return self.root @ self.root.T

    @property
    def root(self) -> np.ndarray:
        """D⁻¹R⁻¹, whose columns are orthonormal under I: X·root has the information 1."""
        return self.unscaled_root / self.scale[:, None]

    @property
    def triangle(self) -> np.ndarray:
        """RD, the inverse of `root`."""
        return self.R * self.scale

    @cached_property
    def unscaled_root(self) -> np.ndarray:
        """R⁻¹."""
        return lapack.dtrtri(self.R)[0] if self.R.size else self.R

    def length(self, beta: np.ndarray) -> float:
        """√(βᵀ I β)."""
        with np.errstate(all="ignore"):  # of a step that is not finite
            half = self.R @ (beta * self.scale)
            return math.sqrt(half @ half)

    @property
    def smallest_pivot(self) -> float:
        """The smallest squared residual of a column on the earlier ones, in units of its norm."""
        diagonal = self.R.diagonal()
        return float((diagonal * diagonal).min(initial=1.0))


# Beyond this condition number of the scaled columns half of the digits are lost.
ILL_CONDITIONED = 1e6
# Columns with less than this part of the largest share in the direction are not named.
_INVOLVED = 0.1


def conditioning(factor: Factor, labels: Sequence[str]) -> str:
    """A remark that names nearly collinear columns, weighted as in the fit; "" for none."""
    if _norm_bound(factor.R) * _norm_bound(factor.unscaled_root) < ILL_CONDITIONED:
        return ""
    sizes, directions = np.linalg.svd(factor.R)[1:]
    if not sizes[-1] * ILL_CONDITIONED < sizes[0]:
        return ""
    share = np.abs(directions[-1])
    involved = [
        label for label, part in zip(labels, share, strict=True) if part > _INVOLVED * share.max()
    ]
    number = sizes[0] / sizes[-1]
    return (
        f"the columns {', '.join(involved)} are nearly linear combinations of each other "
        f"(condition number {number:.1e} after scaling): about {np.log10(number):.0f} of 16 digits "
        "of their coefficients are lost to rounding. Centre them, use orthogonal terms such as "
        "poly(), or leave one out."
    )


def _norm_bound(A: np.ndarray) -> float:
    """A number that the largest singular value does not exceed."""
    sizes = np.abs(A)
    return math.sqrt(sizes.sum(axis=0).max(initial=0.0) * sizes.sum(axis=1).max(initial=0.0))


def factor_gram(information: np.ndarray) -> Factor | None:
    """The factor of a Gram matrix, columns scaled to length one; None if not positive definite."""
    diagonal = information.diagonal()
    if not 0 < diagonal.min(initial=1.0) <= diagonal.max(initial=1.0) < np.inf:  # or NaN
        return None
    scale = np.sqrt(diagonal)
    R, failed = lapack.dpotrf(information / scale / scale[:, None])
    # what is not finite spreads to the last pivot
    return None if failed or (R.size and not 0 < R[-1, -1] < np.inf) else Factor(R, scale)


def factor_triangle(R: np.ndarray) -> Factor | None:
    """The factor from the R of a QR decomposition; None if a column is numerically zero."""
    with np.errstate(over="ignore"):
        scale = np.sqrt(np.sum(R * R, axis=0))
    if not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
        return None
    scaled = R / scale
    return Factor(scaled, scale) if np.all(np.diag(scaled) != 0) else None
