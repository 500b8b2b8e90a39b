"""The part of a log-likelihood that depends on the responses and on unknowns other than β."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.compress import distinct
from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import derivative, scalar
from expfam_glm.spec.lower import lower
from expfam_glm.spec.simplify import simplify

_RANGE = 1.5  # of log a, or of a shape's working scale, around the first value asked for
_DEGREES = (24, 48, 96)
_PRECISION = 1e-13  # of the last coefficients, relative to the largest


class ResponseTerms:
    """(log a, ψ) → Σ f s(y, a/w, ψ) and its derivatives, s the saturated log-density or c."""

    def __init__(self, blocks: MemoryBlocks, family: Family, saturated: bool) -> None:
        self.kernel = _with_slopes(family, saturated)
        self.plain = blocks.problem.w is None
        rows = list(blocks)
        self.y, self.w, self.f = (
            np.concatenate([np.broadcast_to(v, b.y.shape) for v, b in zip(own, rows, strict=True)])
            for own in (
                [b.y for b in rows],
                [b.w for b in rows],
                [1.0 if b.f is None else b.f for b in rows],
            )
        )
        if family.support.discrete:
            first, codes = distinct([self.y] if self.plain else [self.y, self.w])
            self.f = np.bincount(codes, self.f)
            self.y, self.w = self.y[first], self.w[first]

    def __call__(self, tau: float, *psi: float) -> np.ndarray:
        """Value and derivatives in log a and in each shape."""
        a = float(np.exp(tau))
        values = self.kernel(self.y, a if self.plain else a / self.w, *psi)
        return np.array([np.dot(np.broadcast_to(v, self.y.shape), self.f) for v in values])


class Tabulated:
    """A function of one unknown and its derivative, as Chebyshev series where they converge.

    Notes
    -----
    The function, less `lead` times its argument, is tabulated on t₀ ± 1.5, t₀ the first argument
    asked for, and computed outside of it.
    """

    def __init__(self, direct: Callable[[np.ndarray], np.ndarray], lead: float) -> None:
        self.direct, self.lead = direct, lead
        self.table: np.ndarray | None = None  # coefficients (degree + 1, 2)
        self.domain = (np.nan, np.nan)

    def __call__(self, t: float) -> tuple[float, float]:
        """Value and derivative at t."""
        if math.isnan(self.domain[0]):
            self._tabulate(t)
        low, high = self.domain
        if self.table is None or not low <= t <= high:
            value, slope = self.direct(np.array([t])).tolist()
            return value, slope
        angle = math.acos(max(-1.0, min(1.0, (2 * t - low - high) / (high - low))))
        value, slope = np.dot(np.cos(self.orders * angle), self.table).tolist()
        return value + self.lead * t, slope + self.lead

    def _tabulate(self, centre: float) -> None:
        """Series of rising degree until the last coefficients vanish; none if they do not."""
        self.domain = low, high = centre - _RANGE, centre + _RANGE
        for degree in _DEGREES:
            nodes = np.polynomial.chebyshev.chebpts1(degree + 1)
            t = low + (high - low) * (nodes + 1) / 2
            values = np.array([self.direct(np.array([at])) for at in t])
            values -= self.lead * np.column_stack([t, np.ones(t.size)])
            self.orders = np.arange(degree + 1.0)
            table = np.linalg.solve(np.cos(np.arccos(nodes)[:, None] * self.orders), values)
            size = np.abs(table)
            if np.all(size[-2:] <= _PRECISION * np.maximum(size.max(axis=0), abs(self.lead))):
                self.table = table
                return


@lru_cache(maxsize=64)
def _with_slopes(family: Family, saturated: bool) -> Callable[..., tuple[np.ndarray, ...]]:
    """(y, a, *ψ) → s, ∂s/∂log a and ∂s/∂ψ."""
    y, a = scalar("y"), scalar("a")
    shapes = {name: scalar(name) for name in family.shape}
    s = (family.saturated if saturated else family.base_measure)(y, a, **shapes)
    outputs = [s, a * derivative(s, a), *(derivative(s, v) for v in shapes.values())]
    variables = [y, a, *shapes.values()]
    return lower(variables, simplify(outputs, variables), rows=[y])
