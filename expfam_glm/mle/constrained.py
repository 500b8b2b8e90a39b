"""Maximum likelihood under linear constraints Cβ = r, and how much the constraints cost."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ConvergenceError, ExpfamWarning
from expfam_glm.mle.dispersion import likeliest
from expfam_glm.mle.fitness import deviance, fitness
from expfam_glm.mle.irls import Scoring
from expfam_glm.mle.maximum import find_maximum
from expfam_glm.mle.saturated import Saturated
from expfam_glm.mle.shape import ShapeEstimates, estimate_shapes


class Constrained(NamedTuple):
    """The maximum under constraints."""

    beta: np.ndarray  # (p,)
    deviance: float  # NaN where shapes are free
    loglik: float = np.nan  # where shapes are free: the highest over them and φ
    a: float = np.nan  # where shapes are free: a(φ) there
    shapes: ShapeEstimates | None = None


@dataclass(frozen=True, eq=False)
class Peak:
    """A maximum and what constrained ones are compared with.

    Parameters
    ----------
    problem : Problem
        Without aliased columns; estimated shapes given.
    beta : ndarray (p,)
        β̂, or a point near it.
    V : ndarray (p, p)
        Its covariance up to a factor: constrained fits start at the nearest point in this metric.
    deviance : float
        D(β̂).
    scale : float
        a(φ̂).
    free : Problem, optional
        The problem with the shapes free, where these were estimated.
    loglik : float
        ℓ at the maximum, where shapes are free.
    phi : float, optional
        The dispersion, where shapes are free and it was given.
    """

    problem: Problem
    beta: np.ndarray
    V: np.ndarray
    deviance: float
    scale: float
    free: Problem | None = None
    loglik: float = np.nan
    phi: float | None = None

    def under(self, C: np.ndarray, r: np.ndarray, near: np.ndarray | None = None) -> Constrained:
        """The maximum among the β with Cβ = r, beginning near `near`."""
        start = self.beta if near is None else near
        if self.free is None:
            return constrained_maximum(self.problem, C, r, start, self.V)
        fixed = self.problem.family.fixed
        shapes = {name: fixed[name] for name in self.free.family.shape if name in fixed}
        with warnings.catch_warnings():  # of shapes at an edge, which the fit has told
            warnings.simplefilter("ignore", ExpfamWarning)
            within = _coordinates(self.free, C, r, start, self.V)
            return _with_shapes(*within, phi=self.phi, near=shapes or None)

    def cost(self, found: Constrained) -> float:
        """The likelihood-ratio statistic: [D(β̃) − D(β̂)]/a(φ̂), or 2(ℓ̂ − ℓ̃) with free shapes."""
        if self.free is None:
            return max(found.deviance - self.deviance, 0.0) / self.scale
        return max(2 * (self.loglik - found.loglik), 0.0)


def constrained_maximum(
    problem: Problem,
    C: np.ndarray,
    r: np.ndarray,
    beta: np.ndarray,
    V: np.ndarray,
    *,
    max_iterations: int = 100,
) -> Constrained:
    """The maximum among the β with Cβ = r.

    Parameters
    ----------
    problem : Problem
        Without aliased columns.
    C : ndarray (q, p)
        Linearly independent rows.
    r : ndarray (q,)
    beta : ndarray (p,)
        A point to begin near, such as the maximum without the constraints.
    V : ndarray (p, p)
        Its covariance up to a factor: the start is the nearest point in this metric.
    max_iterations : int

    Returns
    -------
    Constrained

    Raises
    ------
    ConvergenceError
        If no admissible maximum is found.

    Notes
    -----
    With β = β₀ + Nγ, CN = 0 and Cβ₀ = r, a model with the columns XN and the offset Xβ₀.
    """
    origin, N, free = _coordinates(problem, C, r, beta, V)
    if N.shape[1] == 0:
        value = deviance(free, MemoryBlocks(free), np.zeros(0))
        if not np.isfinite(value):
            raise ConvergenceError("the hypothesis leaves the domain of the link.")
        return Constrained(origin, value)
    try:
        maximum = find_maximum(free, start=np.zeros(N.shape[1]), max_iterations=max_iterations)
    except ConvergenceError:  # the nearest point can lie outside the domain of the link
        maximum = find_maximum(free, max_iterations=max_iterations)
    return Constrained(origin + N @ maximum.solution.beta, maximum.measures.deviance)


def nearest_under(beta: np.ndarray, V: np.ndarray, C: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The point with Cβ = r that is nearest to β in the metric of V⁻¹."""
    spread = V @ C.T
    return beta - spread @ np.linalg.solve(C @ spread, C @ beta - r)


def _coordinates(
    problem: Problem, C: np.ndarray, r: np.ndarray, beta: np.ndarray, V: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Problem]:
    """β₀, N and the problem in γ."""
    origin = nearest_under(beta, V, C, r)
    size = np.sqrt(np.diagonal(V))
    q, p = C.shape
    N = size[:, None] * np.linalg.qr((C * size).T, mode="complete")[0][:, q:]
    offset = problem.X @ origin
    if problem.offset is not None:
        offset = offset + problem.offset
    X = np.ascontiguousarray(problem.X @ N)
    labels = tuple(f"free {k}" for k in range(p - q))
    frame = replace(problem.frame, X=X, labels=labels, bounded=False)
    return origin, N, replace(problem, matrix=X, offset=offset, frame=frame)


def _with_shapes(
    origin: np.ndarray,
    N: np.ndarray,
    problem: Problem,
    *,
    phi: float | None,
    near: Mapping[str, float] | None,
) -> Constrained:
    """The maximum in γ, the free shapes, and φ unless it is known or given."""
    start = np.zeros(N.shape[1])
    try:
        found = estimate_shapes(problem, phi=phi, start=start, near=near)
    except ConvergenceError:
        found = estimate_shapes(problem, phi=phi)
    beta, loglik, a = origin + N @ found.beta, found.loglik, found.a
    if found.limit is not None:
        inner = found.problem
        if N.shape[1]:
            maximum = find_maximum(inner, start=found.beta)
            beta, measures = origin + N @ maximum.solution.beta, maximum.measures
        else:
            objective = Scoring(inner, MemoryBlocks(inner), 1e-8, 1).sums(start).objective
            measures = fitness(inner, MemoryBlocks(inner), start, objective)
        saturated = Saturated(inner.family, MemoryBlocks(inner), measures.parts)
        loglik, a = likeliest(inner, measures, phi, saturated)
    return Constrained(beta, np.nan, loglik, a, found)
