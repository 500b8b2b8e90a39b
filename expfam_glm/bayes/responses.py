"""The part of a log-likelihood that depends on the responses and on φ alone, as a function of φ."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial import Chebyshev

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.family import Family
from expfam_glm.spec.lower import lower
from expfam_glm.spec.simplify import simplify

_RANGE = 1.5  # of log a around the first value asked for: there the sums are tabulated
_DEGREES = (24, 48, 96)
_PRECISION = 1e-13  # of the last coefficients, relative to the largest


class ResponseTerms:
    """log a → Σ f s(y, a/w) and its derivative, s the saturated log-density or c.

    Notes
    -----
    The sum and its derivative, less their leading terms −(n/2) log a and −n/2, are tabulated as
    Chebyshev series on log a₀ ± 1.5, a₀ the first value asked for, and computed outside of it.
    """

    def __init__(self, blocks: MemoryBlocks, family: Family, saturated: bool) -> None:
        self.blocks = blocks
        self.n = blocks.problem.n
        self.kernel = _with_slope(family, saturated)
        self.table: tuple[Chebyshev, Chebyshev] | None = None
        self.domain = (np.nan, np.nan)

    def __call__(self, tau: float) -> tuple[float, float]:
        """Value and derivative at τ = log a."""
        if np.isnan(self.domain[0]):
            self._tabulate(tau)
        if self.table is None or not self.domain[0] <= tau <= self.domain[1]:
            return self.direct(tau)
        value, slope = (float(series(tau)) for series in self.table)
        return value - 0.5 * self.n * tau, slope - 0.5 * self.n

    def direct(self, tau: float) -> tuple[float, float]:
        """The sums themselves."""
        a = np.exp(tau)
        value, slope = self.blocks.reduce(
            lambda block: np.array([block.total(v) for v in self.kernel(block.y, a / block.w)]),
            lambda first, second: first + second,
        )
        return float(value), float(slope)

    def _tabulate(self, centre: float) -> None:
        """Series of rising degree until the last coefficients vanish; none if they do not."""
        self.domain = low, high = centre - _RANGE, centre + _RANGE
        for degree in _DEGREES:
            nodes = np.polynomial.chebyshev.chebpts1(degree + 1)
            tau = low + (high - low) * (nodes + 1) / 2
            values = np.array([self.direct(float(t)) for t in tau])
            values += 0.5 * self.n * np.column_stack([tau, np.ones(tau.size)])
            series = [Chebyshev.fit(tau, column, degree, (low, high)) for column in values.T]
            size = [np.abs(one.coef) for one in series]
            if all(c[-2:].max() <= _PRECISION * max(c.max(), self.n) for c in size):
                self.table = series[0], series[1]
                return


@lru_cache(maxsize=64)
def _with_slope(family: Family, saturated: bool) -> Callable[..., tuple[np.ndarray, ...]]:
    """(y, a) → s and ∂s/∂log a."""
    s = family.saturated if saturated else family.c
    assert s is not None  # quasi families have no part here
    slope = Expression(s.variables, s.variables[1] * s.derivative("a").output)
    graphs = simplify([s.output, slope.output], s.variables)
    return lower(s.variables, graphs, rows=s.variables[:1])
