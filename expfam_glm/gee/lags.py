"""Distances in time between the rows of a cluster, and products of residuals at each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.whole import MANY

# The regular grid of times (clusters × instants) may have this many cells a row of the data.
_CELLS = 32
_NEAR_WHOLE = 1e-10
_EXACT = 2.0**53  # whole numbers below are exact
_SHORT = 64  # series up to this length are multiplied out, longer ones Fourier transformed
_WIDE = 1 << 18  # cells of the grid laid out at once
_MOST_PAIRS = 1 << 24  # of the rows of one batch, listed at once


class Lags(NamedTuple):
    """The distances d between rows of a cluster, how many pairs have each, and their products."""

    distance: np.ndarray  # (m,) positive, ascending
    number: np.ndarray  # (m,)
    products: Callable[[np.ndarray], np.ndarray]  # residuals (n,) -> Σ r_i r_j of each distance
    whole: bool  # all distances are integers


def unit_of(clusters: Clusters) -> tuple[float, bool]:
    """The step of time, and whether all distances within clusters are multiples of it."""
    gaps = clusters.steps
    if gaps.size == 0:
        return 1.0, True
    if bool(np.all(gaps == np.rint(gaps))) and gaps.max() < _EXACT:
        return float(np.gcd.reduce(gaps.astype(np.int64))), True
    unit = float(gaps.min())
    steps = gaps / unit
    whole = np.rint(steps)
    return unit, bool(np.all(np.abs(steps - whole) <= _NEAR_WHOLE * steps.max()))


def grid_of(clusters: Clusters) -> Lags | None:
    """The distances within clusters, if the times lie on a grid that is not too sparse."""
    unit, regular = unit_of(clusters)
    if clusters.largest == 1:
        return Lags(np.empty(0), np.empty(0), lambda r: np.empty(0), True)
    if not regular:
        return None
    steps = (clusters.instants - clusters.spread(clusters.instants[clusters.starts])) / unit
    length = int(steps.max()) + 1 if steps.max() < _EXACT else 0
    if not 0 < length <= (_CELLS * steps.shape[0] + 1024) / clusters.count:
        return None
    return _on_grid(clusters, np.rint(steps).astype(np.intp), length, unit, unit % 1 == 0)


def lags_among(clusters: Clusters) -> Lags:
    """The distances between rows of all clusters; products are over those that are at hand."""
    whole = clusters.of
    if whole is None:
        return lags_of(clusters)
    own = _of_batch(clusters)
    if whole.counted is None:  # these are to be found yet
        return own
    known = whole.counted
    at = np.searchsorted(known.keys, own.distance)

    def products(r: np.ndarray) -> np.ndarray:
        total = np.zeros(known.keys.shape[0])
        total[at] = own.products(r)
        return total

    return Lags(known.keys, known.numbers, products, own.whole)


def _of_batch(clusters: Clusters) -> Lags:
    """The distances of some clusters, equal where they are so in other batches."""
    assert clusters.of is not None
    unit, regular = unit_of(clusters)
    lags = grid_of(clusters)
    if lags is None:
        if clusters.pairs > _MOST_PAIRS or (not regular and clusters.of.spans.values is None):
            refuse_many()
        lags = _by_pairs(clusters, unit % 1 == 0)
    distance, at = lags.distance, np.arange(lags.distance.shape[0])
    if regular:
        distance, at = np.unique(unit * np.rint(distance / unit), return_inverse=True)
    return Lags(
        distance,
        np.bincount(at, lags.number, distance.shape[0]),
        lambda r: np.bincount(at, lags.products(r), distance.shape[0]),
        lags.whole,
    )


def refuse_many() -> NoReturn:
    """More distances than can be held, though each has a sum of its own."""
    raise CorrelationError(
        f"there are too many distances in time between the rows of a cluster (more than {MANY}). "
        "In data that are read in batches the products of residuals are added up for each of "
        "them: round the times to a grid, use correlation='exchangeable', or read the data into a "
        "data frame."
    )


def lags_of(clusters: Clusters) -> Lags:
    """The distances in time between all pairs of rows that share a cluster."""
    lags = grid_of(clusters)
    return _by_pairs(clusters, unit_of(clusters)[0] % 1 == 0) if lags is None else lags


def _on_grid(clusters: Clusters, cells: np.ndarray, length: int, unit: float, whole: bool) -> Lags:
    """Regular times: autocovariances of series that are zero where nothing was observed."""
    full = clusters.sizes[-1] == length
    most = max(1, _WIDE // length) * clusters.largest
    pieces = clusters.pieces(min(most, _WIDE))

    def products(r: np.ndarray) -> np.ndarray:
        total = np.zeros(length - 1)
        for piece in pieces:
            count = piece.sizes.shape[0]
            if full:
                series = r[piece.rows]
            else:
                series = np.zeros(count * length)
                own = np.repeat(length * np.arange(count), piece.sizes)
                series[own + cells[piece.rows]] = r[piece.rows]
            total += _autocovariances(series.reshape(count, length))
        return total

    counts = np.rint(products(np.ones(cells.shape[0])))
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
