"""Quantiles of continuous families: quadrature in a coordinate on the real line, then Newton."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from expfam_glm.numerics.tables import (
    ENTRIES,
    LOG_TAIL,
    Distributions,
    Search,
    refuse_mass,
    search_rows,
)
from expfam_glm.spec.domain import Domain

_FLAT = 1e-12  # a quadrature whose mass is this close to one is not refined
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_PANELS = (24, 96, 384)  # tried in turn until the mass is one
_MOST_STEPS = 60  # bisection alone would get there
_GAP = 1e-14  # of a probability


def continuum(distributions: Distributions) -> Iterator[tuple[slice, Search]]:
    """Blocks of distributions, and the search in their integrals."""
    size = ENTRIES // (_PANELS[0] * _NODES.size)
    for begin in range(0, distributions.theta.size, size):
        rows = slice(begin, min(begin + size, distributions.theta.size))
        yield rows, _Integral(distributions[rows]).search


@dataclass(frozen=True)
class _Coordinate:
    """A coordinate z on the whole real line for y in an open interval."""

    support: Domain

    def y(self, z: np.ndarray) -> np.ndarray:
        """y(z), increasing, with full precision near both ends."""
        low, high = self.support.low, self.support.high
        with np.errstate(all="ignore"):
            if np.isfinite(low) and np.isfinite(high):
                near = (high - low) / (1 + np.exp(np.abs(z)))
                return np.where(z < 0, low + near, high - near)
            if np.isfinite(low):
                return low + np.exp(z)
            return high - np.exp(-z) if np.isfinite(high) else z

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """log dy/dz."""
        low, high = self.support.low, self.support.high
        if np.isfinite(low) and np.isfinite(high):
            return np.log(high - low) - np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z)))
        if np.isfinite(low):
            return z
        return -z if np.isfinite(high) else np.zeros_like(z)

    def z(self, y: np.ndarray) -> np.ndarray:
        """The inverse of y(z)."""
        low, high = self.support.low, self.support.high
        if np.isfinite(low) and np.isfinite(high):
            return np.log((y - low) / (high - y))
        if np.isfinite(low):
            return np.log(y - low)
        return -np.log(high - y) if np.isfinite(high) else y

    def inside(self, y: np.ndarray) -> np.ndarray:
        """y rounded to the nearest number inside the open support."""
        low, high = self.support.low, self.support.high
        return np.clip(y, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))


class _Integral:
    """The distribution functions of a block of distributions, by panels in z."""

    def __init__(self, distributions: Distributions) -> None:
        self.distributions = distributions
        self.coordinate = _Coordinate(distributions.family.support)
        low, high = self._window()
        for panels in _PANELS:
            self.edges = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, panels + 1)
            masses = self._mass(self.edges[:, :-1], self.edges[:, 1:])
            self.cumulative = np.cumsum(masses, axis=1)
            if np.all(np.abs(self.cumulative[:, -1] - 1) <= _FLAT):
                break
        refuse_mass(distributions, self.cumulative[:, -1])

    def _log_g(self, z: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The log-density of z (m, k); −inf where y(z) has rounded to an end of the support."""
        y, support = self.coordinate.y(z), self.coordinate.support
        value = self.distributions[rows].log_density(y) + self.coordinate.log_slope(z)
        return np.where((y > support.low) & (y < support.high), value, -np.inf)

    def _mass(
        self, left: np.ndarray, right: np.ndarray, rows: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """∫ g dz over the intervals from left to right (m, k)."""
        half = 0.5 * (right - left)[..., None]
        z = left[..., None] + half * (1 + _NODES)
        g = np.exp(self._log_g(z.reshape(z.shape[0], -1), rows)).reshape(z.shape)
        return np.sum(g * _NODE_WEIGHTS, axis=-1) * half[..., 0]

    def _window(self) -> tuple[np.ndarray, np.ndarray]:
        """z between which all but a negligible part of the mass lies, on a doubling grid."""
        mean, sd = self.distributions.moments()
        centre = self.coordinate.z(mean)
        step = sd / np.exp(self.coordinate.log_slope(centre))
        if np.isfinite([self.coordinate.support.low, self.coordinate.support.high]).any():
            step = np.minimum(step, 1.0)  # z is logarithmic there
        reach = step[:, None] * 2.0 ** np.arange(-2, 24)
        z = centre[:, None] + np.hstack([-reach[:, ::-1], 0 * reach[:, :1], reach])
        height = self._log_g(z)
        heavy = height > np.max(height, axis=1, keepdims=True) + LOG_TAIL
        first, last = np.argmax(heavy, axis=1), -1 - np.argmax(heavy[:, ::-1], axis=1)
        columns = np.arange(z.shape[1])
        rows, farthest = np.arange(mean.size), z.shape[1] - 1
        return (
            z[rows, np.maximum(columns[first] - 1, 0)],
            z[rows, np.minimum(columns[last] + 1, farthest)],
        )

    def search(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """The quantiles at u of the distributions `row`."""
        size = ENTRIES // _NODES.size
        parts = [slice(k, k + size) for k in range(0, u.size, size)]
        return np.concatenate([self._quantile(row[part], u[part]) for part in parts])

    def _quantile(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Newton's method within the panel that holds u, kept inside its bracket."""
        panel = search_rows(self.cumulative, row, u)
        before = np.where(panel > 0, self.cumulative[row, panel - 1], 0.0)
        left = self.edges[row, panel]
        low, high = left.copy(), self.edges[row, panel + 1].copy()
        missing, mass = u - before, self.cumulative[row, panel] - before
        z = low + (high - low) * np.clip(missing / mass, 0.0, 1.0)
        active = np.arange(u.size)
        for _ in range(_MOST_STEPS):
            rows, here = row[active], z[active]
            gap = self._mass(left[active, None], here[:, None], rows)[:, 0] - missing[active]
            low[active] = np.where(gap <= 0, here, low[active])
            high[active] = np.where(gap >= 0, here, high[active])
            with np.errstate(all="ignore"):
                newton = here - gap / np.exp(self._log_g(here[:, None], rows)[:, 0])
            inside = (newton >= low[active]) & (newton <= high[active])
            z[active] = np.where(inside, newton, 0.5 * (low[active] + high[active]))
            active = active[(np.abs(gap) > _GAP) & (high[active] > low[active])]
            if active.size == 0:
                break
        return self.coordinate.inside(self.coordinate.y(z))
