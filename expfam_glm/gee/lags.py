"""Products of residuals by their distance in time, and the AR(1) parameter that fits them best."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import brentq

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters

# The regular grid of times (clusters × instants) may have this many cells a row of the data.
_CELLS = 32
_NEAR_WHOLE = 1e-10
_SHORT = 64  # series up to this length are multiplied out, longer ones Fourier transformed
_SCAN = 64  # trial values of the decay in the search for the best neighbourhood
_BINS = 512  # groups of distances in that search, where distances are many
_FASTEST = 40.0  # e⁻⁴⁰ is zero beside any product
_SLOWEST = 1e-4


class Lags(NamedTuple):
    """The distances d between rows of a cluster, how many pairs have each, and their products."""

    distance: np.ndarray  # (m,) positive, ascending
    number: np.ndarray  # (m,)
    products: Callable[[np.ndarray], np.ndarray]  # residuals (n,) -> Σ r_i r_j of each distance
    whole: bool  # all distances are integers


def lags_of(clusters: Clusters) -> Lags:
    """The distances in time between all pairs of rows that share a cluster."""
    gaps = clusters.gaps[np.isfinite(clusters.gaps)]
    if gaps.size == 0:
        return Lags(np.empty(0), np.empty(0), lambda r: np.empty(0), True)
    whole = bool(np.all(gaps == np.rint(gaps)))
    unit = float(np.gcd.reduce(gaps.astype(np.int64))) if whole else float(gaps.min())
    steps = gaps / unit
    if whole or bool(np.all(np.abs(steps - np.rint(steps)) <= _NEAR_WHOLE * steps.max())):
        start = np.repeat(clusters.instants[clusters.starts], clusters.sizes)
        cells = np.rint((clusters.instants - start) / unit)
        length = int(cells.max()) + 1
        if clusters.count * length <= _CELLS * cells.shape[0] + 1024:
            return _on_grid(clusters, cells.astype(np.intp), length, unit, whole)
    return _by_pairs(clusters, whole)


def _on_grid(clusters: Clusters, cells: np.ndarray, length: int, unit: float, whole: bool) -> Lags:
    """Regular times: autocovariances of series that are zero where nothing was observed."""
    flat = clusters.cluster * length + cells

    def products(r: np.ndarray) -> np.ndarray:
        series = np.zeros(clusters.count * length)
        series[flat] = r
        return _autocovariances(series.reshape(clusters.count, length))

    counts = np.rint(products(np.ones(flat.shape[0])))
    seen = counts > 0
    distance = unit * np.arange(1, length)
    return Lags(distance[seen], counts[seen], lambda r: products(r)[seen], whole)


def _autocovariances(series: np.ndarray) -> np.ndarray:
    """Σ over clusters and t of z_t z_(t+d) for d = 1, 2, …, from zero-filled series (K, length)."""
    length = series.shape[1]
    if length <= _SHORT:
        steps = np.arange(length)
        lags = np.abs(steps[:, None] - steps)
        return np.bincount(lags.reshape(-1), (series.T @ series).reshape(-1))[1:] / 2
    size = next_fast_len(2 * length, real=True)
    waves = rfft(series, size, axis=1)
    return irfft(np.sum(waves.real**2 + waves.imag**2, axis=0), size)[1:length]


def _by_pairs(clusters: Clusters, whole: bool) -> Lags:
    """Irregular times: all pairs, listed by how many rows lie between them."""
    to_come = np.repeat(clusters.sizes, clusters.sizes) - clusters.position
    rows = np.searchsorted(-clusters.sizes, -np.arange(1, clusters.largest), side="left")
    ends = np.append(clusters.starts, clusters.order.shape[0])[rows]  # rows of clusters > step
    first = [
        np.flatnonzero(to_come[:end] > step).astype(np.int32) for step, end in enumerate(ends, 1)
    ]
    second = np.concatenate([rows + step for step, rows in enumerate(first, 1)])
    one = np.concatenate(first)
    distance = clusters.instants[second] - clusters.instants[one]
    order = np.argsort(distance)
    one, second, distance = one[order], second[order], distance[order]
    starts = np.flatnonzero(np.diff(distance, prepend=-np.inf) > 0)
    return Lags(
        distance[starts],
        np.diff(starts, append=distance.shape[0]).astype(float),
        lambda r: np.add.reduceat(r[one] * r[second], starts),
        whole,
    )


def best_decay(lags: Lags, products: np.ndarray) -> float:
    """The rate u of the α = e^−u that minimises Σ over pairs of (r_i r_j/φ − α^d)².

    A rate keeps its digits in any unit of time, where α itself is all but 0 or 1.

    Parameters
    ----------
    lags : Lags
    products : ndarray (m,)
        Σ r_i r_j/φ of each distance.

    Returns
    -------
    float
        −log α, positive; +log(−α) for a negative α, which needs whole distances. α is a root of
        Σ d α^(d−1) (r_i r_j/φ − α^d) = 0, or 0 (infinite rate) where no positive α fits better.

    Raises
    ------
    CorrelationError
        If the sum still falls at α = 1 or −1.
    """
    rate, loss = _branch(lags, products)
    sign = 1.0
    if lags.whole:
        signs = np.where(lags.distance % 2 == 0, 1.0, -1.0)
        mirrored, mirrored_loss = _branch(lags, products * signs)
        if mirrored_loss < loss:
            rate, sign = mirrored, -1.0
    if rate == 0:
        raise CorrelationError(
            f"the residuals are too alike for an AR(1) working correlation: its alpha would reach "
            f"{sign:+.0f}, where the matrix is not positive definite (|alpha| < 1 is needed). "
            "Use correlation='exchangeable', or add what the mean model lacks."
        )
    return sign * rate


def _branch(lags: Lags, products: np.ndarray) -> tuple[float, float]:
    """The best rate for α in [0, 1], and its loss less the loss at α = 0."""
    d, n = lags.distance, lags.number

    def near(u: float) -> tuple[np.ndarray, ...]:  # beyond, α^d is zero beside any product
        m = np.searchsorted(d, _FASTEST / u) if u > 0 else d.shape[0]
        return d[:m], n[:m], products[:m], np.exp(-u * d[:m])

    def loss(u: float) -> float:
        _, number, S, power = near(u)
        return float(np.sum(power * (number * power - 2 * S)))

    def slope(u: float) -> float:  # has the sign of −d loss/du
        distance, number, S, power = near(u)
        return float(np.sum(distance * power * (number * power - S)))

    low, high = _neighbourhood(lags, products)
    while low > 0 and slope(low) <= 0:
        low, high = (low / 4 if low * d[-1] > _SLOWEST / 16 else 0.0), low
    if low == 0 and slope(0.0) <= 0:
        return 0.0, loss(0.0)
    while slope(high) >= 0:
        low, high = high, 2 * high
        if high * d[0] > 2 * _FASTEST:
            return np.inf, 0.0
    u = brentq(slope, low, high, xtol=1e-300, rtol=4 * np.finfo(float).eps)
    best = loss(u)
    return (u, best) if best < 0 else (np.inf, 0.0)


def _neighbourhood(lags: Lags, products: np.ndarray) -> tuple[float, float]:
    """An interval of u about the best of a few trial values, from distances in bins."""
    d, n, S = lags.distance, lags.number, products
    if not lags.whole and d.shape[0] > 4 * _BINS:
        starts = np.linspace(0, d.shape[0], _BINS, endpoint=False, dtype=np.intp)
        n, S, d = (np.add.reduceat(values, starts) for values in (n, S, d * n))
        d = d / n
    trial = np.geomspace(_SLOWEST / d[-1], _FASTEST / d[0], _SCAN)
    power = np.exp(-trial[:, None] * d)
    losses = np.sum(power * (n * power - 2 * S), axis=1)
    best = int(np.argmin(losses))
    low = trial[best - 1] if best > 0 else 0.0
    return float(low), float(trial[min(best + 1, _SCAN - 1)])
