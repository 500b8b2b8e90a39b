"""Quantiles of discrete families, y/a an integer: cumulative sums between Chernoff bounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from expfam_glm.errors import DeclarationError
from expfam_glm.numerics.tables import (
    ENTRIES,
    LOG_TAIL,
    Distributions,
    Search,
    refuse_mass,
    search_rows,
)

_FARTHEST = 1e9  # standard deviations; a tail that reaches beyond has no moments to speak of


def lattice(distributions: Distributions) -> Iterator[tuple[slice, Search]]:
    """Neighbouring distributions with one a, and the search in their cumulative sums."""
    low, high = _counts(distributions)
    begin, m = 0, low.size
    while begin < m:
        own = high[begin] - low[begin] + 1
        near = slice(begin, begin + int(max(1, ENTRIES // (2 * own))))
        span = np.maximum.accumulate(high[near]) - np.minimum.accumulate(low[near]) + 1
        same = (distributions.a[near] == distributions.a[begin]) & (span <= 2 * own)
        size = same.size if same.all() else int(np.argmin(same))
        rows = slice(begin, begin + size)
        yield rows, _latticesearch_rows(distributions[rows], low[rows].min(), high[rows].max())
        begin += size


def _latticesearch_rows(distributions: Distributions, low: float, high: float) -> Search:
    """Search in the cumulative sums over the counts from low to high."""
    y = np.arange(low, high + 1) * distributions.a[0]
    cumulative = np.cumsum(np.exp(distributions.log_density(y[None, :])), axis=1)
    refuse_mass(distributions, cumulative[:, -1])
    cumulative /= cumulative[:, -1:]  # rounding in b(θ) is common to a row
    return lambda row, u: y[search_rows(cumulative, row, u)]


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
            done = beyond | (_log_tail(distributions[active], tried, sign) <= LOG_TAIL)
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
        rise = np.asarray(family.cumulant(theta + sign * t, **shapes)) - np.asarray(
            family.cumulant(theta, **shapes)
        )
        bound = (rise - sign * t * y[:, None]) / a[:, None]
    return np.min(np.where(np.isnan(bound), np.inf, bound), axis=1)
