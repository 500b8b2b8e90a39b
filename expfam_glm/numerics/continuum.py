"""Continuous families: quadrature in a coordinate on the real line."""

from __future__ import annotations

import numpy as np

from expfam_glm.numerics.coordinate import Coordinate
from expfam_glm.numerics.panels import Panels
from expfam_glm.numerics.tables import LOG_TAIL, Distributions, refuse_mass

_INTEGRAL = 1e-9  # of the last terms of a series integrated as a whole: its square is the error
_SCALES = 2.0 ** np.arange(-8, 7)  # of a window, in standard deviations
_SCALES = np.concatenate([-_SCALES[::-1], [0.0], _SCALES])
_FAR_SCALES = 2.0 ** np.arange(7, 31)
_PANEL_ENTRIES = 1024  # of the panels of one distribution, about
_CUTS = np.arange(1, 6) / 6  # between the last point with mass and the next one


class Continuum:
    """m continuous distributions, whose probabilities are wanted to a tolerance."""

    def __init__(self, distributions: Distributions, tolerance: float) -> None:
        self.distributions = distributions
        self.tolerance = tolerance
        self.sizes = np.full(len(distributions), _PANEL_ENTRIES)

    def table(self, rows: slice) -> ContinuousTable:
        """The distribution functions of some of them."""
        return ContinuousTable(self.distributions[rows], self.tolerance)


class ContinuousTable:
    """The distribution functions of m continuous distributions."""

    def __init__(self, distributions: Distributions, tolerance: float) -> None:
        self.distributions = distributions
        self.density = Density(distributions)
        ends = np.full(len(distributions), np.inf)
        self.panels, shift = self.density.integrate(-ends, ends, tolerance)
        self.atom = distributions.atom_mass()
        with np.errstate(over="ignore"):
            self.mass = self.panels.total * np.exp(shift)
        refuse_mass(distributions, self.mass + self.atom)

    def find(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """The quantiles at u of the distributions `row`."""
        atom = self.atom[row]
        share = np.clip((u - atom) / (1 - atom), 0.0, 1.0)
        y = self.density.coordinate.y(self.panels.quantile(row, share))
        y = self.density.coordinate.inside(y)
        return y if not atom.any() else np.where(u <= atom, self.density.coordinate.support.low, y)


class Density:
    """log g(z) = log f(y(z)) + log dy/dz of m distributions, and where its mass is."""

    def __init__(self, distributions: Distributions) -> None:
        self.distributions = distributions
        self.coordinate = Coordinate(distributions.family.support)
        mean, sd = distributions.moments()
        self.centre = self.coordinate.z(mean)
        step = sd / np.exp(self.coordinate.log_slope(self.centre))
        self.step = np.minimum(step, 1.0) if self.coordinate.bounded else step

    def log_g(self, z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """log g at z (j, k) of the distributions `rows` (k,); −∞ where y has rounded to an end."""
        y, support = self.coordinate.y(z), self.coordinate.support
        value = self.distributions[rows].log_density(y) + self.coordinate.log_slope(z)
        if self.coordinate.bounded and not (y.min() > support.low and y.max() < support.high):
            value = np.where((y > support.low) & (y < support.high), value, -np.inf)
        return np.fmax(value, -np.inf, out=value)  # no mass where log f is not a number

    def integrate(
        self, low: np.ndarray, high: np.ndarray, tolerance: float
    ) -> tuple[Panels, np.ndarray]:
        """Panels of g between limits, and the logarithm by which each row is shifted."""
        first, last, shift = self._window(low, high)
        noise = self.distributions.noise
        return Panels(self.log_g, first, last, shift, noise, tolerance), shift

    def _window(
        self, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """z between which all but e⁻³⁸ of the mass between two limits lies, and the largest log g.

        It is looked for outwards from the mean, or from the limit that is nearest to it.
        """
        rows = np.arange(len(self.distributions))
        centre = np.clip(self.centre, low, high)
        z = np.clip(centre + self.step * _SCALES[:, None], low, high)
        height = self.log_g(z, rows)
        top = np.max(height, axis=0)
        ends = []
        for sign, limit in ((-1, low), (1, high)):
            end, top = self._end(sign, limit, z[::sign], height[::sign], top)
            ends.append(end)
        return ends[0], ends[1], np.where(np.isfinite(top), top, 0.0)

    def _end(
        self, sign: int, limit: np.ndarray, z: np.ndarray, height: np.ndarray, top: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The end of the window on one side, and the largest height seen; z runs outwards."""
        inner, outer = _last_above(z, height, top + LOG_TAIL)
        far = np.flatnonzero((height[-1] > top + LOG_TAIL) & (z[-1] != limit))
        if far.size:
            centre = z[_SCALES.size // 2, far]
            reach = centre + sign * self.step[far] * _FAR_SCALES[:, None]
            reach = np.vstack([z[-1, far], reach])
            reach = (np.minimum if sign > 0 else np.maximum)(reach, limit[far])
            beyond = self.log_g(reach, far)
            top = top.copy()
            top[far] = np.maximum(top[far], np.max(beyond, axis=0))
            inner[far], outer[far] = _last_above(reach, beyond, top[far] + LOG_TAIL)
        between = inner + (outer - inner) * _CUTS[:, None]
        height = self.log_g(between, np.arange(top.size))
        steps = np.vstack([inner, between, outer])
        height = np.vstack([np.full(top.size, np.inf), height, np.full(top.size, -np.inf)])
        return _last_above(steps, height, top + LOG_TAIL)[1], top


def _last_above(
    z: np.ndarray, height: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Along each column, the last z with a height above the least one, and the z after it."""
    last = z.shape[0] - 1 - np.argmax((height > least)[::-1], axis=0)
    columns = np.arange(z.shape[1])
    return z[last, columns], z[np.minimum(last + 1, z.shape[0] - 1), columns]


def continuous_tails(distributions: Distributions, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log P(Y ≤ y) and log P(Y > y) of each distribution, each to full relative precision."""
    density = Density(distributions)
    z = density.coordinate.z(y)
    atom = distributions.atom_mass()
    logs = []
    for below in (True, False):
        value = np.full(z.shape, -np.inf)
        some = np.flatnonzero(z > -np.inf if below else z < np.inf)
        if some.size:
            ends = np.full(some.size, np.inf)
            first, last = (-ends, z[some]) if below else (z[some], ends)
            part = density if some.size == z.size else Density(distributions[some])
            panels, shift = part.integrate(first, last, _INTEGRAL)
            with np.errstate(divide="ignore"):
                value[some] = np.log(panels.total) + shift
        if atom.any():
            held = (y >= density.coordinate.support.low) == below
            with np.errstate(divide="ignore"):
                value = np.logaddexp(value, np.where(held, np.log(atom), -np.inf))
        logs.append(value)
    return logs[0], logs[1]
