"""The inverse of a distribution function, accurate in both tails."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import DataError, show_rows
from expfam_glm.numerics.arguments import Columns
from expfam_glm.numerics.cdf import tails_of
from expfam_glm.numerics.coordinate import Coordinate
from expfam_glm.numerics.inversion import quantiles
from expfam_glm.numerics.tables import Distributions
from expfam_glm.spec.family import Family

_MOST_STEPS = 100  # of Newton's method; bisection over all doubles would take 64
_SETTLED = 4e-14  # of log F
_INNER = 1e-12  # probabilities nearer to 0 or 1 are looked for from there outwards
_ROUNDING = 4 * np.finfo(float).eps


def quantile(
    family: Family,
    q: ArrayLike,
    mu: ArrayLike,
    phi: ArrayLike | None = None,
    *,
    upper: bool = False,
    weights: ArrayLike = 1.0,
    **shape: ArrayLike,
) -> np.ndarray:
    """The smallest y with P(Y ≤ y) ≥ q, or with `upper` the smallest with P(Y > y) ≤ q.

    Parameters
    ----------
    family : Family
    q : array_like
        Probabilities in [0, 1].
    mu : array_like, response scale
    phi : array_like, optional
    upper : bool
    weights : array_like
    **shape : array_like

    Returns
    -------
    ndarray
        On the scale of the mean.

    Raises
    ------
    ArgumentError
        If the family has no density, or φ is free and not given.
    DataError
        If a probability lies outside [0, 1], or a mean, dispersion or weight is not one that the
        family can have.
    DeclarationError
        If the probabilities of a declared family do not add up to one.

    Notes
    -----
    Continuous families: Newton's method on log F or log(1 − F), whichever tail is the smaller,
    from the tabulated quantile on. Discrete families: the tabulated quantile, moved until it is
    the smallest one.

    Examples
    --------
    >>> from expfam_glm.spec.families import normal
    >>> float(quantile(normal, 1e-300, 0.0, 1.0).round(6))
    -37.047096
    """
    columns = Columns.of(family, q, mu, phi, weights, shape, "it has no quantiles")
    q = columns.first
    bad = ~((q >= 0) & (q <= 1))
    if np.any(bad):
        raise DataError(f"probabilities must lie in [0, 1]; found {show_rows(q, bad)}.")
    support = family.support
    least, most = support.low, support.high
    # log of the smaller tail, and whether that is the lower one
    small = q <= 0.5
    with np.errstate(divide="ignore"):
        aim = np.where(small, np.log(q), np.log1p(-q))
    below = small != upper
    y = np.where(columns.inner, np.nan, columns.mean)
    zero = q == (1.0 if upper else 0.0)
    one = q == (0.0 if upper else 1.0)
    y = np.where(columns.inner & zero, least, np.where(columns.inner & one, most, y))
    rows = np.flatnonzero(columns.inner & ~zero & ~one)
    if rows.size:
        solve = _counts if support.discrete else _points
        lower_q = (1 - q if upper else q)[rows]
        start = np.clip(lower_q, _INNER, 1 - _INNER)
        distributions, mean = columns.distributions(rows), columns.mean[rows]
        y[rows] = solve(distributions, mean, quantiles(distributions, start), aim[rows],
                        below[rows])  # fmt: skip
    return y.reshape(columns.shape)[()]


def _points(
    distributions: Distributions,
    mean: np.ndarray,
    start: np.ndarray,
    aim: np.ndarray,
    below: np.ndarray,
) -> np.ndarray:
    """Newton's method in the coordinate z, kept inside the bracket found so far."""
    coordinate = Coordinate(distributions.family.support)
    z = coordinate.z(start)
    low, high = np.full(z.shape, -np.inf), np.full(z.shape, np.inf)
    active = np.arange(z.size)
    if distributions.family.support.atom is not None:
        z = np.where(_reached(distributions, mean, coordinate.support.low, aim, below), -np.inf, z)
        active = np.flatnonzero(z > -np.inf)
    for _ in range(_MOST_STEPS):
        if active.size == 0:
            break
        part, here = distributions[active], z[active]
        y = coordinate.y(here)
        tails = tails_of(part, y, mean[active])
        sign = np.where(below[active], 1.0, -1.0)
        tail = np.where(below[active], tails[0], tails[1])
        gap = tail - aim[active]
        left, right = sign * gap <= 0, sign * gap >= 0
        low[active] = np.where(left, here, low[active])
        high[active] = np.where(right, here, high[active])
        log_g = part.log_density(y) + coordinate.log_slope(here)
        with np.errstate(all="ignore"):
            new = here - sign * gap * np.exp(tail - log_g)
        first, last = low[active], high[active]
        with np.errstate(invalid="ignore"):
            middle = np.where(np.isfinite(first + last), 0.5 * (first + last), 2 * here)
        new = np.where((new >= first) & (new <= last), new, middle)
        done = (np.abs(gap) <= _SETTLED * np.maximum(1, np.abs(aim[active]))) | (new == here)
        z[active] = np.where(done & (gap == 0), here, new)
        active = active[~done]
    return np.where(z > -np.inf, coordinate.inside(coordinate.y(z)), coordinate.support.low)


def _counts(
    distributions: Distributions,
    mean: np.ndarray,
    start: np.ndarray,
    aim: np.ndarray,
    below: np.ndarray,
) -> np.ndarray:
    """Doubling steps from the tabulated count until it is bracketed, then bisection."""
    a, support = distributions.a, distributions.family.support
    least, most = np.round(support.low / a), np.round(support.high / a)

    def reached(rows: np.ndarray, count: np.ndarray) -> np.ndarray:
        part = distributions[rows]
        return _reached(part, mean[rows], count * a[rows], aim[rows], below[rows])

    start = np.round(start / a)
    enough = reached(np.arange(start.size), start)
    low, high = np.where(enough, least - 1, start), np.where(enough, start, most)
    step, both = np.ones(start.shape), np.zeros(start.shape, bool)
    active = np.flatnonzero(high - low > 1)  # `high` is enough, `low` is not
    while active.size:
        first, last, outwards = low[active], high[active], step[active]
        with np.errstate(invalid="ignore"):
            middle = np.floor(0.5 * (first + last))
        beside = np.where(enough[active], last - outwards, first + outwards)
        tried = np.where(both[active], middle, np.clip(beside, first + 1, last - 1))
        found = reached(active, tried)
        low[active], high[active] = np.where(found, first, tried), np.where(found, tried, last)
        both[active] |= found != enough[active]
        step[active] *= 2
        active = active[high[active] - low[active] > 1]
    return high * a


def _reached(
    distributions: Distributions,
    mean: np.ndarray,
    y: np.ndarray | float,
    aim: np.ndarray,
    below: np.ndarray,
) -> np.ndarray:
    """Whether the distribution functions at y are as large as aimed for, up to rounding."""
    y = np.broadcast_to(y, mean.shape)
    lower, upper = tails_of(distributions, y, mean)
    slack = _ROUNDING * np.maximum(1, np.abs(aim))
    return np.where(below, lower >= aim - slack, upper <= aim + slack)
