"""The profile of the likelihood along a shape parameter or the dispersion, on its working scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ConvergenceError, DataError, SeparationError
from expfam_glm.mle.dispersion import (
    elasticity,
    invert_dispersion,
    log_scale_slopes,
    maximum_likelihood,
)
from expfam_glm.mle.fitness import Fitness
from expfam_glm.mle.profile import SignedRoot
from expfam_glm.mle.saturated import Saturated
from expfam_glm.mle.shape import climb
from expfam_glm.mle.shape_profile import Point, ShapeProfile

# So far out on its working scale a shape is at the edge of its domain for what the likelihood says.
_AT_EDGE = 15.0
_TOL, _MOST_ITERATIONS = 1e-10, 200


@dataclass(frozen=True, eq=False)
class ParameterProfile(SignedRoot):
    """The signed root of 2{ℓ̂ − ℓ(u)}, ℓ(u) the highest over all else at u.

    Parameters
    ----------
    height : callable
        u → ℓ(u).
    top : float
        ℓ̂.
    place, error : float
        û and its standard error.
    back : callable
        u → the parameter ψ.
    slope : float
        dψ/du at û.
    ends : bool
        Whether the parameter has edges that ±∞ stand for, where the likelihood may stay high.
    """

    height: Callable[[float], float]
    top: float
    place: float
    error: float
    back: Callable[[float], float]
    slope: float
    ends: bool

    @property
    def estimate(self) -> float:
        """û."""
        return self.place

    @property
    def se(self) -> float:
        """Its standard error from the observed information."""
        return self.error

    def root(self, value: float) -> float:
        """sign(u − û) times the root of the statistic; NaN where no fit is found."""
        try:
            height = self.height(value)
        except (ConvergenceError, DataError, SeparationError):
            return np.nan
        cost = 2 * (self.top - height)
        return float(np.sign(value - self.place) * np.sqrt(np.maximum(cost, 0.0)))

    def crossing(self, level: float) -> float:
        """The u at which the signed root is `level`; infinite where it stays below to the edge."""
        side = float(np.sign(level))
        if self.ends and side * self.place < _AT_EDGE:
            if abs(self.root(side * _AT_EDGE)) < abs(level):
                return side * np.inf
        return super().crossing(level)


def dispersion_profile(problem: Problem, fit: Fitness) -> ParameterProfile:
    """The profile of φ where no shape is free: β̂ is the same for every φ."""
    family = problem.family
    saturated = Saturated(family, MemoryBlocks(problem), fit.parts)
    slopes = log_scale_slopes(saturated, fit.deviance)
    phi, curvature = maximum_likelihood(problem, fit, saturated)
    place = float(np.log(float(family.a(phi))))

    def height(u: float) -> float:
        return float(slopes(u)[0])

    def back(u: float) -> float:
        return invert_dispersion(family, float(np.exp(u)))

    error, slope = float(1 / np.sqrt(curvature)), phi / elasticity(family, phi)
    return ParameterProfile(height, height(place), place, error, back, slope, False)


def shape_profile(
    problem: Problem, name: str, near: dict[str, float], phi: float | None
) -> ParameterProfile:
    """The profile of a free shape, or of φ beside free shapes, where the maximum is near `near`.

    phi: the dispersion where it was given.
    """
    family = problem.family
    whole = ShapeProfile(problem, phi, _TOL, _MOST_ITERATIONS)
    top, _, _ = climb(whole, whole.begin(None, near))
    k = whole.size if name == "phi" else list(family.shape).index(name)
    inside = ShapeProfile(problem, phi, _TOL, _MOST_ITERATIONS, held=k)
    V = np.linalg.inv(top.information)
    known: dict[float, Point] = {float(top.u[k]): top}

    def height(u: float) -> float:
        nearest = known[min(known, key=lambda value: abs(value - u))]
        if nearest.u[k] == u:
            return nearest.value
        # along the ridge from the nearest point: other entries by their regression on this one
        moved = nearest.u + V[:, k] / V[k, k] * (u - nearest.u[k])
        moved[k] = u
        begun = inside.at(moved, inside.full(nearest.beta))
        known[u], _, _ = climb(inside, begun)
        return known[u].value

    def back(u: float) -> float:
        if name == "phi":
            return invert_dispersion(family, float(np.exp(u)))
        return float(whole.scales[name].back(u))

    u = float(top.u[k])
    if name == "phi":
        slope = back(u) / elasticity(family, back(u))
    else:
        slope = whole.scales[name].slopes(u)[0]
    error = float(np.sqrt(V[k, k]))
    return ParameterProfile(height, top.value, u, error, back, slope, name != "phi")
