"""AR(1): a correlation that fades with the distance in time, a Markov chain within clusters."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.lags import Lags, grid_of, lags_among
from expfam_glm.gee.pieces import Piece
from expfam_glm.gee.rate import Chains, OnChains, OnLags, best_rate
from expfam_glm.gee.structures import Root, Shown, Structure, average
from expfam_glm.gee.whole import Counted

_STEP = 1e-5  # relative, for Σ d² e^−ud as the slope of Σ d e^−ud


class DecayRoot(Root):
    """T z = (z_i − ρ_i z_{i−1})/√(1 − ρ_i²) with ρ_i = α^(t_i − t_{i−1}), 0 on a first row."""

    def __init__(self, rho: np.ndarray, rest: np.ndarray) -> None:
        self.scale = 1 / np.sqrt(rest)
        self.carried = rho  # ρ_i √(1 − ρ_{i−1}²)/√(1 − ρ_i²), for rows that are scaled before
        self.carried[1:] *= self.scale[1:] * np.sqrt(rest[:-1])

    def whiten(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        carried = self.carried[piece.rows]
        columns[:, 1:] -= carried[1:] * columns[:, :-1]  # the product is complete before
        return columns

    def precision(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        z = self.whiten(columns * self.scaled(piece), piece)
        z[:, :-1] -= self.carried[piece.rows][1:] * z[:, 1:]
        z *= self.scaled(piece)
        return z


class Decay(Structure):
    """AR(1): α^|t_i − t_j|.

    The parameter is the rate u with α = e^−u, negative for a negative α = −e^−|u|.
    """

    alpha_dims = ()

    @cached_property
    def _grid(self) -> Lags | None:
        """Distances and their products, if the times are regular or their sums must add up."""
        return lags_among(self.clusters) if self.clusters.of is not None else grid_of(self.clusters)

    @cached_property
    def _chains(self) -> Chains:
        return Chains(self.clusters)

    @cached_property
    def whole(self) -> bool:
        """Whether all distances are integers, so that a negative α has a meaning."""
        steps = self.clusters.steps
        return bool(np.all(steps == np.rint(steps)))

    @cached_property
    def _signs(self) -> np.ndarray:
        """(−1)^(t − first t of the cluster), with which r_i r_j becomes (−1)^d r_i r_j."""
        clusters = self.clusters
        since = clusters.instants - clusters.spread(clusters.instants[clusters.starts])
        return 1.0 - 2.0 * (np.rint(since) % 2)

    @cached_property
    def _odd(self) -> np.ndarray:
        """Rows an odd time after the one before, where a negative α keeps its sign."""
        gaps = self.clusters.gaps
        return np.flatnonzero(np.where(np.isfinite(gaps), gaps, 0) % 2 == 1)

    def counted(self) -> Counted:
        grid = self._grid
        assert grid is not None
        return Counted(grid.distance, grid.number)

    def pair_sums(self, r: np.ndarray) -> np.ndarray:
        return r if self._grid is None else self._grid.products(r)

    def estimate(self, sums: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        pairs, grid = self.clusters.totals.pairs, self._grid
        average("AR(1)", np.zeros(()), np.array(pairs), dispersion, lost)
        gain = pairs / (pairs - lost) / dispersion
        if grid is None:
            misfit = OnChains(self._chains, sums, gain)
            mirrored = OnChains(self._chains, sums * self._signs, gain) if self.whole else None
            return np.array(best_rate(misfit, mirrored))
        products = sums * gain
        if not self.whole:
            return np.array(best_rate(OnLags(grid, products), None))
        mirror = np.where(grid.distance % 2 == 0, products, -products)
        return np.array(best_rate(OnLags(grid, products), OnLags(grid, mirror)))

    def alpha(self, parameter: np.ndarray) -> np.ndarray:
        return np.copysign(np.exp(-np.abs(parameter)), parameter)

    def given_alpha(self, alpha: ArrayLike) -> np.ndarray:
        value = super().given_alpha(alpha)
        low = -1 if self.whole else 0
        if not (low < value < 1 or value == 0):
            raise CorrelationError(
                f"the AR(1) working correlation needs {low} < alpha < 1"
                f"{'' if self.whole else ' (0 included) between real times'}; got {value:g}."
            )
        with np.errstate(divide="ignore"):
            return np.copysign(-np.log(np.abs(value)), value)

    def smooth(self, parameter: np.ndarray) -> bool:
        return bool(np.isfinite(parameter))

    def _moments(self, u: float, r: np.ndarray) -> np.ndarray:
        """(K, 1) Σ d e^−ud r_i r_j over the pairs of each cluster."""
        found = np.empty(self.clusters.count)
        for piece in self._chains.pieces:
            own = r[piece.rows]
            _, G = self._chains.recursion(u, own, piece.rows, int(piece.sizes[0]))
            found[piece.clusters] = piece.sums(own * G)
        return found[:, None]

    def products(self, parameter: np.ndarray, r: np.ndarray) -> np.ndarray:
        signed = r * self._signs if parameter < 0 else r
        return self._moments(abs(float(parameter)), signed) / self.alpha(parameter)

    def expected(self, parameter: np.ndarray) -> np.ndarray:
        ones = np.ones(self.clusters.order.shape[0])
        return self._moments(2 * abs(float(parameter)), ones) / self.alpha(parameter)

    def curvature(self, parameter: np.ndarray) -> np.ndarray:
        u = 2 * abs(float(parameter))
        low, high = (self._chains.sums(u * (1 + s), None)[1] for s in (-_STEP, _STEP))
        return np.array([[(low - high) / (2 * _STEP * u) / float(self.alpha(parameter)) ** 2]])

    def remark(self, parameter: np.ndarray) -> str:
        if np.isfinite(parameter) or self.whole:
            return ""
        return (
            "the AR(1) alpha is at its bound 0: neighbours in time are not positively correlated, "
            "and between real times alpha cannot be negative."
        )

    def root(self, parameter: np.ndarray) -> Root:
        exponents = -self.clusters.gaps * abs(float(parameter))  # −∞ on the first row of a cluster
        rho, rest = np.exp(exponents), -np.expm1(2 * exponents)
        if parameter < 0:
            rho[self._odd] *= -1
        return DecayRoot(rho, rest)

    def shown(self, parameter: np.ndarray) -> Shown:
        at, times = self._by_time()
        apart = np.abs(at[:, None] - at)
        with np.errstate(invalid="ignore"):
            matrix = np.where(apart > 0, np.exp(-apart * abs(float(parameter))), 1.0)
        if parameter < 0:
            matrix[apart % 2 == 1] *= -1
        return Shown(times, matrix)
