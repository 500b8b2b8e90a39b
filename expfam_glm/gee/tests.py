"""Tests of linear hypotheses Lβ = c on GEE: Wald's, and the generalised score test."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.linalg import null_space
from scipy.stats import chi2, f

from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, ConvergenceError
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.covariance import robust
from expfam_glm.gee.equations import Equations
from expfam_glm.gee.recall import recall
from expfam_glm.gee.solve import solve
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased

_ROUNDING = 1e-10


class Outcome(NamedTuple):
    """A test statistic, its degrees of freedom and its p-value."""

    statistic: float
    df: float
    df_denominator: float  # infinite where the statistic is a χ²
    p_value: float


def wald_test(tree: xr.DataTree, L: ArrayLike, c: ArrayLike = 0.0) -> Outcome:
    """Wald's test of Lβ = c with the first covariance of a tree.

    Parameters
    ----------
    tree : DataTree
        What `GLM.gee` returned.
    L : array_like (q, p) or (p,)
    c : array_like (q,), optional

    Returns
    -------
    Outcome
        The statistic W = (Lβ̂ − c)ᵀ(L V Lᵀ)⁻¹(Lβ̂ − c), χ² with q degrees of freedom; W/q is F(q, ν)
        where the tree's tests are t tests with ν.

    Raises
    ------
    ArgumentError
        If L or c do not fit, are not of full rank, or Satterthwaite's degrees of freedom are asked
        of more than one coefficient.

    References
    ----------
    Rotnitzky and Jewell (1990), Biometrika 77, 485-497.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> round(wald_test(model.gee("patient"), [0, 0, 1, 0, 0]).p_value, 3)
    0.002
    """
    fit = tree["fit"].to_dataset()
    beta, V = fit["beta"].values, fit["covariance"].values[0]
    rows, target = _hypothesis(L, c, ~np.isnan(beta), [str(v) for v in fit["coef"].values])
    kept = ~np.isnan(beta)
    gap = rows @ beta[kept] - target
    statistic = float(gap @ np.linalg.solve(rows @ V[np.ix_(kept, kept)] @ rows.T, gap))
    df = fit["df"].values[kept][np.any(rows != 0, axis=0)]
    if np.any(df != df[0]):
        raise ArgumentError(
            "Satterthwaite's degrees of freedom belong to single coefficients; test these, or fit "
            "with df='t' or df='z'."
        )
    q = rows.shape[0]
    if np.isinf(df[0]):
        return Outcome(statistic, q, np.inf, float(chi2.sf(statistic, q)))
    return Outcome(statistic / q, q, float(df[0]), float(f.sf(statistic / q, q, df[0])))


def score_test(
    problem: Problem,
    tree: xr.DataTree,
    L: ArrayLike,
    c: ArrayLike = 0.0,
    *,
    correlation: str | Correlation | None = None,
    tol: float = 1e-8,
    max_iterations: int = 200,
) -> Outcome:
    """The generalised score test of Lβ = c: the model is fitted under the hypothesis only.

    Parameters
    ----------
    problem : Problem
        Of the model that made the tree, `GLM.problem`.
    tree : DataTree
        What `GLM.gee` returned; says clusters, working correlation and conventions.
    L : array_like (q, p) or (p,)
    c : array_like (q,), optional
    correlation : str or Correlation, optional
        The working correlation, where it has arguments.
    tol, max_iterations
        As for `GLM.gee`.

    Returns
    -------
    Outcome
        With all taken at the estimate β̃ under the hypothesis,
        T = (L B⁻¹ U)ᵀ (L V Lᵀ)⁻¹ (L B⁻¹ U), V = B⁻¹ C B⁻¹; χ² with q degrees of freedom.

    Raises
    ------
    ArgumentError
        If L or c do not fit, or are not of full rank.
    ConvergenceError, CorrelationError
        If the restricted model cannot be fitted.

    Notes
    -----
    α and φ are estimated again under the hypothesis, unless they were given.

    References
    ----------
    Rotnitzky and Jewell (1990), Biometrika 77, 485-497; Boos (1992), American Statistician 46,
    327-333.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> test = score_test(model.problem, model.gee("patient"), [0, 0, 1, 0, 0])
    >>> round(test.p_value, 3)
    0.018
    """
    recalled = recall(problem, tree, correlation)
    inner, whole = recalled.problem, recalled.equations
    rows, target = _hypothesis(L, c, recalled.kept, list(problem.labels))
    free = null_space(rows)
    at = np.linalg.lstsq(rows, target, rcond=None)[0]
    dispersion = whole.dispersion if tree.attrs["dispersion"] == "given" else None
    given = tree.attrs["association"] == "given" or whole.structure.alpha_dims is None
    parameter = whole.parameter if given else None
    shift = inner.X @ at
    offset = shift if inner.offset is None else inner.offset + shift
    if free.shape[1] == 0:
        beta, alpha = at, whole.parameter
    else:
        part = replace(inner, X=inner.X @ free, offset=offset)
        start, _ = maximise(part, check_rank=aliased)
        restricted = Equations(
            part.family, part.link, part.y, part.X, part.w, part.offset, whole.structure,
            whole.ddof, dispersion, parameter,
        )  # fmt: skip
        state = solve(restricted, start.beta, tol=tol, max_iterations=max_iterations).state
        beta, alpha = at + free @ state.beta, state.parameter
    full = Equations(
        inner.family, inner.link, inner.y, inner.X, inner.w, inner.offset, whole.structure,
        whole.ddof, whole.dispersion, alpha,
    )  # fmt: skip
    found = full.evaluate(beta)
    if found is None:
        raise ConvergenceError("the estimate under the hypothesis is not admissible.")
    step = rows @ found.step
    V = rows @ robust(found.bread, found.scores) @ rows.T
    statistic = float(step @ np.linalg.solve(V, step))
    q = rows.shape[0]
    return Outcome(statistic, q, np.inf, float(chi2.sf(statistic, q)))


def _hypothesis(
    L: ArrayLike, c: ArrayLike, kept: np.ndarray, labels: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """L over the kept coefficients and c, checked."""
    try:
        rows = np.atleast_2d(np.asarray(L, dtype=float))
        target = np.broadcast_to(np.asarray(c, dtype=float), rows.shape[:1]).copy()
    except (TypeError, ValueError):
        raise ArgumentError(
            f"L={L!r} must be numbers, one row for each equation, and c={c!r} one number for each."
        ) from None
    if rows.ndim != 2 or rows.shape[1] != kept.size:
        raise ArgumentError(
            f"L must have {kept.size} columns, one for each of {', '.join(labels)}; got shape "
            f"{rows.shape}."
        )
    if not (np.all(np.isfinite(rows)) and np.all(np.isfinite(target))):
        raise ArgumentError("L and c must be finite.")
    if np.any(rows[:, ~kept] != 0):
        lost = ", ".join(labels[k] for k in np.flatnonzero(~kept))
        raise ArgumentError(f"the hypothesis needs coefficients that are aliased: {lost}.")
    rows = rows[:, kept]
    if np.linalg.matrix_rank(rows, tol=_ROUNDING * np.abs(rows).max(initial=1.0)) < rows.shape[0]:
        raise ArgumentError("the rows of L are linearly dependent; leave out the redundant ones.")
    return rows, target
