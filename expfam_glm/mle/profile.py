"""The profile of the likelihood along one parameter, and where it crosses a level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from expfam_glm.errors import ConvergenceError, DataError, SeparationError
from expfam_glm.mle.constrained import Peak
from expfam_glm.mle.penalised_peak import PenalisedPeak

# Strides to the other side of a level, each twice the one before where it can be made; after so
# many of them the profile has levelled off.
_MOST_STRIDES = 200
_SHORTEST = 1e-6  # standard errors
_MOST_STEPS = 60
_ROUNDING = 1e-13


class SignedRoot(ABC):
    """The signed root of a likelihood-ratio statistic along one parameter."""

    @property
    @abstractmethod
    def estimate(self) -> float:
        """Where it is zero."""

    @property
    @abstractmethod
    def se(self) -> float:
        """The standard error of the estimate."""

    @abstractmethod
    def root(self, value: float) -> float:
        """sign(value − estimate) times the root of the statistic; NaN where there is none."""

    def crossing(self, level: float) -> float:
        """The value at which the signed root is `level`.

        Returns
        -------
        float
            NaN where the edge of the admissible values comes first, infinite where the profile
            levels off before.
        """
        inner, at_inner = self.estimate, 0.0
        stride, growth = level * self.se, 2.0
        for _ in range(_MOST_STRIDES):
            outer = inner + stride
            at_outer = self.root(outer)
            if np.isnan(at_outer):  # beyond the edge, or too far from the last fit to begin there
                stride, growth = stride / 2, 1.0
                if abs(stride) < _SHORTEST * self.se:
                    return np.nan
            elif abs(at_outer) >= abs(level):
                return self._solve(level, inner, at_inner, outer, at_outer)
            else:
                inner, at_inner = outer, at_outer
                stride *= growth
        return np.nan if growth == 1 else float(np.sign(level) * np.inf)

    def _solve(self, level: float, a: float, fa: float, b: float, fb: float) -> float:
        """The crossing inside a bracket, by secants that are kept inside it (Illinois)."""
        fa, fb = fa - level, fb - level
        for _ in range(_MOST_STEPS):
            if fb == 0 or abs(b - a) <= _ROUNDING * (abs(a) + abs(b)):
                return b
            c = b - fb * (b - a) / (fb - fa)
            fc = self.root(c) - level
            if abs(fc) < _ROUNDING * (1 + abs(level)) or np.isnan(fc):
                return c
            if np.sign(fc) == np.sign(fb):
                fa *= 0.5
            else:
                a, fa = b, fb
            b, fb = c, fc
            if abs(fb) < 1e-11:
                return b
        return b


@dataclass(frozen=True, eq=False)
class Profile(SignedRoot):
    """The signed root of the likelihood-ratio statistic of one coefficient.

    Parameters
    ----------
    peak : Peak or PenalisedPeak
        The maximum.
    position : int
        Of the coefficient.
    """

    peak: Peak | PenalisedPeak
    position: int
    _near: dict[float, np.ndarray] = field(default_factory=dict)

    @property
    def estimate(self) -> float:
        """β̂ of the coefficient."""
        return float(self.peak.beta[self.position])

    @property
    def se(self) -> float:
        """Its standard error from the information."""
        return float(np.sqrt(self.peak.V[self.position, self.position] * self.peak.scale))

    def root(self, value: float) -> float:
        """sign(value − β̂) times the root of the statistic; NaN where no admissible fit exists."""
        if value == self.estimate:
            return 0.0
        C = np.zeros((1, self.peak.beta.size))
        C[0, self.position] = 1.0
        try:
            found = self.peak.under(C, np.array([value]), self._start(value))
        except (ConvergenceError, DataError, SeparationError):
            return np.nan
        self._near[value] = found.beta
        return float(np.sign(value - self.estimate) * np.sqrt(self.peak.cost(found)))

    def _start(self, value: float) -> np.ndarray:
        """The fit at the nearest value so far."""
        if not self._near:
            return self.peak.beta
        nearest = min(self._near, key=lambda known: abs(known - value))
        closer = abs(nearest - value) < abs(self.estimate - value)
        return self._near[nearest] if closer else self.peak.beta
