"""Maximum likelihood under linear constraints Cβ = r."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ConvergenceError
from expfam_glm.mle.fitness import deviance
from expfam_glm.mle.maximum import find_maximum


class Constrained(NamedTuple):
    """The maximum under the constraints."""

    beta: np.ndarray  # (p,)
    deviance: float


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
    spread = V @ C.T
    origin = beta - spread @ np.linalg.solve(C @ spread, C @ beta - r)
    size = np.sqrt(np.diagonal(V))
    q, p = C.shape
    N = size[:, None] * np.linalg.qr((C * size).T, mode="complete")[0][:, q:]
    offset = problem.X @ origin
    if problem.offset is not None:
        offset = offset + problem.offset
    if q == p:
        alone = replace(problem, offset=offset)
        value = deviance(alone, MemoryBlocks(alone), np.zeros(p))
        if not np.isfinite(value):
            raise ConvergenceError("the hypothesis leaves the domain of the link.")
        return Constrained(origin, value)
    X = np.ascontiguousarray(problem.X @ N)
    labels = tuple(f"free {k}" for k in range(p - q))
    frame = replace(problem.frame, X=X, labels=labels)
    free = replace(problem, X=X, offset=offset, frame=frame)
    try:
        maximum = find_maximum(free, start=np.zeros(p - q), max_iterations=max_iterations)
    except ConvergenceError:  # the nearest point can lie outside the domain of the link
        maximum = find_maximum(free, max_iterations=max_iterations)
    return Constrained(origin + N @ maximum.solution.beta, maximum.measures.deviance)
