"""The equations Σ D_kᵀ V_k⁻¹ (y_k − μ_k) = 0 at one β, as least squares on whitened rows.

Arrays in, arrays out: y, X, w, offset in the row order of the data, a structure that knows the
clusters. With r = A^(−½)(y − μ), T from the structure, W = T A^(−½) D and e = T r:
B = WᵀW/φ, U = Wᵀe/φ, and the score of cluster k is the sum of its rows of W·e, over φ.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np

from expfam_glm.data.blocks import each
from expfam_glm.errors import ArgumentError, CorrelationError, DataError, one_of
from expfam_glm.gee.pieces import Piece
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
_STEP = 1e-5  # of η, for the slope of a residual
_ROWS = 1 << 14  # rows whose means are computed at once
_TURNED = 1 << 10  # rows of X that become columns at once


class Rows(NamedTuple):
    """Rows in units of their standard deviation at φ = 1, in the order of the clusters."""

    d: np.ndarray  # (n,) A^(−½) dμ/dη, so that A^(−½)D = d X
    r: np.ndarray  # (n,) Pearson residuals (y − μ)/√(V(μ)/w)
    pearson: float  # Σr²
    signal: float  # Σ (d η)², against which r is seen to be a rounding error
    span: tuple[float, float]  # the lowest and the highest η


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
        X = np.empty(self.X.shape[::-1])
        for start in range(0, len(self.X), _TURNED):  # a piece of both stays in the cache
            part = slice(start, start + _TURNED)
            X[:, part] = self.X[part if isinstance(rows, slice) else rows[part]].T
        return self.y[rows], X, w, offset

    @property
    def most(self) -> int:
        """How many rows of [D | r] fit into the cache."""
        return max(512, _PIECE_DOUBLES // (self.X.shape[1] + 1))

    @cached_property
    def pieces(self) -> list[Piece]:
        """Clusters whose rows of [D | r] fit into the cache."""
        return self.structure.clusters.pieces(self.most, equal=self.structure.equal_sizes)

    def rows(self, beta: np.ndarray) -> Rows | None:
        """d and r at β; None where β is not admissible."""
        y, X, w, offset = self.sorted
        space = self.link.image(self.family.mean_space)
        kernel = row_kernel(self.family, self.link, ("mu", "slope", "variance"))
        n = y.shape[0]
        d, r = np.empty(n), np.empty(n)

        def one(start: int) -> tuple[float, float, float]:
            part = slice(start, min(start + _ROWS, n))
            eta = beta @ X[:, part]
            if offset is not None:
                eta += offset[part]
            low, high = float(eta.min()), float(eta.max())
            if not (space.low < low and high < space.high):
                return low, high, np.nan
            mu, slope, variance = kernel(eta, y[part], 1.0)
            with np.errstate(all="ignore"):
                precision = np.sqrt((1.0 if w is None else w[part]) / variance)
                np.multiply(slope, precision, out=d[part])
                np.subtract(y[part], mu, out=r[part])
                r[part] *= precision
                eta *= d[part]
                return low, high, float(eta @ eta)

        lows, highs, signals = zip(*each(one, range(0, n, _ROWS), X.size), strict=True)
        with np.errstate(all="ignore"):
            pearson, signal = float(r @ r), sum(signals)
            # a sum is finite only if all terms are (or it overflows, which is as bad)
            if not np.isfinite(signal) or not np.isfinite(float(d.sum()) + pearson):
                return None
        return Rows(d, r, pearson, signal, (min(lows), max(highs)))

    def residual_slopes(self, beta: np.ndarray) -> np.ndarray:
        """∂r/∂η (n,), by central differences that stay inside the domain of the link."""
        y, X, w, offset = self.sorted
        space = self.link.image(self.family.mean_space)
        kernel = row_kernel(self.family, self.link, ("mu", "variance"))
        eta = beta @ X if offset is None else beta @ X + offset
        h = _STEP * np.minimum(1.0, np.minimum(eta - space.low, space.high - eta))
        root = 1.0 if w is None else np.sqrt(w)
        ends = []
        for sign in (1, -1):
            mu, variance = kernel(eta + sign * h, y, 1.0)
            ends.append((y - mu) * root / np.sqrt(variance))
        slopes: np.ndarray = (ends[0] - ends[1]) / (2 * h)
        return slopes

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
        X = self.sorted[1]

        def one(piece: Piece) -> np.ndarray:
            weighted = root.precision(rows.r[None, piece.rows], piece)[0] * rows.d[piece.rows]
            return X[:, piece.rows] @ weighted

        return sum_of(each(one, self.pieces, X.size))

    def whitened(self, rows: Rows, root: Root, piece: Piece) -> np.ndarray:
        """[W | e]ᵀ (p + 1, rows) of a piece, in memory that the next piece takes again."""
        X = self.sorted[1]
        count = piece.rows.stop - piece.rows.start
        columns = self._workspace((X.shape[0] + 1) * count).reshape(-1, count)
        scale = root.scaled(piece)
        np.multiply(X[:, piece.rows], rows.d[piece.rows] * scale, out=columns[:-1])
        np.multiply(rows.r[piece.rows], scale, out=columns[-1])
        return root.whiten(columns, piece)

    def _workspace(self, count: int) -> np.ndarray:
        """Memory of one thread: fresh pages cost more than arithmetic."""
        kept = getattr(self._memory, "doubles", None)
        if kept is None or kept.size < count:
            kept = self._memory.doubles = np.empty(count)
        return kept[:count]

    @cached_property
    def _memory(self) -> threading.local:
        return threading.local()

    def information(self, rows: Rows) -> np.ndarray:
        """DᵀA⁻¹D, the information under independence times φ."""
        X = self.sorted[1]

        def one(piece: Piece) -> np.ndarray:
            columns = X[:, piece.rows] * rows.d[piece.rows]
            return columns @ columns.T

        return sum_of(each(one, self.pieces, X.size))

    def evaluate(self, beta: np.ndarray) -> State | None:
        """Moments, equations and standard errors at β; None where β is not admissible."""
        rows = self.rows(beta)
        if rows is None:
            return None
        dispersion, parameter = self.moments(rows)
        root = self.structure.root(parameter)
        p = beta.size
        scores = np.empty((p, self.structure.clusters.count))

        def one(piece: Piece) -> np.ndarray:
            columns = self.whitened(rows, root, piece)
            gram = columns @ columns.T
            columns[:-1] *= columns[-1]
            scores[:, piece.clusters] = piece.sums(columns[:-1])
            return gram

        gram = sum_of(each(one, self.pieces, self.X.size))
        bread = factor_gram(gram[:p, :p])
        if bread is None or bread.smallest_pivot < DOUBTFUL_PIVOT:
            triangles = (triangle(self.whitened(rows, root, k)[:-1].T) for k in self.pieces)
            bread = factor_triangle(reduce(join, triangles))
        if bread is None:
            return None
        step = bread.solve(gram[:p, p])
        return State(beta, rows, dispersion, parameter, bread, scores.T, step)


def sum_of(parts: list[np.ndarray]) -> np.ndarray:
    """The sum of arrays, one after another whatever the number of threads."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
