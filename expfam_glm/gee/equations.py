"""The equations Σ D_kᵀ V_k⁻¹ (y_k − μ_k) = 0 at one β, as least squares on whitened rows.

Arrays in, arrays out: y, X, w, offset in the row order of the data, a structure that knows the
clusters. All that is asked of the rows is a sum over parts of whole clusters: of one part where
they are in memory, of many where they are read in batches (`expfam_glm.gee.streamed`). With
r = A^(−½)(y − μ), T from the structure, W = T A^(−½) D and e = T r: B = WᵀW/φ, U = Wᵀe/φ, and the
score of cluster k is the sum of its rows of W·e, over φ.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple

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


class State(NamedTuple):
    """Everything at one β; the dispersion is a(φ)."""

    beta: np.ndarray  # (p,)
    sums: Sums
    dispersion: float
    parameter: np.ndarray
    bread: Factor  # of WᵀW = φB
    scores: np.ndarray  # (K, p) as in `Squares`
    step: np.ndarray  # (p,) B⁻¹U


class _Both[T](NamedTuple):
    """Two sums from one pass."""

    sums: Sums
    more: T

    def __add__(self, other: Any) -> _Both[T]:
        return _Both(self.sums + other.sums, self.more + other.more)


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
    occasions: Callable[[], np.ndarray] | None = None  # () → (n,) numbers of times, by cluster

    def __post_init__(self) -> None:
        if self.ddof not in DDOF:
            raise one_of("ddof", self.ddof, DDOF)
        if self.dispersion is not None and not 0 < self.dispersion < np.inf:
            raise ArgumentError(f"phi={self.dispersion!r} must be a positive number.")
        if self.phi_count <= 0:
            raise DataError(
                f"{self.n} rows and {self.X.shape[1]} coefficients: phi = Σr²/(n − p) "
                "cannot be estimated. Give phi=, or leave terms out."
            )

    @property
    def always_full(self) -> bool:
        """Whether the equations with B cost no more than without."""
        return False

    @property
    def lost(self) -> int:
        """What is taken off the number of pairs in every moment of α."""
        return self.X.shape[1] if self.ddof == "p" else 0

    @property
    def phi_count(self) -> int:
        """The divisor of Σr² in φ."""
        held = self.ddof == "geepack" or self.dispersion is not None
        return self.n if held else self.n - self.X.shape[1]

    @property
    def n(self) -> int:
        """How many rows there are, in all parts."""
        return self.y.shape[0]

    @property
    def cluster_count(self) -> int:
        """K, in all parts."""
        return self.structure.clusters.totals.clusters

    def total[T](
        self, function: Callable[[Equations], T], add: Callable[[T, T], T] = operator.add
    ) -> T:
        """The sum of a function of the equations of each part; these are all of them."""
        return function(self)

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
        """d and r of the rows that are here; None where β is not admissible."""
        known = self._last.get("beta")
        if known is None or not np.array_equal(known, beta):
            self._last.clear()  # before there are others
            self._last.update(rows=self._rows(beta), beta=beta)
        rows: Rows | None = self._last["rows"]
        return rows

    @cached_property
    def _last(self) -> dict[str, Any]:
        return {}

    def at(self, state: State) -> Rows:
        """d and r of the rows that are here, where equations were evaluated."""
        rows = self.rows(state.beta)
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

    def sums(self, beta: np.ndarray) -> Sums:
        """What this part adds to the moments at β."""
        rows = self.rows(beta)
        if rows is None:
            return Sums(np.nan, np.nan, (np.nan, np.nan), np.array(np.nan))
        known = self.known is not None
        pairs = np.zeros(()) if known else self.structure.pair_sums(rows.r)
        return Sums(rows.pearson, rows.signal, rows.span, pairs)

    @property
    def known(self) -> np.ndarray | None:
        """The parameter of the working correlation, where it is no estimate."""
        if self.parameter is None and self.structure.alpha_dims is None:
            return np.empty(0)
        return self.parameter

    def moments(self, sums: Sums) -> tuple[float, np.ndarray]:
        """a(φ) and the parameter of the working correlation."""
        if sums.pearson <= (1e3 * _EPS) ** 2 * sums.signal:
            raise CorrelationError(
                "the fit is perfect: the residuals are rounding errors, so neither phi and alpha "
                "nor standard errors can be estimated. Check the response and the terms."
            )
        dispersion = self.dispersion or sums.pearson / self.phi_count
        if self.known is not None:
            return dispersion, self.known
        return dispersion, self.structure.estimate(sums.pairs, dispersion, self.lost)

    def moments_at(self, beta: np.ndarray) -> tuple[float, np.ndarray] | None:
        """The moments at β; None where it is not admissible."""
        sums = self.total(partial(Equations.sums, beta=beta))
        return self.moments(sums) if np.isfinite(sums.pearson) else None

    def _with_moments[T](
        self, beta: np.ndarray, function: Callable[[Equations, np.ndarray, np.ndarray], T]
    ) -> tuple[Sums, float, np.ndarray, T] | None:
        """Moments at β, and the sum of a function of each part, β and the parameter.

        Both come from one pass over the parts where the parameter is known before.
        """
        known = self.known
        if known is None:
            sums = self.total(partial(Equations.sums, beta=beta))
        else:
            sums, more = self.total(
                lambda part: _Both(part.sums(beta), function(part, beta, known))
            )
        if not np.isfinite(sums.pearson):
            return None
        dispersion, parameter = self.moments(sums)
        if known is None:
            more = self.total(lambda part: function(part, beta, parameter))
        return sums, dispersion, parameter, more

    def score(self, beta: np.ndarray) -> np.ndarray | None:
        """φU alone, without B; None where β is not admissible."""
        found = self._with_moments(beta, Equations._score)
        return None if found is None else found[3]

    def _score(self, beta: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """What this part adds to φU."""
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

    def information(self, state: State) -> np.ndarray:
        """DᵀA⁻¹D, the information under independence times φ."""
        return self.total(partial(Equations._information, state=state))

    def _information(self, state: State) -> np.ndarray:
        """What this part adds to it."""
        X, d = self.sorted[1], self.at(state).d

        def one(piece: Piece) -> np.ndarray:
            columns = X[:, piece.rows] * d[piece.rows]
            return columns @ columns.T

        return sum_of(each(one, self.pieces, X.size))

    def evaluate(self, beta: np.ndarray) -> State | None:
        """Moments, equations and standard errors at β; None where β is not admissible."""
        found = self._with_moments(beta, Equations._squares)
        if found is None:
            return None
        sums, dispersion, parameter, (gram, scores) = found
        p = beta.size
        bread = factor_gram(gram[:p, :p])
        if bread is None or bread.smallest_pivot < DOUBTFUL_PIVOT:
            triangles = partial(Equations._triangle, beta=beta, parameter=parameter)
            bread = factor_triangle(self.total(triangles, join))
        if bread is None:
            return None
        return State(beta, sums, dispersion, parameter, bread, scores, bread.solve(gram[:p, p]))

    def _triangle(self, beta: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """The R factor of W, for the rows of this part."""
        rows, root = self.rows(beta), self.structure.root(parameter)
        assert rows is not None
        parts = (triangle(self.whitened(rows, root, k)[:-1].T) for k in self.pieces)
        return reduce(join, parts)

    def _squares(self, beta: np.ndarray, parameter: np.ndarray) -> Squares:
        """What this part adds to the bread and the meat."""
        rows, p = self.rows(beta), beta.size
        if rows is None:
            return Squares(np.full((p + 1, p + 1), np.nan), np.zeros((1, p)))
        root = self.structure.root(parameter)
        scores = np.empty((p, self.structure.clusters.count))

        def one(piece: Piece) -> np.ndarray:
            columns = self.whitened(rows, root, piece)
            gram = columns @ columns.T
            columns[:-1] *= columns[-1]
            scores[:, piece.clusters] = piece.sums(columns[:-1])
            return gram

        return Squares(sum_of(each(one, self.pieces, self.X.size)), scores.T)


def sum_of(parts: list[np.ndarray]) -> np.ndarray:
    """The sum of arrays, one after another whatever the number of threads."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
