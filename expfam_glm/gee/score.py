"""The generalised score test of Cβ = r: the model is fitted under the hypothesis only."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import null_space

from expfam_glm.errors import ConvergenceError
from expfam_glm.gee.covariance import naive, robust
from expfam_glm.gee.recall import Recalled
from expfam_glm.gee.solve import solve
from expfam_glm.mle.constrained import constrained_maximum


class Score(NamedTuple):
    """C B⁻¹ U at the estimate under the hypothesis, and its covariances."""

    step: np.ndarray  # (q,)
    robust: np.ndarray  # (q, q) C B⁻¹ M B⁻¹ Cᵀ with M the sum of squares of the cluster scores
    naive: np.ndarray  # (q, q) C B⁻¹ Cᵀ


def score_of(
    recalled: Recalled,
    C: np.ndarray,
    r: np.ndarray,
    *,
    tol: float = 1e-8,
    max_iterations: int = 200,
) -> Score:
    """The pieces of the generalised score test, C (q, p) over the columns that are not aliased.

    α is estimated again under the hypothesis, unless it was given; φ stays as it is.

    Raises
    ------
    ConvergenceError, CorrelationError
        If the restricted model cannot be fitted.
    """
    inner, whole = recalled.problem, recalled.equations
    V = recalled.state.bread.inverse()
    beta, parameter = constrained_maximum(inner, C, r, recalled.state.beta, V).beta, whole.parameter
    if len(C) < beta.size:
        size = np.sqrt(np.diagonal(V))
        N = size[:, None] * null_space(C * size)  # β = β₀ + Nγ
        offset = inner.X @ beta + (0.0 if inner.offset is None else inner.offset)
        free = recalled.fit(tol, max_iterations).equations
        restricted = replace(free, X=inner.X @ N, offset=offset)
        state = solve(
            restricted, np.zeros(N.shape[1]), tol=tol, max_iterations=max_iterations
        ).state
        beta, parameter = beta + N @ state.beta, state.parameter
    found = replace(whole, parameter=parameter).evaluate(beta)
    if found is None:
        raise ConvergenceError("the estimate under the hypothesis is not admissible.")
    return Score(
        C @ found.step,
        C @ robust(found.bread, found.scores) @ C.T,
        C @ naive(found.bread, found.dispersion) @ C.T,
    )
