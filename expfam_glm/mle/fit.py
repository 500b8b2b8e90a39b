"""Maximum likelihood of one problem, from β̂ to the result tree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.data.blocks import Block, MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import (
    ArgumentError,
    ConvergenceError,
    ExpfamError,
    FitWarning,
    SeparationError,
    one_of,
    warn,
)
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.mle.boundary import refuse_boundary
from expfam_glm.mle.dispersion import estimate, log_likelihood, maximum_likelihood
from expfam_glm.mle.fitness import Fitness, deviance, fitness, level_deviance
from expfam_glm.mle.irls import Solution, mean_response
from expfam_glm.mle.linear import Factor, factor_gram
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased, warn_aliased
from expfam_glm.mle.separation import separating_direction, separation_message
from expfam_glm.tree import Estimate, check_options, likelihood_tree

INFORMATION = ("expected", "observed")


@dataclass(frozen=True)
class Maximum:
    """β̂ with what was found on the way; arrays are over the columns that are not aliased."""

    problem: Problem  # restricted to the kept columns
    aliased: np.ndarray  # (all p,)
    solution: Solution
    blocks: MemoryBlocks
    measures: Fitness
    notes: tuple[str, ...]


def find_maximum(
    problem: Problem,
    *,
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
) -> Maximum:
    """β̂, after collinear columns are set apart and the existence of a maximum is known.

    Raises
    ------
    SeparationError
        If no finite maximum exists.
    ConvergenceError
        If the iteration does not meet its rule.
    ArgumentError
        If there is no coefficient, or `start`, `tol` or `max_iterations` make no sense.
    """
    if not (isinstance(tol, Real) and 0 < tol < 1):
        raise ArgumentError(f"tol={tol!r} must be a number in (0, 1).")
    if not (isinstance(max_iterations, Integral) and max_iterations >= 1):
        raise ArgumentError(f"max_iterations={max_iterations!r} must be a whole number from 1.")
    if problem.X.shape[1] == 0:
        raise ArgumentError("the model has no coefficient; add a term to the formula.")
    start = None if start is None else _checked_start(problem, start)
    try:
        solution, mask = maximise(
            problem, start=start, tol=tol, max_iterations=max_iterations, check_rank=aliased
        )
    except ExpfamError as failure:
        kept = ~aliased(problem.X)
        _refuse_separated(restrict_columns(problem, kept), cause=failure)
        raise
    notes = []
    if mask.any():
        notes.append(warn_aliased(problem.labels, mask))
    kept_problem = restrict_columns(problem, ~mask)
    blocks = MemoryBlocks(kept_problem)
    measures = fitness(kept_problem, blocks, solution.beta, solution.sums.objective)
    if not solution.confirmed:
        family, step = problem.family, solution.factor.solve(measures.score)
        known = family.phi is not None
        spread = float(family.a(family.phi)) if known else measures.pearson / kept_problem.n
        decrement = solution.factor.length(step) / np.sqrt(spread)
        if not decrement < tol:
            return find_maximum(
                problem, start=solution.beta, tol=tol, max_iterations=max_iterations
            )
        solution = replace(solution, decrement=float(decrement))
    if measures.near_edge:
        _refuse_separated(kept_problem)
    if measures.near_edge or not np.isfinite(measures.deviance):
        refuse_boundary(kept_problem, blocks, solution.beta)
    if solution.perfect:
        notes.append(
            "the fit is perfect: the residuals are rounding errors, so the dispersion is zero and "
            "there are no standard errors."
        )
        warn(notes[-1], FitWarning)
    return Maximum(kept_problem, mask, solution, blocks, measures, tuple(notes))


def _checked_start(problem: Problem, start: ArrayLike) -> np.ndarray:
    """The given start as one finite number for each coefficient."""
    try:
        first = np.asarray(start, dtype=float)
    except (TypeError, ValueError):
        first = np.array(np.nan)
    p = problem.X.shape[1]
    if first.shape != (p,) or not np.all(np.isfinite(first)):
        raise ArgumentError(
            f"start={start!r} must be {p} finite number(s), one for each of "
            f"{', '.join(problem.labels)}."
        )
    return first


def restrict_columns(problem: Problem, kept: np.ndarray) -> Problem:
    """The same problem with some columns of X only."""
    if kept.all():
        return problem
    labels = tuple(label for label, keep in zip(problem.labels, kept, strict=True) if keep)
    frame = replace(problem.frame, X=problem.frame.X[:, kept], labels=labels)
    return replace(problem, X=np.ascontiguousarray(problem.X[:, kept]), frame=frame)


def _refuse_separated(problem: Problem, cause: Exception | None = None) -> None:
    direction = separating_direction(problem)
    if direction is not None:
        raise SeparationError(separation_message(problem, direction)) from cause


def fit(
    problem: Problem,
    *,
    information: str = "expected",
    dispersion: str | float = "pearson",
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
    ci_prob: float | None = None,
    chains: int = 4,
    draws: int = 1000,
    random_seed: int | None = 0,
) -> xr.DataTree:
    """Fit by iteratively reweighted least squares; see `GLM.fit`."""
    if information not in INFORMATION:
        raise one_of("information", information, INFORMATION)
    random_seed = check_options(ci_prob, chains, draws, random_seed)
    maximum = find_maximum(problem, start=start, tol=tol, max_iterations=max_iterations)
    inner, solution = maximum.problem, maximum.solution
    blocks, measures = maximum.blocks, maximum.measures
    beta = solution.beta
    notes = list(maximum.notes)
    if np.isinf(measures.deviance):
        notes.append(
            f"the deviance is infinite: the variance function of {inner.family.name!r} falls to "
            "zero too fast at an end of the mean space on which responses lie. Estimates and "
            "standard errors, which need the variance alone, are not concerned."
        )
        warn(notes[-1], FitWarning)
    phi, estimated, log_error = _dispersion(inner, dispersion, measures, blocks, solution)
    factor = solution.factor
    if information == "observed":
        factor = _observed(inner, blocks, beta)
    family = inner.family
    df = inner.n - beta.size
    if estimated and df <= 0 and dispersion != "ml":
        notes.append(
            "there are as many coefficients as observations: the dispersion cannot be estimated "
            "and there are no standard errors."
        )
        warn(notes[-1], FitWarning)
    a = float(family.a(phi)) if np.isfinite(phi) and not solution.perfect else np.nan
    covariance = np.full((maximum.aliased.size,) * 2, np.nan)
    kept = np.flatnonzero(~maximum.aliased)
    covariance[np.ix_(kept, kept)] = factor.inverse() * a
    full = np.full(maximum.aliased.size, np.nan)
    full[kept] = beta
    loglik, parameters, note = _likelihood(inner, measures, phi, estimated, blocks, solution)
    if note:
        notes.append(note)
    n = inner.n
    stats: dict[str, float | int] = {
        "deviance": measures.deviance,
        "null_deviance": null_deviance(inner, measures),
        "loglik": loglik,
        "aic": -2 * loglik + 2 * (beta.size + parameters),
        "bic": -2 * loglik + np.log(n) * (beta.size + parameters),
        "pearson_chi2": measures.pearson,
        "df_residual": df,
        "df_null": n - (1 if measures.has_intercept else 0),
        "n_observations": n,
        "n_iterations": solution.iterations,
        "converged": 1,
        "decrement": solution.decrement,
    }
    cov_type = "fisher" if information == "expected" else "observed"
    positive = {"phi": (phi, log_error)} if np.isfinite(log_error) else {}
    attrs: dict[str, str | float | int] = {
        **problem.attrs(),
        "cov_type": cov_type,
        "dispersion": "known" if family.phi is not None else str(dispersion),
        "warnings": "\n".join(notes),
    }
    return likelihood_tree(
        Estimate(
            kind="maximum likelihood",
            labels=problem.labels,
            beta=full,
            covariances={cov_type: covariance},
            df=float(df) if estimated and df > 0 else None,
            fit={"phi": ((), phi)},
            fit_coords={},
            positive=positive,
            fit_stats=stats,
            observed=problem.observed_data(),
            constant=problem.constant_data(),
            attrs=attrs,
        ),
        ci_prob=ci_prob,
        chains=chains,
        draws=draws,
        random_seed=random_seed,
    )


def _dispersion(
    problem: Problem,
    method: str | float,
    measures: Fitness,
    blocks: MemoryBlocks,
    solution: Solution,
) -> tuple[float, bool, float]:
    if solution.perfect:
        return 0.0, True, np.nan
    return estimate(problem, method, measures, blocks)


def _observed(problem: Problem, blocks: MemoryBlocks, beta: np.ndarray) -> Factor:
    """The factor of the observed information; refused where it is not positive definite."""
    kernel = row_kernel(problem.family, problem.link, ("observed_weight",))

    def one(block: Block) -> np.ndarray:
        (W,) = kernel(block.eta(beta), block.y, block.w)
        W = np.broadcast_to(W, block.y.shape)
        return weighted_gram(block.X, W if block.f is None else W * block.f)

    matrix = blocks.reduce(one, lambda a, b: a + b)
    factor = factor_gram(matrix)
    if factor is None:
        raise ConvergenceError(
            "the observed information is not positive definite at the estimate, so it gives no "
            "standard errors; use information='expected'.",
            matrix,
        )
    return factor


def _likelihood(
    problem: Problem,
    measures: Fitness,
    phi: float,
    estimated: bool,
    blocks: MemoryBlocks,
    solution: Solution,
) -> tuple[float, int, str]:
    """ℓ at the maximum-likelihood φ̂, how many further parameters it counts, and a remark."""
    family = problem.family
    if family.is_quasi:
        return np.nan, 0, "a quasi family has no likelihood: loglik, AIC and BIC are NaN."
    if solution.perfect or (estimated and measures.deviance <= 0):
        return np.nan, 1, "the likelihood of a perfect fit has no maximum in the dispersion."
    if estimated:
        phi, _ = maximum_likelihood(problem, measures, blocks)
    return log_likelihood(problem, measures, phi, blocks), int(estimated), ""


def null_deviance(problem: Problem, fit: Fitness) -> float:
    """The deviance of the model with the intercept (if there is one) and the offset alone.

    NaN where that model has no admissible mean.
    """
    n = problem.row_count
    frame = replace(problem.frame, X=np.ones((n, 1)), labels=("Intercept",))
    null = replace(problem, X=frame.X, frame=frame)
    blocks = MemoryBlocks(null)
    space = problem.link.image(problem.family.mean_space)
    if not fit.has_intercept:
        offset = np.zeros(n) if problem.offset is None else problem.offset
        if not (space.low < offset.min() and offset.max() < space.high):
            return np.nan
        return deviance(null, blocks, np.zeros(1))
    if problem.offset is None:
        mean = mean_response(problem)
        if problem.family.closed_deviance is None:
            return level_deviance(problem, mean, fit)
        return deviance(null, blocks, np.atleast_1d(problem.link(mean)))
    return find_maximum(null).measures.deviance
