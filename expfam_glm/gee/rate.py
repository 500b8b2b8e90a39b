"""The AR(1) parameter that fits the products of residuals best.

α = e^−u minimises Σ over pairs of (r_i r_j/φ − α^d)² with d = abs(t_i − t_j). Up to a constant that
sum is Σ α^d (α^d − 2 r_i r_j/φ). A rate keeps its digits in any unit of time, where α itself is all
but 0 or 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from scipy.optimize import brentq

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.lags import Lags

_SCAN = 64  # trial values of the rate in the search for the best neighbourhood
_BINS = 512  # groups of distances in that search, where distances are many
_FASTEST = 40.0  # e⁻⁴⁰ is zero beside any product
_SLOWEST = 1e-4
_SAMPLE = 1 << 14  # rows of irregular times on which that search is made
_BLOCK = 1 << 13  # rows of irregular times summed at once


class Misfit(ABC):
    """The sum of squares as a function of the rate u, for α > 0."""

    nearest: float  # the shortest distance between rows of a cluster
    farthest: float

    @abstractmethod
    def loss(self, u: float) -> float:
        """Σ α^d (α^d − 2 r_i r_j/φ)."""

    @abstractmethod
    def slope(self, u: float) -> float:
        """Σ d α^d (α^d − r_i r_j/φ), which has the sign of −d loss/du."""

    @abstractmethod
    def trials(self, rates: np.ndarray) -> np.ndarray:
        """The loss at several rates, well enough to see which is best."""


class OnLags(Misfit):
    """Few distances: products of residuals are summed over the pairs at each."""

    def __init__(self, lags: Lags, products: np.ndarray) -> None:
        self.lags = lags
        self.products = products  # Σ r_i r_j/φ at each distance
        self.nearest, self.farthest = float(lags.distance[0]), float(lags.distance[-1])

    def _near(self, u: float) -> tuple[np.ndarray, ...]:
        """What is not yet zero: beyond, α^d is zero beside any product."""
        d, n, _, _ = self.lags
        m = np.searchsorted(d, _FASTEST / u) if u > 0 else d.shape[0]
        return d[:m], n[:m], self.products[:m], np.exp(-u * d[:m])

    def loss(self, u: float) -> float:
        _, number, S, power = self._near(u)
        return float(np.sum(power * (number * power - 2 * S)))

    def slope(self, u: float) -> float:
        distance, number, S, power = self._near(u)
        return float(np.sum(distance * power * (number * power - S)))

    def trials(self, rates: np.ndarray) -> np.ndarray:
        d, n, S = self.lags.distance, self.lags.number, self.products
        if not self.lags.whole and d.shape[0] > 4 * _BINS:
            starts = np.linspace(0, d.shape[0], _BINS, endpoint=False, dtype=np.intp)
            n, S, d = (np.add.reduceat(values, starts) for values in (n, S, d * n))
            d = d / n
        power = np.exp(-rates[:, None] * d)
        return np.sum(power * (n * power - 2 * S), axis=1)


class Chains:
    """Irregular times: sums over all pairs of a cluster by recursion along its rows.

    H_j = Σ_{i ≤ j} e^−ud r_i and G_j = Σ_{i ≤ j} d e^−ud r_i, with d = t_j − t_i, follow from those
    of the row before. Rows are joined in pairs, pairs of pairs and so on, so that each stage is one
    NumPy call.
    """

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self.pieces = clusters.pieces(_BLOCK)
        gaps = clusters.gaps
        self.nearest = float(gaps.min())
        reach = np.maximum.reduceat(clusters.instants, clusters.starts)
        self.farthest = float(np.max(reach - clusters.instants[clusters.starts]))

    @cached_property
    def sample(self) -> Chains:
        """Evenly chosen clusters, enough to see where the best rate lies."""
        clusters = self.clusters
        step = clusters.order.shape[0] // _SAMPLE
        if step < 2:
            return self
        chosen = np.arange(0, clusters.count, step)
        rows = np.flatnonzero(np.isin(clusters.cluster, chosen))
        sizes = clusters.sizes[chosen]
        assert clusters.time is not None
        part = Chains(
            Clusters(rows, sizes, np.cumsum(sizes) - sizes, chosen, clusters.time[rows], None)
        )
        return part

    def sums(self, u: float, r: np.ndarray | None) -> tuple[float, float]:
        """Σ e^−ud r_i r_j and Σ d e^−ud r_i r_j over pairs; r of ones if none is given."""
        totals = np.zeros(2)
        for piece in self.pieces:
            own = np.ones(piece.rows.stop - piece.rows.start) if r is None else r[piece.rows]
            H, G = self.recursion(u, own, piece.rows, int(piece.sizes[0]))
            totals += [own @ (H - own), own @ G]
        return float(totals[0]), float(totals[1])

    def recursion(
        self, u: float, r: np.ndarray, rows: slice, longest: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """H and G on rows of whole clusters of at most `longest` rows."""
        gaps = self.clusters.gaps[rows]
        later = np.isfinite(gaps)
        span = np.where(later, gaps, 0.0)
        fade = np.where(later, np.exp(-u * span), 0.0)  # nothing crosses into another cluster
        H, G = r.copy(), np.zeros_like(r)
        step = 1
        while step < longest and fade.any():
            before, after = slice(None, -step), slice(step, None)
            G[after] += fade[after] * (G[before] + span[after] * H[before])
            H[after] += fade[after] * H[before]
            span[after] += span[before]  # a copy is read where both overlap
            fade[after] *= fade[before]
            step *= 2
        return H, G


class OnChains(Misfit):
    """Irregular times, on which no two pairs need have the same distance."""

    def __init__(self, chains: Chains, r: np.ndarray, gain: float) -> None:
        self.chains = chains
        self.r = r
        self.gain = gain  # what turns r_i r_j into r_i r_j/φ
        self.nearest, self.farthest = chains.nearest, chains.farthest

    def loss(self, u: float) -> float:
        return self.chains.sums(2 * u, None)[0] - 2 * self.gain * self.chains.sums(u, self.r)[0]

    def slope(self, u: float) -> float:
        return self.chains.sums(2 * u, None)[1] - self.gain * self.chains.sums(u, self.r)[1]

    def trials(self, rates: np.ndarray) -> np.ndarray:
        sample = self.chains.sample
        r = self.r if sample is self.chains else self.r[sample.clusters.order]
        part = OnChains(sample, r, self.gain)
        return np.array([part.loss(float(u)) for u in rates])


def best_rate(misfit: Misfit, mirrored: Misfit | None) -> float:
    """The rate u of the α = e^−u that minimises Σ over pairs of (r_i r_j/φ − α^d)².

    Parameters
    ----------
    misfit : Misfit
    mirrored : Misfit or None
        The same with (−1)^d r_i r_j for r_i r_j, where all distances are whole.

    Returns
    -------
    float
        −log α, positive; +log(−α) for a negative α. It solves Σ d α^(d−1) (r_i r_j/φ − α^d) = 0,
        or α is 0 (an infinite rate) where no positive one fits better.

    Raises
    ------
    CorrelationError
        If the sum still falls at α = 1 or −1.
    """
    rate, loss = _branch(misfit)
    sign = 1.0
    if mirrored is not None:
        mirrored_rate, mirrored_loss = _branch(mirrored)
        if mirrored_loss < loss:
            rate, sign = mirrored_rate, -1.0
    if rate == 0:
        raise CorrelationError(
            f"the residuals are too alike for an AR(1) working correlation: its alpha would reach "
            f"{sign:+.0f}, where the matrix is not positive definite (|alpha| < 1 is needed). "
            "Use correlation='exchangeable', or add what the mean model lacks."
        )
    return sign * rate


def _branch(misfit: Misfit) -> tuple[float, float]:
    """The best rate for α in [0, 1], and its loss less the loss at α = 0."""
    trial = np.geomspace(_SLOWEST / misfit.farthest, _FASTEST / misfit.nearest, _SCAN)
    best = int(np.argmin(misfit.trials(trial)))
    low = float(trial[best - 1]) if best > 0 else 0.0
    high = float(trial[min(best + 1, _SCAN - 1)])
    while low > 0 and misfit.slope(low) <= 0:
        low, high = (low / 4 if low * misfit.farthest > _SLOWEST / 16 else 0.0), low
    if low == 0 and misfit.slope(0.0) <= 0:
        return 0.0, misfit.loss(0.0)
    while misfit.slope(high) >= 0:
        low, high = high, 2 * high
        if high * misfit.nearest > 2 * _FASTEST:
            return np.inf, 0.0
    u = brentq(misfit.slope, low, high, xtol=1e-300, rtol=4 * np.finfo(float).eps)
    best_loss = misfit.loss(u)
    return (u, best_loss) if best_loss < 0 else (np.inf, 0.0)
