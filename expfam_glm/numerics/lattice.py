"""Discrete families, y/a an integer: sums of probabilities between bounds of the tails."""

from __future__ import annotations

import numpy as np

from expfam_glm.errors import DataError, DeclarationError
from expfam_glm.numerics.tables import (
    LOG_TAIL,
    Distributions,
    blocks,
    refuse_mass,
    whole_count,
)

_SCALES = 2.0 ** np.arange(-16, 1)
_FAR_SCALES = 2.0 ** np.arange(1, 64, 2)  # towards a finite end of the θ-domain
_REFINED = 2.0 ** np.array([0.25, 0.5, 0.75, 1.0, 1.5, 2.0])
_FARTHEST = 2048.0  # of a tilt: a factor e²⁰⁴⁸ from one point of the lattice to the next
_MOST = 2**25  # points of one distribution
_NOTHING = -1e5  # of a log-probability: its tail is taken to be zero
_AT_ONCE = 2**13


class Lattice:
    """m discrete distributions, and where their mass is."""

    def __init__(self, distributions: Distributions) -> None:
        self.distributions = distributions
        parts = [slice(k, k + _AT_ONCE) for k in range(0, len(distributions), _AT_ONCE)]
        counts = [counts_between(distributions[part]) for part in parts]
        self.low, high = (np.concatenate(ends) for ends in zip(*counts, strict=True))
        self.sizes = _spans(distributions, self.low, high)

    def table(self, rows: slice) -> LatticeTable:
        """The distribution functions of some of them."""
        return LatticeTable(self.distributions[rows], self.low[rows], self.sizes[rows])


class LatticeTable:
    """The distribution functions of m discrete distributions."""

    def __init__(self, distributions: Distributions, low: np.ndarray, spans: np.ndarray) -> None:
        self.a, self.low = distributions.a, low
        self.starts = np.concatenate([[0], np.cumsum(spans)]).astype(np.int64)
        self.keys = np.empty(self.starts[-1])
        self.mass = np.empty(spans.size)
        for rows in blocks(spans):
            density, inside = _density(distributions[rows], low[rows], spans[rows])
            cumulative = np.cumsum(np.exp(density, out=density), axis=0)
            self.mass[rows] = cumulative[-1]
            cumulative /= cumulative[-1]  # rounding in b(θ) is common to a distribution
            cumulative += rows
            places = self.starts[rows] + np.arange(density.shape[0])[:, None]
            self.keys[places[inside]] = cumulative[inside]
        refuse_mass(distributions, self.mass)

    def find(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """The smallest y of the distributions `row` with F(y) ≥ u."""
        place = np.searchsorted(self.keys, row + u)
        place = np.clip(place, self.starts[row], self.starts[row + 1] - 1)
        return (self.low[row] + (place - self.starts[row])) * self.a[row]


def counts_between(distributions: Distributions) -> tuple[np.ndarray, np.ndarray]:
    """Counts y/a below and above which less than e⁻³⁸ of the mass lies."""
    level = np.full(len(distributions), -LOG_TAIL)
    return _reach(distributions, -1, level), _reach(distributions, 1, level)


def _reach(distributions: Distributions, sign: int, level: np.ndarray) -> np.ndarray:
    """The count y/a beyond which, on one side, less than e^−level of the mass lies.

    Chernoff's bound of the tail from y = b′(θ + t) on is exp{−[tb′(θ + t) − b(θ + t) + b(θ)]/a},
    so that t is enlarged until the bound is there.
    """
    family, theta, a = distributions.family, distributions.theta, distributions.a
    _, sd = distributions.moments()
    edge = np.round((family.support.high if sign > 0 else family.support.low) / a)
    end = family.theta_domain.high if sign > 0 else family.theta_domain.low
    base, _ = distributions.cumulant(theta)

    def bound(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            if np.isfinite(end):
                room = np.abs(end - theta)
                t = t * (room / (room + t))
            value, mean = distributions.cumulant(theta + sign * t)
            reached = (sign * t * mean - value + base) / a >= level
            return reached & np.isfinite(mean), mean

    with np.errstate(over="ignore"):
        normal = np.sqrt(2 * level) * a / sd  # exact for a normal tail
    scales = _SCALES if np.isinf(end) else np.concatenate([_SCALES, _FAR_SCALES])
    t = np.minimum(64 * normal, _FARTHEST) * scales[:, None]
    reached, _ = bound(t)
    found, columns = reached.any(axis=0), np.arange(theta.size)
    before = t[np.maximum(np.argmax(reached, axis=0) - 1, 0), columns]
    reached, mean = bound(before * _REFINED[:, None])
    closer = np.where(reached.any(axis=0), np.argmax(reached, axis=0), _REFINED.size - 1)
    with np.errstate(invalid="ignore"):
        count = mean[closer, columns] / a
        count = whole_count(count) if sign < 0 else -whole_count(-count)
    count = np.where(found & np.isfinite(count), count, sign * np.inf)
    count = np.minimum(count, edge) if sign > 0 else np.maximum(count, edge)
    lost = ~np.isfinite(count)
    if np.any(lost):
        raise DeclarationError(
            f"family {family.name!r} has a tail without bound at θ = "
            f"{theta[np.argmax(lost)]:.6g}; θ must lie inside the θ-domain {family.theta_domain}."
        )
    return count


def _spans(distributions: Distributions, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How many points lie from low to high; refused where a table of them has no room."""
    spans = np.maximum(high - low + 1, 0)
    wide = spans > _MOST
    if np.any(wide):
        k = int(np.argmax(wide))
        raise DataError(
            f"family {distributions.family.name!r} spreads over {spans[k]:.3g} counts at mean "
            f"{distributions.moments()[0][k]:.6g}, too many to add up (at most {_MOST}); a "
            "continuous family describes such data as well."
        )
    return spans.astype(np.int64)


def _density(
    distributions: Distributions, low: np.ndarray, spans: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """log f at the counts from low on (k, m), −∞ from span on; and where it is inside."""
    steps = np.arange(spans.max())[:, None]
    inside = steps < spans
    y = (low + steps) * distributions.a
    return np.where(inside, distributions.log_density(y), -np.inf), inside


def lattice_tails(distributions: Distributions, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log P(Y ≤ y) and log P(Y > y) of each distribution, each to full relative precision."""
    support, a = distributions.family.support, distributions.a
    least, most = np.round(support.low / a), np.round(support.high / a)
    last = np.clip(whole_count(y / a), least - 1, most)
    last = np.clip(last, -(2.0**62), 2.0**62)
    mean = distributions.moments()[0] / a
    low, high = counts_between(distributions)
    logs = []
    for sign, edge in ((-1, last), (1, last + 1)):
        near = np.clip(edge, least, most)
        log_edge = distributions.log_density(near * a)
        outer = sign * (edge - mean) > 0  # the tail does not hold the bulk
        nothing = outer & ~(log_edge > _NOTHING)
        extra = np.where(outer & ~nothing, -log_edge, 0.0)
        farthest = low if sign < 0 else high
        if np.any(extra > 0):
            farthest = farthest.copy()
            deep = np.flatnonzero(extra > 0)
            farthest[deep] = _reach(distributions[deep], sign, extra[deep] - LOG_TAIL)
        if sign < 0:
            begin, end = farthest, np.minimum(edge, high)
        else:
            begin, end = np.maximum(edge, low), farthest
        end = np.where(nothing, begin - 1, end)
        logs.append(_log_sum(distributions, begin, end))
    return logs[0], logs[1]


def _log_sum(distributions: Distributions, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """log Σ f over the counts from begin to end; −∞ where there are none."""
    spans = _spans(distributions, begin, end)
    value = np.full(spans.shape, -np.inf)
    for rows in blocks(spans):
        rows = rows[spans[rows] > 0]
        if rows.size:
            density, _ = _density(distributions[rows], begin[rows], spans[rows])
            top = np.max(density, axis=0)
            shift = np.where(np.isfinite(top), top, 0.0)
            with np.errstate(divide="ignore"):
                value[rows] = shift + np.log(np.sum(np.exp(density - shift), axis=0))
    return value
