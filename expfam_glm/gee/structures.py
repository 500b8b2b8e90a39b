"""Working correlations on given clusters: moments of α, and the whitening T with TᵀT = R⁻¹.

A structure never forms an n × n matrix. `whiten` applies T cluster by cluster to all columns at
once; with W = T A^(−½) D and e = T r everything in the estimating equations is a least-squares sum
of W and e.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.lags import Lags, best_decay, lags_of

# The matrix shown in the result has at most this many rows.
SHOWN = 50


class Shown(NamedTuple):
    """A working correlation matrix and the times (or positions) of its rows."""

    labels: np.ndarray  # (m,)
    matrix: np.ndarray  # (m, m)


class Structure(ABC):
    """A working correlation R(α) on the clusters of one data set."""

    alpha_dims: tuple[str, ...] | None = None  # None: the structure has no α

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters

    def moments(self, r: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        """The parameter from Pearson residuals (n,); `lost` is taken off each count of pairs."""
        return np.empty(0)

    def alpha(self, parameter: np.ndarray) -> np.ndarray:
        """α as it is reported, where the parameter is another function of it."""
        return parameter

    def alpha_labels(self) -> list[str]:
        """Names of the elements of α, where it is a vector."""
        return []

    def remark(self, parameter: np.ndarray) -> str:
        """What must be known about an estimate, empty if nothing."""
        return ""

    @abstractmethod
    def whiten(self, parameter: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """T applied to Fortran-ordered (n, q) columns in cluster order, which are overwritten."""

    @abstractmethod
    def shown(self, parameter: np.ndarray) -> Shown:
        """The working correlation matrix for the result."""

    def _by_position(self, common: float) -> Shown:
        """A matrix with one correlation, for the largest cluster."""
        size = min(self.clusters.largest, SHOWN)
        matrix = np.full((size, size), common)
        np.fill_diagonal(matrix, 1.0)
        return Shown(np.arange(size), matrix)

    def _average(
        self, name: str, total: float, count: float, dispersion: float, lost: int
    ) -> float:
        """Σ r_i r_j/(φ (pairs − lost)), or the reason why there is none."""
        if count == 0:
            raise CorrelationError(
                f"the {name} correlation cannot be estimated: every cluster has one row only. Use "
                "correlation='independence', and check the column given as groups."
            )
        if count <= lost:
            raise CorrelationError(
                f"the {name} correlation cannot be estimated under ddof='p': {count:g} pair(s) of "
                f"rows, less {lost} coefficients. Use ddof='none'."
            )
        return total / (dispersion * (count - lost))


class Identity(Structure):
    """Independence: R = I."""

    def whiten(self, parameter: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return columns

    def shown(self, parameter: np.ndarray) -> Shown:
        return self._by_position(0.0)


class Common(Structure):
    """Exchangeable: one correlation for all pairs of a cluster."""

    alpha_dims = ()

    def moments(self, r: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        total = (np.sum(self.clusters.sums(r) ** 2) - r @ r) / 2
        pairs = self.clusters.pairs
        return np.array(self._average("exchangeable", total, pairs, dispersion, lost))

    def whiten(self, parameter: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """T z = (z − c z̄)/√(1 − α) with (1 − c)² = (1 − α)/(1 + (n_k − 1)α)."""
        common, sizes = float(parameter), self.clusters.sizes
        low = -1 / (self.clusters.largest - 1) if self.clusters.largest > 1 else -np.inf
        if not low < common < 1:
            raise CorrelationError(
                f"the exchangeable working correlation is not positive definite: alpha = "
                f"{common:.6g}, but clusters of up to {self.clusters.largest} rows need "
                f"{low:.6g} < alpha < 1. Use correlation='independence' (its robust standard "
                "errors stay valid), or 'ar1' if nearness in time matters."
            )
        c = 1 - np.sqrt((1 - common) / (1 + (sizes - 1) * common))
        shifts = self.clusters.sums(columns) * (c / sizes)[:, None]
        for column, shift in zip(columns.T, shifts.T, strict=True):
            column -= self.clusters.spread(shift)
        columns *= 1 / np.sqrt(1 - common)
        return columns

    def shown(self, parameter: np.ndarray) -> Shown:
        return self._by_position(float(parameter))


class Decay(Structure):
    """AR(1): α^|t_i − t_j|, a Markov chain along the times of a cluster.

    The parameter is the rate u with α = e^−u, negative for a negative α = −e^−|u|.
    """

    alpha_dims = ()

    @cached_property
    def _lags(self) -> Lags:
        return lags_of(self.clusters)

    @cached_property
    def _odd(self) -> np.ndarray:
        """Rows an odd time after the one before, where a negative α keeps its sign."""
        gaps = self.clusters.gaps
        return np.flatnonzero(np.where(np.isfinite(gaps), gaps, 0) % 2 == 1)

    def moments(self, r: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        lags, pairs = self._lags, self.clusters.pairs
        self._average("AR(1)", 0.0, pairs, dispersion, lost)
        return np.array(best_decay(lags, lags.products(r) * (pairs / (pairs - lost) / dispersion)))

    def alpha(self, parameter: np.ndarray) -> np.ndarray:
        return np.copysign(np.exp(-np.abs(parameter)), parameter)

    def remark(self, parameter: np.ndarray) -> str:
        if np.isfinite(parameter) or self._lags.whole:
            return ""
        return (
            "the AR(1) alpha is at its bound 0: neighbours in time are not positively correlated, "
            "and between real times alpha cannot be negative."
        )

    def whiten(self, parameter: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """T z = (z_i − ρ_i z_{i−1})/√(1 − ρ_i²) with ρ_i = α^(t_i − t_{i−1})."""
        exponents = -self.clusters.gaps * abs(float(parameter))  # −∞ on the first row of a cluster
        rho, rest = np.exp(exponents), -np.expm1(2 * exponents)
        if parameter < 0:
            rho[self._odd] *= -1
        for column in columns.T:
            column[1:] -= rho[1:] * column[:-1]  # the product is complete before the difference
        columns /= np.sqrt(rest)[:, None]
        return columns

    def shown(self, parameter: np.ndarray) -> Shown:
        clusters = self.clusters
        assert clusters.waves is not None and clusters.time is not None
        _, rows = np.unique(clusters.waves.codes, return_index=True)
        if rows.shape[0] > SHOWN:
            rows = np.arange(min(clusters.largest, SHOWN))
        at = clusters.instants[rows]
        apart = np.abs(at[:, None] - at)
        with np.errstate(invalid="ignore"):
            matrix = np.where(apart > 0, np.exp(-apart * abs(float(parameter))), 1.0)
        if parameter < 0:
            matrix[apart % 2 == 1] *= -1
        return Shown(clusters.time[rows], matrix)
