"""Quantiles of a declared family, from b and c alone: what its random draws are made of.

Probabilities are exact to about 1e-12, as far as the declared yθ − b(θ) keeps its digits; tails
are cut where less than e⁻³⁸ of the mass lies beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from expfam_glm.errors import DeclarationError
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.family import Family

type Search = Callable[[np.ndarray, np.ndarray], np.ndarray]

_LOG_TAIL = -38.0  # e⁻³⁸ is below the rounding error of a probability
_ENTRIES = 2**18  # entries of a table at a time: two megabytes stay in cache
_FARTHEST = 1e9  # standard deviations; a tail that reaches beyond has no moments to speak of
_MASS_TOLERANCE = 1e-6  # cancellation in yθ − b(θ) for large means stays below this
_FLAT = 1e-12  # a quadrature whose mass is this close to one is not refined
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_PANELS = (24, 96, 384)  # tried in turn until the mass is one


@dataclass(frozen=True)
class Distributions:
    """A family at m parameter values: θ, effective dispersion a and shapes, each (m,)."""

    family: Family
    theta: np.ndarray
    a: np.ndarray
    shapes: Mapping[str, np.ndarray]

    def __getitem__(self, rows: np.ndarray | slice) -> Distributions:
        shapes = {name: values[rows] for name, values in self.shapes.items()}
        return Distributions(self.family, self.theta[rows], self.a[rows], shapes)

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """log f at y (m, k), one row a distribution."""
        shapes = {name: values[:, None] for name, values in self.shapes.items()}
        theta, a = self.theta[:, None], self.a[:, None]
        with np.errstate(all="ignore"):
            kernel = (y * theta - np.asarray(self.family.b(theta, **shapes))) / a
            return kernel + self.family.base_measure(y, a, **shapes)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each distribution."""
        mean = np.asarray(self.family.mean(self.theta, **self.shapes))
        variance = np.asarray(self.family.variance_at(self.theta, **self.shapes))
        return mean, np.sqrt(variance * self.a)


def quantiles(distributions: Distributions, u: np.ndarray) -> np.ndarray:
    """The smallest y with F(y) ≥ u, for one probability a distribution.

    Parameters
    ----------
    distributions : Distributions
        m of them; equal ones share their work.
    u : ndarray, shape (m,)
        Probabilities inside (0, 1).

    Returns
    -------
    ndarray, shape (m,)
        On the scale of y; inside the open support for a continuous family.

    Raises
    ------
    DeclarationError
        If the probabilities do not add up to one.

    Notes
    -----
    Discrete families: the cumulative sum of the probabilities between the Chernoff bounds
    log P(Y ≥ y) ≤ min over t > 0 of {b(θ + t) − b(θ) − ty}/a. Continuous families: Gauss-Legendre
    panels in a coordinate z that maps the support to the real line, and Newton's method in z.

    References
    ----------
    Devroye (1986), Non-Uniform Random Variate Generation, chapters II.2 and III.2.

    Examples
    --------
    >>> from expfam_glm.spec.families import poisson
    >>> ones = np.ones(3)
    >>> quantiles(Distributions(poisson, np.log(4) * ones, ones, {}), np.array([0.1, 0.5, 0.9]))
    array([2., 4., 7.])
    """
    if u.size == 0:
        return np.empty(0)
    keys = np.stack([distributions.a, *distributions.shapes.values(), distributions.theta])
    order = np.lexsort(keys[::-1])
    keys = keys[:, order]
    fresh = np.concatenate([[True], np.any(keys[:, 1:] != keys[:, :-1], axis=0)])
    which = np.cumsum(fresh) - 1
    starts = np.append(np.flatnonzero(fresh), u.size)
    solve = _lattice if distributions.family.support.discrete else _continuum
    y = np.empty(u.shape)
    for rows, find in solve(distributions[order[fresh]]):
        slots = slice(starts[rows.start], starts[rows.stop])
        y[order[slots]] = find(which[slots] - rows.start, u[order[slots]])
    return y


def _search(table: np.ndarray, row: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The first column of the increasing table[row] that is ≥ u, or the last one."""
    low, high = np.zeros(row.shape, np.intp), np.full(row.shape, table.shape[1] - 1, np.intp)
    while np.any(low < high):
        middle = (low + high) // 2
        reached = table[row, middle] >= u
        low, high = np.where(reached, low, np.minimum(middle + 1, high)), np.where(
            reached, middle, high
        )
    return low


def _refuse_mass(distributions: Distributions, mass: np.ndarray) -> None:
    """The error for a declaration whose probabilities do not add up to one."""
    wrong = ~(np.abs(mass - 1) <= _MASS_TOLERANCE)
    if np.any(wrong):
        k = np.flatnonzero(wrong)[0]
        raise DeclarationError(
            f"family {distributions.family.name!r}: the probabilities at θ = "
            f"{distributions.theta[k]:.6g} and effective dispersion a = {distributions.a[k]:.6g} "
            f"add up to {mass[k]:.6g}, not to 1; check b, c, the support, and whether c(y, a) "
            "holds for this a."
        )


# ---- discrete: y/a is an integer ---------------------------------------------------------------


def _lattice(distributions: Distributions) -> Iterator[tuple[slice, Search]]:
    """Neighbouring distributions with one a, and the search in their cumulative sums."""
    low, high = _counts(distributions)
    begin, m = 0, low.size
    while begin < m:
        own = high[begin] - low[begin] + 1
        near = slice(begin, begin + int(max(1, _ENTRIES // (2 * own))))
        span = np.maximum.accumulate(high[near]) - np.minimum.accumulate(low[near]) + 1
        same = (distributions.a[near] == distributions.a[begin]) & (span <= 2 * own)
        size = same.size if same.all() else int(np.argmin(same))
        rows = slice(begin, begin + size)
        yield rows, _lattice_search(distributions[rows], low[rows].min(), high[rows].max())
        begin += size


def _lattice_search(distributions: Distributions, low: float, high: float) -> Search:
    """Search in the cumulative sums over the counts from low to high."""
    y = np.arange(low, high + 1) * distributions.a[0]
    cumulative = np.cumsum(np.exp(distributions.log_density(y[None, :])), axis=1)
    _refuse_mass(distributions, cumulative[:, -1])
    return lambda row, u: y[_search(cumulative, row, u)]


def _counts(distributions: Distributions) -> tuple[np.ndarray, np.ndarray]:
    """Counts y/a below and above which less than e⁻³⁸ of the mass lies."""
    mean, sd = distributions.moments()
    ends = []
    for sign, edge in ((-1.0, distributions.family.support.low),
                       (1.0, distributions.family.support.high)):  # fmt: skip
        y = np.full(mean.shape, edge)
        active, reach = np.arange(mean.size), 9.0
        while active.size:
            if reach > _FARTHEST:
                raise DeclarationError(
                    f"family {distributions.family.name!r} has a tail without bound at θ = "
                    f"{distributions.theta[active[0]]:.6g}; θ must lie inside the θ-domain "
                    f"{distributions.family.theta_domain}."
                )
            tried = mean[active] + sign * reach * (sd[active] + distributions.a[active])
            beyond = sign * (tried - edge) >= 0
            done = beyond | (_log_tail(distributions[active], tried, sign) <= _LOG_TAIL)
            y[active] = np.where(beyond, edge, tried)
            active = active[~done]
            reach *= 1.5
        counts = y / distributions.a
        ends.append(np.floor(counts + 1e-9) if sign < 0 else np.ceil(counts - 1e-9))
    return ends[0], ends[1]


def _log_tail(distributions: Distributions, y: np.ndarray, sign: float) -> np.ndarray:
    """Chernoff's bound of log P(Y ≥ y), or for sign −1 of log P(Y ≤ y), over a grid of t."""
    family, theta, a = distributions.family, distributions.theta[:, None], distributions.a
    shapes = {name: values[:, None] for name, values in distributions.shapes.items()}
    mean, sd = distributions.moments()
    edge = family.theta_domain.high if sign > 0 else family.theta_domain.low
    with np.errstate(all="ignore"):
        normal = np.minimum(np.abs(y - mean) * a / sd**2, 1024.0)  # the best t for a normal tail
        t = normal[:, None] * 2.0 ** np.arange(3, -31, -1)
        t = np.minimum(t, 0.9 * np.abs(edge - theta))
        rise = np.asarray(family.b(theta + sign * t, **shapes)) - np.asarray(
            family.b(theta, **shapes)
        )
        bound = (rise - sign * t * y[:, None]) / a[:, None]
    return np.min(np.where(np.isnan(bound), np.inf, bound), axis=1)


# ---- continuous --------------------------------------------------------------------------------


def _continuum(distributions: Distributions) -> Iterator[tuple[slice, Search]]:
    """Blocks of distributions, and the search in their integrals."""
    size = _ENTRIES // (_PANELS[0] * _NODES.size)
    for begin in range(0, distributions.theta.size, size):
        rows = slice(begin, min(begin + size, distributions.theta.size))
        yield rows, _Integral(distributions[rows]).search


@dataclass(frozen=True)
class _Coordinate:
    """A coordinate z on the whole real line for y in an open interval."""

    support: Domain

    def y(self, z: np.ndarray) -> np.ndarray:
        """y(z), increasing, with full precision near both ends."""
        low, high = self.support.low, self.support.high
        with np.errstate(all="ignore"):
            if np.isfinite(low) and np.isfinite(high):
                near = (high - low) / (1 + np.exp(np.abs(z)))
                return np.where(z < 0, low + near, high - near)
            if np.isfinite(low):
                return low + np.exp(z)
            return high - np.exp(-z) if np.isfinite(high) else z

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """log dy/dz."""
        low, high = self.support.low, self.support.high
        if np.isfinite(low) and np.isfinite(high):
            return np.log(high - low) - np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z)))
        if np.isfinite(low):
            return z
        return -z if np.isfinite(high) else np.zeros_like(z)

    def z(self, y: np.ndarray) -> np.ndarray:
        """The inverse of y(z)."""
        low, high = self.support.low, self.support.high
        if np.isfinite(low) and np.isfinite(high):
            return np.log((y - low) / (high - y))
        if np.isfinite(low):
            return np.log(y - low)
        return -np.log(high - y) if np.isfinite(high) else y

    def inside(self, y: np.ndarray) -> np.ndarray:
        """y rounded to the nearest number inside the open support."""
        low, high = self.support.low, self.support.high
        return np.clip(y, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))


class _Integral:
    """The distribution functions of a block of distributions, by panels in z."""

    def __init__(self, distributions: Distributions) -> None:
        self.distributions = distributions
        self.coordinate = _Coordinate(distributions.family.support)
        low, high = self._window()
        for panels in _PANELS:
            self.edges = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, panels + 1)
            masses = self._mass(self.edges[:, :-1], self.edges[:, 1:])
            self.cumulative = np.cumsum(masses, axis=1)
            if np.all(np.abs(self.cumulative[:, -1] - 1) <= _FLAT):
                break
        _refuse_mass(distributions, self.cumulative[:, -1])

    def _log_g(self, z: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The log-density of z (m, k); −inf where y(z) has rounded to an end of the support."""
        value = self.distributions[rows].log_density(self.coordinate.y(z))
        return np.where(np.isnan(value), -np.inf, value + self.coordinate.log_slope(z))

    def _mass(
        self, left: np.ndarray, right: np.ndarray, rows: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """∫ g dz over the intervals from left to right (m, k)."""
        half = 0.5 * (right - left)[..., None]
        z = left[..., None] + half * (1 + _NODES)
        g = np.exp(self._log_g(z.reshape(z.shape[0], -1), rows)).reshape(z.shape)
        return np.sum(g * _NODE_WEIGHTS, axis=-1) * half[..., 0]

    def _window(self) -> tuple[np.ndarray, np.ndarray]:
        """z between which all but a negligible part of the mass lies."""
        mean, sd = self.distributions.moments()
        centre = self.coordinate.z(mean)
        with np.errstate(all="ignore"):
            step = np.minimum(sd / np.exp(self.coordinate.log_slope(centre)), 1.0 * (
                np.where(np.isfinite(self.distributions.family.support.low)
                         | np.isfinite(self.distributions.family.support.high), 1.0, np.inf)))
        reach = step[:, None] * 2.0 ** np.arange(-2, 24)
        z = centre[:, None] + np.concatenate([-reach[:, ::-1], 0 * reach[:, :1], reach], axis=1)
        height = self._log_g(z)
        heavy = height > np.max(height, axis=1, keepdims=True) + _LOG_TAIL - 4
        first, last = np.argmax(heavy, axis=1), heavy.shape[1] - 1 - np.argmax(heavy[:, ::-1], axis=1)
        row = np.arange(mean.size)
        return z[row, np.maximum(first - 1, 0)], z[row, np.minimum(last + 1, z.shape[1] - 1)]

    def search(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """The quantiles at u of the distributions `row`, by Newton's method within a panel."""
        raise AssertionError
