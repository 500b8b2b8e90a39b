"""Shape parameters by maximum likelihood: jointly with β, and with φ where that is free.

The likelihood is maximised over u = (shapes on their working scales, log a(φ)), with β at its
maximum for every u. Every shape parameter is orthogonal to β in expectation, because the score of
β is (y − μ)θ′(η)/a, in which y − μ has mean zero whatever the shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from expfam_glm.data.response import Problem
from expfam_glm.errors import ConvergenceError, FitWarning, warn
from expfam_glm.mle.shape_profile import Point, ShapeProfile
from expfam_glm.spec import families
from expfam_glm.spec.family import Family
from expfam_glm.spec.scale import Scale

_MOST_STEPS = 100
_SHORT = 1e-4  # a Newton step in u so short ends the search; at an edge it keeps its length


@dataclass(frozen=True)
class ShapeEstimates:
    """The maximum in the shapes, with the pieces of the observed information there.

    values: ψ̂ by name, the edge itself where the likelihood still rises towards it. free: the
    problem without them. loglik, a: ℓ and a(φ) at the maximum, NaN at an edge; limit: the family
    there. beta (p,): where the final fit begins. held, joint (m, m): covariance of u = (shapes on
    their working scales, log a if it is estimated) with β held and with β estimated, from the
    observed information; NaN at an edge. lost: what the information of β at a(φ) = 1 loses because
    the shapes are estimated.
    """

    values: dict[str, float]
    scales: dict[str, Scale]
    free: Problem
    loglik: float
    a: float
    beta: np.ndarray
    held: np.ndarray
    joint: np.ndarray
    lost: np.ndarray
    iterations: int
    note: str = ""
    limit: Family | None = None

    @cached_property
    def problem(self) -> Problem:
        """The problem with the shapes given."""
        family = self.limit or self.free.family.fix(**self.values)
        return replace(self.free, family=family)

    def _covariance(self, observed: bool) -> np.ndarray:
        return self.joint if observed else self.held

    def on_scales(self, observed: bool) -> dict[str, tuple[float, float, Scale]]:
        """Estimate, standard error on the working scale and that scale, by name."""
        errors = np.sqrt(np.diagonal(self._covariance(observed)))
        return {
            name: (value, float(errors[k]), self.scales[name])
            for k, (name, value) in enumerate(self.values.items())
        }

    def dispersion(
        self, log_error: float, elasticity: float, observed: bool
    ) -> tuple[float, np.ndarray | None]:
        """The standard error of log φ̂ that accounts for the shapes, and the correlations with it.

        NaN stays NaN: then φ is no maximum-likelihood estimate, and the shapes stand alone.
        """
        V = self._covariance(observed)
        if not np.all(np.isfinite(V)):
            return log_error, None
        k = len(self.values)
        order = list(range(k))
        if np.isfinite(log_error) and V.shape[0] > k:
            log_error = float(np.sqrt(V[k, k])) / elasticity
            order = [k, *order]
        V = V[np.ix_(order, order)]
        errors = np.sqrt(np.diagonal(V))
        return log_error, V / np.outer(errors, errors)


def estimate_shapes(
    problem: Problem,
    *,
    phi: float | None = None,
    start: np.ndarray | None = None,
    near: Mapping[str, float] | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
) -> ShapeEstimates:
    """Joint maximum likelihood of the free shapes, β, and φ unless it is known or given.

    The search begins `near` these shapes, or at the best of a few points.

    Raises
    ------
    ConvergenceError
        If no maximum is found, or the likelihood rises towards an edge of the domain of a shape
        where the family has no limit among the built-in ones.

    Warns
    -----
    FitWarning
        If the likelihood rises towards an edge with such a limit, which is then fitted.
    """
    profile = ShapeProfile(problem, phi, tol, max_iterations)
    point, edge, iterations = climb(profile, profile.begin(start, near))
    if edge is not None:
        return _limit(profile, point, edge, point.step()[edge], iterations)
    return _estimates(profile, point, iterations)


def climb(profile: ShapeProfile, point: Point) -> tuple[Point, int | None, int]:
    """The highest point from here on, the shape that runs off to an edge or None, and the steps.

    Raises
    ------
    ConvergenceError
        If there is no such point.
    """
    for iteration in range(1, _MOST_STEPS + 1):
        step = point.step()
        edge = profile.at_edge(point, step)
        short = np.max(np.abs(step)) < _SHORT
        if edge is not None or (point.decrement < profile.tol and short):
            return point, edge, iteration
        moved = profile.advance(point, step)
        if moved is None:
            if point.decrement < 1e-4 and short:
                return point, None, iteration  # rounding hides any gain
            break
        point = moved
    family = profile.problem.family
    named = ", ".join(f"{name} = {value:.6g}" for name, value in profile.values(point.u).items())
    raise ConvergenceError(
        f"the maximum-likelihood estimate of {', '.join(family.shape)} of {family.name!r} was not "
        f"found; the last point is {named}. Give the shape parameter a value, or look whether the "
        "family suits the data.",
        point,
    )


def _estimates(profile: ShapeProfile, point: Point, iterations: int) -> ShapeEstimates:
    """What the final fit needs."""
    values = profile.values(point.u + point.step())
    a = float(np.exp(point.u[-1])) if profile.known is None else profile.known
    held = np.linalg.inv(point.held)
    return ShapeEstimates(
        values, profile.scales, profile.problem, point.value, a, profile.full(point.beta), held,
        np.linalg.inv(point.information), a * point.cross @ held @ point.cross.T, iterations,
    )  # fmt: skip


def _limit(
    profile: ShapeProfile, point: Point, k: int, direction: float, iterations: int
) -> ShapeEstimates:
    """The fit of the family that the likelihood rises to, with a warning."""
    family = profile.problem.family
    name, scale = list(profile.scales.items())[k]
    edge = scale.edge(direction)
    found = families.limit_of(family, name, edge)
    said = f"the likelihood of {family.name!r} still rises as {name} → {edge:g}"
    if found is None:
        raise ConvergenceError(
            f"{said}, the edge of its domain {profile.problem.family.shape[name]}: {name} has no "
            f"maximum-likelihood estimate. Give it a value with family.fix({name}=…), or use "
            "another family.",
            point,
        )
    note = (
        f"{said}, where it becomes {found.name!r}: {name} has no maximum-likelihood estimate. "
        f"Coefficients and standard errors are those of {found.name!r}; use that family, or "
        f"give {name} a value."
    )
    warn(note, FitWarning)
    values = profile.values(point.u) | {name: edge}
    nothing = np.full((profile.size, profile.size), np.nan)
    p = point.beta.size
    return ShapeEstimates(
        values, profile.scales, profile.problem, np.nan, np.nan, profile.full(point.beta),
        nothing, nothing, np.zeros((p, p)), iterations, note, found,
    )  # fmt: skip
