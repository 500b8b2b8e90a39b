"""The equations Σ D_kᵀ V_k⁻¹ (y_k − μ_k) = 0 at one β, as least squares on whitened rows.

Arrays in, arrays out: y, X, w, offset in the row order of the data, a structure that knows the
clusters. With r = A^(−½)(y − μ), T from the structure, W = T A^(−½) D and e = T r:
B = WᵀW/φ, U = Wᵀe/φ, and the score of cluster k is the sum of its rows of W·e, over φ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import ArgumentError, CorrelationError, DataError, one_of
from expfam_glm.gee.clusters import Piece
from expfam_glm.gee.structures import Root, Structure
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import join, triangle
from expfam_glm.mle.linear import DOUBTFUL_PIVOT, Factor, factor_gram, factor_triangle
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

DDOF = ("none", "p", "geepack")

_EPS = np.finfo(float).eps
# Doubles of [D | r] in one piece: they stay in a core's second-level cache.
_PIECE_DOUBLES = 1 << 16
_ROWS = 1 << 14  # rows whose means are computed at once


class Rows(NamedTuple):
    """Rows in units of their standard deviation at φ = 1, in the order of the clusters."""

    d: np.ndarray  # (n,) A^(−½) dμ/dη, so that A^(−½)D = d X
    r: np.ndarray  # (n,) Pearson residuals (y − μ)/√(V(μ)/w)
    pearson: float  # Σr²
    signal: float  # Σ (d η)², against which r is seen to be a rounding error


class State(NamedTuple):
    """Everything at one β; the dispersion is a(φ)."""

    beta: np.ndarray  # (p,)
    rows: Rows
    dispersion: float
    parameter: np.ndarray
    bread: Factor  # of WᵀW = φB
    scores: np.ndarray  # (K, p), times φ
    step: np.ndarray  # (p,) B⁻¹U


@dataclass(frozen=True, eq=False)
class Equations:
    """The estimating equations of one data set."""

    family: Family
    link: Link
    y: np.ndarray  # (n,) this and the following in the row order of the data
    X: np.ndarray  # (n, p)
    w: np.ndarray | None
    offset: np.ndarray | None
    structure: Structure
    ddof: str = "none"
    dispersion: float | None = None  # a(φ), if it is given
    parameter: np.ndarray | None = None  # of the working correlation, if it is given

    def __post_init__(self) -> None:
        if self.ddof not in DDOF:
            raise one_of("ddof", self.ddof, DDOF)
        if self.dispersion is not None and not 0 < self.dispersion < np.inf:
            raise ArgumentError(f"phi={self.dispersion!r} must be a positive number.")
        if self.phi_count <= 0:
            raise DataError(
                f"{self.y.shape[0]} rows and {self.X.shape[1]} coefficients: phi = Σr²/(n − p) "
                "cannot be estimated. Give phi=, or leave terms out."
            )

    @property
    def lost(self) -> int:
        """What is taken off the number of pairs in every moment of α."""
        return self.X.shape[1] if self.ddof == "p" else 0

    @property
    def phi_count(self) -> int:
        """The divisor of Σr² in φ."""
        n, p = self.X.shape
        return n if self.ddof == "geepack" or self.dispersion is not None else n - p

    @cached_property
    def sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """y, Xᵀ (p, n), w and offset in the order of the clusters; no copy where it is theirs."""
        order = self.structure.clusters.order
        rows = slice(None) if np.all(order[1:] > order[:-1]) else order
        w = None if self.w is None else self.w[rows]
        offset = None if self.offset is None else self.offset[rows]
        return self.y[rows], np.ascontiguousarray(self.X[rows].T), w, offset

    @property
    def most(self) -> int:
        """How many rows of [D | r] fit into the cache."""
        return max(512, _PIECE_DOUBLES // (self.X.shape[1] + 1))

    @cached_property
    def pieces(self) -> list[Piece]:
        """Clusters whose rows of [D | r] fit into the cache."""
        return self.structure.clusters.pieces(self.most, equal=self.structure.equal_sizes)

    @cached_property
    def _workspace(self) -> np.ndarray:
        """Memory for [D | r] of the largest piece: fresh pages cost more than arithmetic."""
        most = min(self.y.shape[0], max(self.most, self.structure.clusters.largest))
        return np.empty((self.X.shape[1] + 1) * most)

    def rows(self, beta: np.ndarray) -> Rows | None:
        """d and r at β; None where β is not admissible."""
        y, X, w, offset = self.sorted
        space = self.link.image(self.family.mean_space)
        kernel = row_kernel(self.family, self.link, ("mu", "slope", "variance"))
        n = y.shape[0]
        d, r = np.empty(n), np.empty(n)
        signal = 0.0
        for start in range(0, n, _ROWS):
            part = slice(start, min(start + _ROWS, n))
            eta = beta @ X[:, part]
            if offset is not None:
                eta += offset[part]
            if not (space.low < eta.min() and eta.max() < space.high):
                return None
            mu, slope, variance = kernel(eta, y[part], 1.0)
            with np.errstate(all="ignore"):
                precision = np.sqrt((1.0 if w is None else w[part]) / variance)
                np.multiply(slope, precision, out=d[part])
                np.subtract(y[part], mu, out=r[part])
                r[part] *= precision
                eta *= d[part]
                signal += float(eta @ eta)
        with np.errstate(all="ignore"):
            pearson = float(r @ r)
            # a sum is finite only if all terms are (or it overflows, which is as bad)
            if not np.isfinite(float(d.sum()) + pearson + signal):
                return None
        return Rows(d, r, pearson, signal)

    def moments(self, rows: Rows) -> tuple[float, np.ndarray]:
        """a(φ) and the parameter of the working correlation."""
        if rows.pearson <= (1e3 * _EPS) ** 2 * rows.signal:
            raise CorrelationError(
                "the fit is perfect: the residuals are rounding errors, so neither phi and alpha "
                "nor standard errors can be estimated. Check the response and the terms."
            )
        dispersion = self.dispersion or rows.pearson / self.phi_count
        if self.parameter is not None:
            return dispersion, self.parameter
        return dispersion, self.structure.moments(rows.r, dispersion, self.lost)

    def score(self, beta: np.ndarray) -> np.ndarray | None:
        """φU alone, which takes two passes over X; None where β is not admissible."""
        rows = self.rows(beta)
        if rows is None:
            return None
        root = self.structure.root(self.moments(rows)[1])
        weighted = np.empty_like(rows.r)
        for piece in self.pieces:
            weighted[piece.rows] = root.precision(rows.r[None, piece.rows], piece)[0]
        weighted *= rows.d
        product: np.ndarray = self.sorted[1] @ weighted
        return product

    def whitened(
        self, rows: Rows, root: Root, pieces: list[Piece] | None = None
    ) -> Iterator[tuple[Piece, np.ndarray]]:
        """[W | e]ᵀ (p + 1, rows) of one piece after another, in the same memory."""
        X = self.sorted[1]
        p = X.shape[0]
        for piece in pieces or self.pieces:
            count = piece.rows.stop - piece.rows.start
            columns = self._workspace[: (p + 1) * count].reshape(p + 1, count)
            scale = root.scaled(piece)
            np.multiply(X[:, piece.rows], rows.d[piece.rows] * scale, out=columns[:-1])
            np.multiply(rows.r[piece.rows], scale, out=columns[-1])
            yield piece, root.whiten(columns, piece)

    def information(self, rows: Rows) -> np.ndarray:
        """DᵀA⁻¹D, the information under independence times φ."""
        X = self.sorted[1]
        total = np.zeros((X.shape[0],) * 2)
        for piece in self.pieces:
            columns = X[:, piece.rows] * rows.d[piece.rows]
            total += columns @ columns.T
        return total

    def evaluate(self, beta: np.ndarray) -> State | None:
        """Moments, equations and standard errors at β; None where β is not admissible."""
        rows = self.rows(beta)
        if rows is None:
            return None
        dispersion, parameter = self.moments(rows)
        root = self.structure.root(parameter)
        p = beta.size
        gram = np.zeros((p + 1, p + 1))
        scores = np.empty((p, self.structure.clusters.count))
        for piece, columns in self.whitened(rows, root):
            gram += columns @ columns.T
            columns[:-1] *= columns[-1]
            scores[:, piece.clusters] = piece.sums(columns[:-1])
        bread = factor_gram(gram[:p, :p])
        if bread is None or bread.smallest_pivot < DOUBTFUL_PIVOT:
            triangles = (triangle(columns[:-1].T) for _, columns in self.whitened(rows, root))
            bread = factor_triangle(reduce(join, triangles))
        if bread is None:
            return None
        step = bread.solve(gram[:p, p])
        return State(beta, rows, dispersion, parameter, bread, scores.T, step)
