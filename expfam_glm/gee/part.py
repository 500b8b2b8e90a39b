"""Some whole clusters, and what they add to the sums that the estimating equations are made of.

Arrays in, arrays out: y, X, w, offset in the row order of the data, a structure that knows the
clusters. With r = A^(−½)(y − μ), T from the structure, W = T A^(−½) D and e = T r: B = WᵀW/φ,
U = Wᵀe/φ, and the score of cluster k is the sum of its rows of W·e, over φ.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np

from expfam_glm.data.blocks import each
from expfam_glm.gee.pieces import Piece
from expfam_glm.gee.structures import Root, Structure
from expfam_glm.kernels.coded import Coded, Matrix, Transposed
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import join, squares, triangle
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

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


class Sums(NamedTuple):
    """What the moments are made of; all NaN where β is not admissible."""

    pearson: float  # Σr²
    signal: float
    span: tuple[float, float]
    pairs: np.ndarray  # sums of r_i r_j, as the structure wants them

    def __add__(self, other: object) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        span = min(self.span[0], other.span[0]), max(self.span[1], other.span[1])
        return Sums(
            self.pearson + other.pearson, self.signal + other.signal, span, self.pairs + other.pairs
        )


class Squares(NamedTuple):
    """[W | e]ᵀ[W | e] (p + 1, p + 1) and scores, φ times those of the clusters.

    The scores of several parts are a triangle with the same product scoresᵀ scores.
    """

    gram: np.ndarray
    scores: np.ndarray  # (K, p)

    def __add__(self, other: object) -> Squares:
        if not isinstance(other, Squares):
            return NotImplemented
        return Squares(self.gram + other.gram, join(self.scores, other.scores))


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of some clusters."""

    family: Family
    link: Link
    y: np.ndarray  # (n,) this and the following in the row order of the data
    X: Matrix  # (n, p)
    w: np.ndarray | None
    offset: np.ndarray | None
    structure: Structure
    # () → (n,) numbers of times, in the order of the clusters
    occasions: Callable[[], np.ndarray] | None = field(default=None, kw_only=True)

    @cached_property
    def sorted(self) -> tuple[np.ndarray, Any, np.ndarray | None, np.ndarray | None]:
        """y, Xᵀ (p, n), w and offset in the order of the clusters; no copy where it is theirs."""
        order = self.structure.clusters.order
        rows = slice(None) if np.all(order[1:] > order[:-1]) else order
        w = None if self.w is None else self.w[rows]
        offset = None if self.offset is None else self.offset[rows]
        if isinstance(self.X, Coded):
            return self.y[rows], Transposed(self.X[rows]), w, offset
        if isinstance(rows, slice) and self.X.flags.f_contiguous:
            return self.y, self.X.T, w, offset
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
        """d and r at β; None where it is not admissible."""
        known = self._last.get("beta")
        if known is None or not np.array_equal(known, beta):
            self._last.clear()  # before there are others
            self._last.update(rows=self._rows(beta), beta=beta)
        rows: Rows | None = self._last["rows"]
        return rows

    @cached_property
    def _last(self) -> dict[str, Any]:
        return {}

    def at(self, beta: np.ndarray) -> Rows:
        """The same at a β that is known to be admissible."""
        rows = self.rows(beta)
        assert rows is not None
        return rows

    def _rows(self, beta: np.ndarray) -> Rows | None:
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
                root = np.sqrt(variance if w is None else variance / w[part], out=r[part])
                np.divide(slope, root, out=d[part])
                np.divide(y[part] - mu, root, out=r[part])
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

    def sums(self, beta: np.ndarray, products: bool = True) -> Sums:
        """What the rows add to the moments at β, to those of α if it is to be estimated."""
        rows = self.rows(beta)
        if rows is None:
            return Sums(np.nan, np.nan, (np.nan, np.nan), np.array(np.nan))
        pairs = self.structure.pair_sums(rows.r) if products else np.zeros(())
        return Sums(rows.pearson, rows.signal, rows.span, pairs)

    def score_sum(self, beta: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """What the rows add to φU."""
        rows = self.rows(beta)
        if rows is None:
            return np.full(beta.size, np.nan)
        root = self.structure.root(parameter)
        X = self.sorted[1]

        def one(piece: Piece) -> np.ndarray:
            weighted = root.precision(rows.r[None, piece.rows], piece)[0] * rows.d[piece.rows]
            return X[:, piece.rows] @ weighted

        return sum_of(each(one, self.pieces, X.size))

    def whitened(self, rows: Rows, root: Root, piece: Piece) -> np.ndarray:
        """[W | e]ᵀ (p + 1, rows) of a piece, in memory that the next piece takes again."""
        return root.whiten(self._scaled(rows, root, piece), piece)

    def _scaled(self, rows: Rows, root: Root, piece: Piece) -> np.ndarray:
        """What `root` is to whiten."""
        X = self.sorted[1]
        count = piece.rows.stop - piece.rows.start
        columns = self._workspace((X.shape[0] + 1) * count).reshape(-1, count)
        scale = root.scaled(piece)
        np.multiply(X[:, piece.rows], rows.d[piece.rows] * scale, out=columns[:-1])
        np.multiply(rows.r[piece.rows], scale, out=columns[-1])
        return columns

    def _workspace(self, count: int) -> np.ndarray:
        """Memory of one thread: fresh pages cost more than arithmetic."""
        kept = getattr(self._memory, "doubles", None)
        if kept is None or kept.size < count:
            kept = self._memory.doubles = np.empty(count)
        return kept[:count]

    @cached_property
    def _memory(self) -> threading.local:
        return threading.local()

    def independent(self, beta: np.ndarray) -> np.ndarray:
        """What the rows add to DᵀA⁻¹D, the information under independence times φ."""
        X, d = self.sorted[1], self.at(beta).d

        def one(piece: Piece) -> np.ndarray:
            return squares(X[:, piece.rows] * d[piece.rows])

        return sum_of(each(one, self.pieces, X.size))

    def whitened_triangle(self, beta: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """The R factor of W."""
        rows, root = self.at(beta), self.structure.root(parameter)
        parts = (triangle(self.whitened(rows, root, k)[:-1].T) for k in self.pieces)
        return reduce(join, parts)

    def squares(self, beta: np.ndarray, parameter: np.ndarray) -> Squares:
        """What the rows add to the bread and the meat."""
        rows, p = self.rows(beta), beta.size
        if rows is None:
            return Squares(np.full((p + 1, p + 1), np.nan), np.zeros((1, p)))
        root = self.structure.root(parameter)
        scores = np.empty((p, self.structure.clusters.count))

        def one(piece: Piece) -> np.ndarray:
            gram, columns = root.squares(self._scaled(rows, root, piece), piece)
            columns[:-1] *= columns[-1]
            scores[:, piece.clusters] = piece.sums(columns[:-1])
            return gram

        return Squares(sum_of(each(one, self.pieces, self.sorted[1].size)), scores.T)


def sum_of(parts: list[np.ndarray]) -> np.ndarray:
    """The sum of arrays, one after another whatever the number of threads."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
