"""Mass, mean and variance of exp{yθ/a + c(y, a)} over a support, without trusting any of it.

The logarithm of the mass times a is the cumulant that c and the support imply, whatever b says.
What draws random numbers integrates on its own: the two are held against each other by `check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from expfam_glm.spec.domain import Domain

# c(y, a) at arrays; log f but for what θ alone decides.
type BaseMeasure = Callable[[np.ndarray, np.ndarray], np.ndarray]

_LOG_TAIL = -42.0  # what lies below e⁻⁴² of the highest point is not added
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(12)
_WITH_ENDS = np.concatenate([[-1.0], _NODES, [1.0]])
_AT_ENDS = np.linalg.solve(  # from values at the nodes to those of their polynomial at both ends
    np.polynomial.legendre.legvander(_NODES, _NODES.size - 1).T,
    np.polynomial.legendre.legvander(np.array([-1.0, 1.0]), _NODES.size - 1).T,
)
_PANELS = 16  # to begin with
_HALVINGS = 40
_MOST_PANELS = 300  # a distribution, of one width: more are noise that no halving settles
_LOCAL = 1e-12  # of a panel's own integral, what its rounding may change
_SETTLED = 1e-14  # of the whole, the change of a panel's integral when it is halved
_GRID = 241  # points of a first look
_LOOKS = 12  # each of which narrows the window
_RESOLVED = 30  # points of the grid inside the window are enough
_STEEP = 5e-3  # a tail must fall by this much a unit of z
_MOST_COUNTS = 2**16


@dataclass(frozen=True)
class Moments:
    """Of m distributions: log-mass, mean and variance (m,), and the distribution function.

    `points` (m, k) are increasing, `cumulative` (m, k) the share of the mass up to each of them.
    A mass that does not converge is +inf, and its mean and variance are NaN.
    """

    log_mass: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    points: np.ndarray
    cumulative: np.ndarray


def moments(
    c: BaseMeasure,
    support: Domain,
    theta: np.ndarray,
    a: np.ndarray,
    centre: np.ndarray,
    spread: np.ndarray,
    *,
    most: int = _MOST_COUNTS,
) -> Moments:
    """Integrate or sum exp{yθ/a + c(y, a)} over the support.

    Parameters
    ----------
    c : callable
        Of arrays y (m, k) and a (m, 1).
    support : Domain
    theta, a : ndarray, shape (m,)
    centre, spread : ndarray, shape (m,)
        About where and how wide the distribution is; only a scale for the search.
    most : int, optional
        Counts after which a sum is given up as infinite.

    Returns
    -------
    Moments

    Notes
    -----
    Continuous: Gauss-Legendre panels in a coordinate z on the real line, each halved until that
    changes no integral; atoms are added. Discrete: blocks of counts y/a, outwards, until a term
    and the geometric series that bounds the rest are below e⁻⁴² of the largest term.

    Examples
    --------
    >>> from scipy.special import gammaln
    >>> from expfam_glm.spec.domain import Integers
    >>> one = np.ones(1)
    >>> poisson = moments(
    ...     lambda y, a: -gammaln(y + 1), Integers(0, None), np.log(3) * one, one, one, one
    ... )
    >>> round(float(poisson.log_mass[0]), 12), round(float(poisson.mean[0]), 12)
    (3.0, 3.0)
    """

    def log_f(y: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        here = a[rows, None]
        with np.errstate(all="ignore"):
            value = y * theta[rows, None] / here + np.asarray(c(y, here))
        return np.where(np.isnan(value), -np.inf, value)

    if support.discrete:
        return _summed(log_f, support, a, centre, most)
    return _integrated(log_f, support, centre, spread)


# ---- sums --------------------------------------------------------------------------------------


def _summed(
    log_f: Callable, support: Domain, a: np.ndarray, centre: np.ndarray, most: int
) -> Moments:
    """Over counts from a start that all rows share, with more and more of them."""
    low, high = (np.round(bound / a) for bound in (support.low, support.high))
    start = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, np.round(centre / a)))
    reach = 64
    while True:
        below = reach if np.isinf(support.low) else 0
        above = reach if np.isinf(support.high) else int(np.max(high - start, initial=0))
        counts = start[:, None] + np.arange(-below, above + 1)
        y = counts * a[:, None]
        inside = (counts >= low[:, None]) & (counts <= high[:, None])
        log_terms = np.where(inside, log_f(y), -np.inf)
        ends = [np.s_[:, :2]] * bool(below) + [np.s_[:, :-3:-1]] * (above == reach)
        settled = np.ones(a.size, bool)
        for end in ends:
            settled &= _tail_is_small(log_terms[end], np.max(log_terms, axis=1))
        if settled.all() or reach >= most:
            break
        reach *= 4
    return _collect(y, log_terms, settled)[0]


def _tail_is_small(last: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Whether the outermost term, and the geometric series beyond it, are negligible."""
    with np.errstate(all="ignore"):
        ratio = np.exp(last[:, 0] - last[:, 1])
        rest = last[:, 0] - np.log1p(-np.minimum(ratio, 1.0))
        return np.isneginf(last[:, 0]) | (rest < peak + _LOG_TAIL)


# ---- integrals ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """A coordinate z on the real line for y in an open interval, one scale a distribution."""

    support: Domain
    centre: np.ndarray
    spread: np.ndarray

    def __call__(
        self, z: np.ndarray, rows: np.ndarray | slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """y(z), increasing, and log dy/dz."""
        low, high = self.support.low, self.support.high
        if np.isfinite(low) and np.isfinite(high):
            near = (high - low) / (1 + np.exp(np.abs(z)))
            y = np.where(z < 0, low + near, high - near)
            return y, np.log(high - low) - np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z)))
        if np.isinf(low) and np.isinf(high):
            spread = self.spread[rows, None]
            y = self.centre[rows, None] + spread * np.sinh(z)
            return y, np.log(spread) + np.log(np.cosh(z))
        edge, sign = (low, 1.0) if np.isfinite(low) else (high, -1.0)
        away = np.abs(self.centre[rows, None] - edge)
        away = np.where(away == 0, 1.0, away)
        return edge + sign * away * np.exp(sign * z), np.log(away) + sign * z

    @property
    def ends(self) -> tuple[float, float]:
        """The z that matter: beyond them y rounds to an end of the support, or is enormous."""
        low, high = self.support.low, self.support.high
        if np.isinf(low) and np.isinf(high):
            return -40.0, 40.0
        below = -300.0 if np.isinf(low) else -600.0 if low == 0 else -36.0
        return below, 300.0 if np.isinf(high) else 600.0 if high == 0 else 36.0


def _integrated(
    log_f: Callable, support: Domain, centre: np.ndarray, spread: np.ndarray
) -> Moments:
    axis = _Axis(support, centre, spread)

    def log_g(z: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        y, log_slope = axis(z, rows)
        value = log_f(y, rows) + log_slope
        return np.where((y > support.low) & (y < support.high), value, -np.inf)

    low, high, peak, falls = _window(log_g, *axis.ends, centre.size)
    edges = _panels(log_g, low, high, peak) if np.any(falls) else np.stack([low, high], axis=1)
    half = 0.5 * np.diff(edges)
    z = (edges[:, :-1, None] + half[..., None] * (1 + _NODES)).reshape(centre.size, -1)
    with np.errstate(divide="ignore"):  # panels without width fill the table
        weights = np.log(half[..., None] * _NODE_WEIGHTS).reshape(z.shape)
    atoms = np.tile(() if support.atom is None else (support.atom,), (centre.size, 1))
    y = np.hstack([axis(z)[0], atoms])
    found, share = _collect(y, np.hstack([log_g(z) + weights, log_f(atoms)]), falls)
    ends = axis(edges[:, 1:])[0]
    cumulative = np.cumsum(share[:, : z.shape[1]].reshape(*half.shape, -1).sum(axis=-1), axis=1)
    for k in range(atoms.shape[1]):
        cumulative += np.where(ends >= atoms[:, k, None], share[:, z.shape[1] + k, None], 0.0)
    return replace(found, points=ends, cumulative=cumulative)


def _panels(log_g: Callable, low: np.ndarray, high: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Edges (m, k) of panels, halved until that changes no integral; repeated where a row ends."""
    size = low.size

    def integral(row: np.ndarray, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, ...]:
        """By Gauss's rule, and what a kink beyond its outermost nodes may add to it."""
        half = 0.5 * (right - left)[:, None]
        value = log_g(left[:, None] + half * (1 + _WITH_ENDS), row) - peak[row, None]
        with np.errstate(over="ignore"):
            g = np.exp(value) * half
        with np.errstate(invalid="ignore"):
            jump = np.abs(g[:, [0, -1]] - g[:, 1:-1] @ _AT_ENDS).sum(axis=1)
        return g[:, 1:-1] @ _NODE_WEIGHTS, jump * (1 - _NODES[-1])

    edges = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, _PANELS + 1)
    edges[:, -1] = high
    row = np.repeat(np.arange(size), _PANELS)
    left, right = edges[:, :-1].ravel(), edges[:, 1:].ravel()
    value, kept = integral(row, left, right)[0], np.zeros(size)
    found = [(np.arange(size), low)]
    for _ in range(_HALVINGS):
        middle = 0.5 * (left + right)
        (first, jump), (second, other) = integral(row, left, middle), integral(row, middle, right)
        total = kept + np.bincount(row, first + second, size)
        with np.errstate(invalid="ignore"):
            change = np.maximum(np.abs(first + second - value), jump + other)
            go = change > np.maximum(_SETTLED * total[row], _LOCAL * (first + second))
        if row.size > _MOST_PANELS * size:
            go[:] = False
        kept += np.bincount(row[~go], (first + second)[~go], size)
        found.append((row[~go], right[~go]))
        row, left, right, value = (
            np.concatenate(pair)
            for pair in (
                (row[go], row[go]),
                (left[go], middle[go]),
                (middle[go], right[go]),
                (first[go], second[go]),
            )
        )
        if row.size == 0:
            break
    found.append((row, right))
    row, edge = (np.concatenate([part[k] for part in found]) for k in range(2))
    order = np.lexsort((edge, row))
    row, edge = row[order], edge[order]
    starts = np.searchsorted(row, np.arange(size + 1))
    table = np.repeat(high[:, None], np.max(np.diff(starts)), axis=1)
    table[row, np.arange(row.size) - starts[row]] = edge
    return table


def _window(
    log_g: Callable, first: float, last: float, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """z between which all but a negligible part lies, the peak, and whether both tails fall."""
    low, high = np.full(size, first), np.full(size, last)
    falls = np.ones(size, bool)
    points = np.arange(_GRID)
    for look in range(_LOOKS):
        step = (high - low)[:, None] / (_GRID - 1)
        z = low[:, None] + step * points
        height = log_g(z)
        heavy = height > np.max(height, axis=1, keepdims=True) + _LOG_TAIL
        begin = np.argmax(heavy, axis=1)
        end = _GRID - 1 - np.argmax(heavy[:, ::-1], axis=1)
        if look == 0:
            with np.errstate(invalid="ignore"):
                rise = (height[:, 1] - height[:, 0]) / step[:, 0]
                fall = (height[:, -2] - height[:, -1]) / step[:, 0]
            falls = ((begin > 0) | (rise > _STEEP)) & ((end < _GRID - 1) | (fall > _STEEP))
            falls &= ~np.any(np.isposinf(height), axis=1)
        rows = np.arange(size)
        low = z[rows, np.maximum(begin - 1, 0)]
        high = z[rows, np.minimum(end + 1, _GRID - 1)]
        if np.all(end - begin >= _RESOLVED):
            break
    peak = np.max(height, axis=1)
    return low, high, np.where(np.isfinite(peak), peak, 0.0), falls


# ---- both --------------------------------------------------------------------------------------


def _collect(
    y: np.ndarray, log_terms: np.ndarray, converges: np.ndarray
) -> tuple[Moments, np.ndarray]:
    """Moments from the logarithms of weighted densities at y (m, k), and the share of each y."""
    peak = np.max(log_terms, axis=1)
    converges = converges & ~np.isposinf(peak)
    shift = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(all="ignore"):
        terms = np.exp(log_terms - shift[:, None])
        total = np.sum(terms, axis=1)
        log_mass = np.where(converges, shift + np.log(total), np.inf)
        share = terms / total[:, None]
        heavy = np.where(share > 0, y, 0.0)  # 0·∞ at the far ends
        mean = np.sum(share * heavy, axis=1)
        variance = np.sum(share * (heavy - mean[:, None]) ** 2, axis=1)
    mean, variance = (np.where(converges, v, np.nan) for v in (mean, variance))
    return Moments(log_mass, mean, variance, y, np.cumsum(share, axis=1)), share


def blocks(size: int, rows: int = 64) -> Iterator[slice]:
    """Slices of a long list of distributions, so that the tables stay small."""
    return (slice(begin, begin + rows) for begin in range(0, size, rows))
