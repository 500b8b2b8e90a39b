"""Working correlations on given clusters: moments of α, and the whitening T with TᵀT = R⁻¹.

A structure never forms an n × n matrix. Its `Root` applies T cluster by cluster to all columns at
once; with W = T A^(−½) D and e = T r everything in the estimating equations is a least-squares sum
of W and e. Columns lie side by side as (q, rows), rows in the order of the clusters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.pieces import Piece
from expfam_glm.gee.times import numbers
from expfam_glm.gee.whole import Counted
from expfam_glm.kernels.sums import squares

# The part of a sum of squares that may be left by subtraction.
_DIGITS = 1e-3
# The matrix shown in the result has at most this many rows.
SHOWN = 50


class Shown(NamedTuple):
    """A working correlation matrix and the times (or positions) of its rows."""

    labels: np.ndarray  # (m,)
    matrix: np.ndarray  # (m, m)


class Root(ABC):
    """T = T′ diag(scale) at one value of the parameter, TᵀT = R⁻¹."""

    scale: np.ndarray | float = 1.0  # (n,) or one for all rows

    @abstractmethod
    def whiten(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        """T′ applied to the columns (q, rows) of a piece, which are overwritten."""

    @abstractmethod
    def precision(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        """R⁻¹ applied to the columns (q, rows) of a piece."""

    def squares(self, columns: np.ndarray, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """C R⁻¹ Cᵀ of scaled columns C (q, rows), and columns in their place.

        The last of these, times one of the others, adds up over a cluster to a product by R⁻¹.
        """
        whitened = self.whiten(columns, piece)
        return squares(whitened), whitened

    def scaled(self, piece: Piece) -> np.ndarray | float:
        """`scale` on the rows of a piece."""
        return self.scale if isinstance(self.scale, float) else self.scale[piece.rows]


class Structure(ABC):
    """A working correlation R(α) on the clusters of one data set."""

    alpha_dims: tuple[str, ...] | None = None  # None: the structure has no α
    equal_sizes = False  # whether a piece must hold clusters of one size

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters

    def pair_sums(self, r: np.ndarray) -> np.ndarray:
        """What α is made of: sums of r_i r_j over pairs of rows, which add up over batches.

        Where α takes more than sums, all residuals (n,); such a structure must have all clusters.
        """
        return np.empty(0)

    def estimate(self, sums: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        """The parameter from the `pair_sums` of all clusters."""
        return np.empty(0)

    def moments(self, r: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        """The parameter from Pearson residuals (n,); `lost` is taken off each count of pairs."""
        return self.estimate(self.pair_sums(r), dispersion, lost)

    def counted(self) -> Counted | None:
        """How many pairs of rows `pair_sums` adds up, where `clusters.totals` do not tell."""
        return None

    def alpha(self, parameter: np.ndarray) -> np.ndarray:
        """α as it is reported, where the parameter is another function of it."""
        return parameter

    def given_alpha(self, alpha: ArrayLike) -> np.ndarray:
        """The parameter for an α of the user's."""
        if self.alpha_dims is None:
            raise ArgumentError("alpha= was given, but this working correlation has no alpha.")
        count = len(self.alpha_labels())
        shape = (count,) if self.alpha_dims else ()
        try:
            values = np.asarray(alpha, dtype=float)
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if values.shape != shape or not np.all(np.isfinite(values)):
            wanted = f"{count} numbers, for {', '.join(self.alpha_labels()[:8])}" if count else ""
            raise ArgumentError(f"alpha={alpha!r} must be {wanted or 'a number'}.")
        return values

    def alpha_labels(self) -> list[str]:
        """Names of the elements of α, where it is a vector."""
        return []

    def remark(self, parameter: np.ndarray) -> str:
        """What must be known about an estimate, empty if nothing."""
        return ""

    # ---- the moment equations, for standard errors of α ----------------------------------------

    def smooth(self, parameter: np.ndarray) -> bool:
        """Whether α is inside its range, so that it has a standard error."""
        return True

    def products(self, parameter: np.ndarray, r: np.ndarray) -> np.ndarray:
        """(K, q) Σ ∂R_ij/∂α r_i r_j over the pairs of rows of each cluster."""
        raise AssertionError(f"{type(self).__name__} has no alpha")

    def expected(self, parameter: np.ndarray) -> np.ndarray:
        """(K, q) the same with R_ij in place of r_i r_j."""
        raise AssertionError(f"{type(self).__name__} has no alpha")

    def curvature(self, parameter: np.ndarray) -> np.ndarray:
        """(q, q) Σ ∂R_ij/∂α (∂R_ij/∂α)ᵀ over all pairs."""
        raise AssertionError(f"{type(self).__name__} has no alpha")

    def gain(self, lost: int) -> np.ndarray:
        """(q,) what `lost` pairs off the count make of a mean."""
        pairs = self.clusters.pairs
        return np.array([pairs / (pairs - lost)])

    @abstractmethod
    def root(self, parameter: np.ndarray) -> Root:
        """T at this parameter, or the reason why R is not positive definite."""

    @abstractmethod
    def shown(self, parameter: np.ndarray) -> Shown:
        """The working correlation matrix for the result."""

    def _by_time(self) -> tuple[np.ndarray, np.ndarray]:
        """The times that are shown, as numbers and as given; of one cluster where too many."""
        clusters = self.clusters
        assert clusters.waves is not None and clusters.time is not None
        times = clusters.waves.levels
        if times.shape[0] > SHOWN:
            times = clusters.time[: min(clusters.largest, SHOWN)]
        return numbers(times), times

    def _by_position(self, common: float) -> Shown:
        """A matrix with one correlation, for the largest cluster."""
        size = min(self.clusters.totals.largest, SHOWN)
        matrix = np.full((size, size), common)
        np.fill_diagonal(matrix, 1.0)
        return Shown(np.arange(size), matrix)


def average(
    name: str, total: np.ndarray, count: np.ndarray, dispersion: float, lost: int
) -> np.ndarray:
    """Σ r_i r_j/(φ (pairs − lost)), or the reason why there is none."""
    fewest = float(np.min(count))
    if fewest == 0:
        raise CorrelationError(
            f"the {name} correlation cannot be estimated: every cluster has one row only. Use "
            "correlation='independence', and check the column given as groups."
        )
    if fewest <= lost:
        raise CorrelationError(
            f"the {name} correlation cannot be estimated under ddof='p': {fewest:g} pair(s) of "
            f"rows, less {lost} coefficients. Use ddof='none'."
        )
    return total / (dispersion * (count - lost))


class Plain(Root):
    """T = I."""

    def whiten(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        return columns

    def precision(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        return columns


class Identity(Structure):
    """Independence: R = I."""

    def root(self, parameter: np.ndarray) -> Root:
        return Plain()

    def shown(self, parameter: np.ndarray) -> Shown:
        return self._by_position(0.0)


class CommonRoot(Root):
    """T z = (z − c z̄)/√(1 − α) with (1 − c)² = (1 − α)/(1 + (n_k − 1)α)."""

    def __init__(self, alpha: float, sizes: np.ndarray) -> None:
        spread = 1 + (sizes - 1) * alpha  # the largest eigenvalue of R where α > 0
        self.alpha = alpha
        self.scale = float(1 / np.sqrt(1 - alpha))
        self.shift = (1 - np.sqrt((1 - alpha) / spread)) / sizes
        self.pull = alpha / spread
        # a column that is constant in clusters then loses these digits in a difference
        self.narrow = bool(np.any((1 - alpha) < _DIGITS * spread))

    def whiten(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        columns -= piece.spread(piece.sums(columns) * self.shift[piece.clusters])
        return columns

    def squares(self, columns: np.ndarray, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        if self.narrow:
            return super().squares(columns, piece)
        sums = piece.sums(columns)
        pulled = sums * self.pull[piece.clusters]
        product = squares(columns) - pulled @ sums.T
        columns[-1] -= piece.spread(pulled[-1])
        return product, columns

    def precision(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        total = piece.spread(piece.sums(columns) * self.pull[piece.clusters])
        return (columns - total) / (1 - self.alpha)


class Common(Structure):
    """Exchangeable: one correlation for all pairs of a cluster."""

    alpha_dims = ()

    def pair_sums(self, r: np.ndarray) -> np.ndarray:
        return np.asarray((np.sum(self.clusters.sums(r) ** 2) - r @ r) / 2)

    def estimate(self, sums: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        pairs = np.array(self.clusters.totals.pairs)
        return average("exchangeable", sums, pairs, dispersion, lost)

    def products(self, parameter: np.ndarray, r: np.ndarray) -> np.ndarray:
        found: np.ndarray = (self.clusters.sums(r) ** 2 - self.clusters.sums(r * r))[:, None] / 2
        return found

    def expected(self, parameter: np.ndarray) -> np.ndarray:
        sizes = self.clusters.sizes.astype(float)
        found: np.ndarray = float(parameter) * (sizes * (sizes - 1) / 2)[:, None]
        return found

    def curvature(self, parameter: np.ndarray) -> np.ndarray:
        return np.array([[float(self.clusters.pairs)]])

    def root(self, parameter: np.ndarray) -> Root:
        common = float(parameter)
        most = self.clusters.totals.largest
        low = -1 / (most - 1) if most > 1 else -np.inf
        if not low < common < 1:
            raise CorrelationError(
                f"the exchangeable working correlation is not positive definite: alpha = "
                f"{common:.6g}, but clusters of up to {most} rows need "
                f"{low:.6g} < alpha < 1. Use correlation='independence' (its robust standard "
                "errors stay valid), or 'ar1' if nearness in time matters."
            )
        return CommonRoot(common, self.clusters.sizes)

    def shown(self, parameter: np.ndarray) -> Shown:
        return self._by_position(float(parameter))
