"""Averages over rows and functions of them, with their uncertainty: exact gradients or draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from expfam_glm.errors import DataError
from expfam_glm.numerics.wald import wald_interval, wald_p_value
from expfam_glm.results.fitted import Coefficients, Rows
from expfam_glm.results.mean import bend_of, checked_mean, slope_of
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.link import Link

ENTRIES = 2**22  # draws × rows at a time


@dataclass(frozen=True)
class Quantity:
    """Values (G,) with their gradients (G, p) by the coefficients, or draws (S, G) of them."""

    value: np.ndarray
    gradient: np.ndarray | None
    draws: np.ndarray | None
    null: float = 0.0  # what it is tested against

    def combine(
        self,
        other: Quantity,
        function: Callable[[np.ndarray, np.ndarray], np.ndarray],
        partial: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
        null: float,
    ) -> Quantity:
        """A function of two quantities, with its partial derivatives and its value at no effect."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = function(self.value, other.value)
            if not np.all(np.isfinite(value)):
                raise DataError(
                    "a comparison of average predictions overflows; compare at values of the "
                    "variable nearer to those of the data."
                )
            if self.draws is not None and other.draws is not None:
                return Quantity(value, None, function(self.draws, other.draws), null)
            assert self.gradient is not None and other.gradient is not None
            first, second = partial(self.value, other.value)
            gradient = first[:, None] * self.gradient + second[:, None] * other.gradient
            return Quantity(value, gradient, None, null)

    def table(self, found: Coefficients, prob: float) -> dict[str, np.ndarray]:
        """Estimate, standard error, interval and, without draws, the test against `null`."""
        if self.draws is not None:
            tails = [(1 - prob) / 2, (1 + prob) / 2]
            return {
                "estimate": self.draws.mean(axis=0),
                "se": self.draws.std(axis=0, ddof=1),
                "interval": np.quantile(self.draws, tails, axis=0).T,
            }
        assert self.gradient is not None
        variance = np.einsum("gi,ij,gj->g", self.gradient, found.V, self.gradient)
        se = np.sqrt(np.maximum(variance, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = (self.value - self.null) / se
        return {
            "estimate": self.value,
            "se": se,
            "interval": wald_interval(self.value, se, found.df, prob),
            "statistic": statistic,
            "p_value": wald_p_value(statistic, found.df),
        }


@dataclass(frozen=True)
class Averager:
    """How rows become means and means become averages."""

    found: Coefficients
    link: Link
    space: Domain
    shares: csr_array  # (G, m) of each row in each group
    linear: bool  # whether on the scale of the linear predictor

    def predictions(self, rows: Rows) -> Quantity:
        """The average mean (or linear predictor) of each group."""
        kept = self.found.kept
        if self.found.draws is not None:
            return self._drawn(lambda part: self._mean(rows.part(part).eta(self._betas, kept)))
        eta, X = rows.eta(self.found.beta, kept), rows.X[:, kept]
        if self.linear:
            return Quantity(self.shares @ eta, self.shares @ X, None)
        values = self._mean(eta)
        gradient = slope_of(self.link, eta)[:, None] * X
        return Quantity(self.shares @ values, self.shares @ gradient, None)

    def slopes(self, rows: Rows, change: Rows) -> Quantity:
        """The average derivative of the mean, `change` holding those of X and of the offset."""
        kept = self.found.kept
        if self.found.draws is not None:
            return self._drawn(
                lambda part: self._slope(
                    rows.part(part).eta(self._betas, kept),
                    change.part(part).eta(self._betas, kept),
                )
            )
        D, X = change.X[:, kept], rows.X[:, kept]
        eta, moves = rows.eta(self.found.beta, kept), change.eta(self.found.beta, kept)
        values = self._slope(eta, moves)
        if self.linear:
            return Quantity(self.shares @ values, self.shares @ D, None)
        gradient = (bend_of(self.link, eta) * moves)[:, None] * X
        gradient += slope_of(self.link, eta)[:, None] * D
        return Quantity(self.shares @ values, self.shares @ gradient, None)

    @property
    def _betas(self) -> np.ndarray:
        """The draws of the coefficients (p, S)."""
        assert self.found.draws is not None
        return self.found.draws.T

    def _mean(self, eta: np.ndarray) -> np.ndarray:
        """μ, or η itself."""
        if self.linear:
            return eta
        return checked_mean(eta, self.link, self.space)

    def _slope(self, eta: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """dμ/dx from dη/dx, or that itself."""
        if self.linear:
            return moves
        checked_mean(eta, self.link, self.space)
        return slope_of(self.link, eta) * moves

    def _drawn(self, of_part: Callable[[slice], np.ndarray]) -> Quantity:
        """Averages (S, G) over the rows of values (m, S), by blocks of rows."""
        groups, m = self.shares.shape
        S = self._betas.shape[1]
        draws = np.zeros((S, groups))
        size = max(1, ENTRIES // S)
        for first in range(0, m, size):
            part = slice(first, min(first + size, m))
            draws += (self.shares[:, part] @ of_part(part)).T
        return Quantity(draws.mean(axis=0), None, draws)
