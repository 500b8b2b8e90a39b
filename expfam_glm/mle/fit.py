"""Maximum likelihood of one problem, from β̂ to the result tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

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
from expfam_glm.mle.covariance import Robust, Sandwich
from expfam_glm.mle.dispersion import (
    elasticity,
    estimate,
    given_number,
    log_likelihood,
    maximum_likelihood,
)
from expfam_glm.mle.fitness import Fitness, deviance, fitness, level_deviance
from expfam_glm.mle.irls import Solution, mean_response
from expfam_glm.mle.layout import checked_types, layout
from expfam_glm.mle.linear import Factor, factor_gram
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased, warn_aliased
from expfam_glm.mle.separation import separating_direction, separation_message
from expfam_glm.mle.shape import ShapeEstimates, estimate_shapes
from expfam_glm.tree import Estimate, check_options, likelihood_tree

INFORMATION = ("expected", "observed")


@dataclass(frozen=True)
class Maximum:
    """β̂ with what was found on the way; arrays are over the columns that are not aliased."""

    problem: Problem  # restricted to the kept columns, estimated shapes given
    aliased: np.ndarray  # (all p,)
    solution: Solution
    blocks: MemoryBlocks
    measures: Fitness
    notes: tuple[str, ...]
    shapes: ShapeEstimates | None = None  # where the family leaves shapes free


def find_maximum(
    problem: Problem,
    *,
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
    phi: float | None = None,
) -> Maximum:
    """β̂, after collinear columns are set apart and the existence of a maximum is known.

    Free shape parameters are estimated with it, at the dispersion `phi` if one is given.

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
    shapes = None
    try:
        if problem.family.shape:
            shapes = estimate_shapes(
                problem, phi=phi, start=start, tol=tol, max_iterations=max_iterations
            )
            problem, start = shapes.problem, shapes.beta
        solution, mask = maximise(
            problem, start=start, tol=tol, max_iterations=max_iterations, check_rank=aliased
        )
    except ExpfamError as failure:
        kept = ~aliased(problem.X)
        _refuse_separated(restrict_columns(problem, kept), cause=failure)
        raise
    notes = [shapes.note] if shapes is not None and shapes.note else []
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
    return Maximum(kept_problem, mask, solution, blocks, measures, tuple(notes), shapes)


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
    cov: str | Sequence[str] | None = None,
    groups: Any = None,
    time: Any = None,
    lags: int | None = None,
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
    types = checked_types(cov, sampled=problem.sampling is not None)
    arranged = layout(problem, types, groups, time, lags)
    if problem.sampling is not None and problem.family.shape:
        raise ArgumentError(
            f"the shape of {problem.family.name!r} is estimated by likelihood, which "
            "sampling_weights do not leave; give it with family.fix(…)."
        )
    random_seed = check_options(ci_prob, chains, draws, random_seed)
    maximum = find_maximum(
        problem, start=start, tol=tol, max_iterations=max_iterations, phi=given_number(dispersion)
    )
    shapes = maximum.shapes
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
        factor = _observed(inner, blocks, beta, shapes)
    family = inner.family
    df = inner.n - beta.size
    if estimated and df <= 0 and dispersion != "ml":
        notes.append(
            "there are as many coefficients as observations: the dispersion cannot be estimated "
            "and there are no standard errors."
        )
        warn(notes[-1], FitWarning)
    a = float(family.a(phi)) if np.isfinite(phi) and not solution.perfect else np.nan
    expected_df = np.full(beta.size, float(df) if estimated and df > 0 else np.inf)
    found = {"fisher": Robust(factor.inverse() * a, expected_df)} if "fisher" in types else {}
    robust = [name for name in types if name != "fisher"]
    if robust:
        sandwich = Sandwich(inner, blocks, beta, solution.factor, factor, arranged)
        found |= {name: _robust(sandwich, name, np.isfinite(a)) for name in robust}
        notes += _remarks(sandwich, found)
    found = {name: found[name] for name in types}
    covariances = {
        "observed" if name == "fisher" and information == "observed" else name:
        expand(one.covariance, maximum.aliased)
        for name, one in found.items()
    }  # fmt: skip
    cov_type, tests = next(iter(covariances)), next(iter(found.values())).df
    loglik, parameters, note = _likelihood(inner, measures, phi, estimated, blocks, solution)
    if note:
        notes.append(note)
    if shapes is not None:
        parameters += len(shapes.values)
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
        "n_iterations": solution.iterations + (0 if shapes is None else shapes.iterations),
        "converged": 1,
        "decrement": solution.decrement,
    }
    correlation = None
    if shapes is not None:
        log_error, correlation = shapes.dispersion(
            log_error, elasticity(family, phi), information == "observed"
        )
    positive = {"phi": (phi, log_error)} if np.isfinite(log_error) else {}
    attrs: dict[str, str | float | int] = {
        **problem.attrs(),
        "cov_type": cov_type,
        "dispersion": "known" if family.phi is not None else str(dispersion),
        **arranged.attrs(),
        "warnings": "\n".join(notes),
    }
    if family.name != problem.family.name:
        attrs["limit_family"] = family.name  # at the edge of a shape parameter
    return likelihood_tree(
        Estimate(
            kind="maximum quasi-likelihood" if family.is_quasi else "maximum likelihood",
            labels=problem.labels,
            beta=expand(beta, maximum.aliased),
            covariances=covariances,
            df=None if tests is None else expand(tests, maximum.aliased),
            fit={"phi": ((), phi)},
            fit_coords={},
            positive=positive,
            fit_stats=stats,
            observed=problem.observed_data(),
            constant=problem.constant_data() | arranged.columns,
            attrs=attrs,
            shapes={} if shapes is None else shapes.on_scales(information == "observed"),
            correlation=correlation,
        ),
        ci_prob=ci_prob,
        chains=chains,
        draws=draws,
        random_seed=random_seed,
    )


def expand(values: np.ndarray, aliased: np.ndarray) -> np.ndarray:
    """A vector or matrix over the kept coefficients, NaN at the aliased ones."""
    if not aliased.any():
        return values
    kept = np.flatnonzero(~aliased)
    full = np.full((aliased.size,) * values.ndim, np.nan)
    full[np.ix_(*[kept] * values.ndim)] = values
    return full


def _robust(sandwich: Sandwich, name: str, determined: bool) -> Robust:
    """One robust covariance; NaN where the fit leaves no residuals."""
    p = sandwich.beta.size
    if not determined or sandwich.problem.n <= p:
        return Robust(np.full((p, p), np.nan), None)
    return sandwich.covariance(name)


def _remarks(sandwich: Sandwich, found: dict[str, Robust]) -> list[str]:
    """What must be known about robust covariances; each is also a warning."""
    notes, p = [], sandwich.beta.size
    if sandwich.problem.n <= p:
        notes.append(
            "there are as many coefficients as observations: the residuals vanish, and robust "
            "covariances are not defined."
        )
    for name, groups in zip(sandwich.layout.names, sandwich.layout.groups, strict=True):
        K = int(groups.max()) + 1
        if p >= K:
            notes.append(
                f"{K} clusters{f' of {name}' if name else ''} do not carry a covariance of {p} "
                f"coefficients: its rank is at most {K - 1}. Test few coefficients at a time, or "
                "use fewer terms."
            )
    size = np.sum(sandwich.factor.root**2, axis=1) * sandwich.mean_square
    for name, one in found.items():
        if name != "fisher" and np.any(one.covariance.diagonal() <= 1e-20 * size):
            notes.append(
                f"the covariance {name!r} is zero in some direction: the scores of every row or "
                "cluster cancel. Its standard errors say nothing there."
            )
    for note in notes:
        warn(note, FitWarning)
    return notes


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


def _observed(
    problem: Problem, blocks: MemoryBlocks, beta: np.ndarray, shapes: ShapeEstimates | None
) -> Factor:
    """The factor of the observed information, of β and shapes jointly where these are estimated.

    Refused where it is not positive definite.
    """
    kernel = row_kernel(problem.family, problem.link, ("observed_weight",))

    def one(block: Block) -> np.ndarray:
        (W,) = kernel(block.eta(beta), block.y, block.w)
        W = np.broadcast_to(W, block.y.shape)
        return weighted_gram(block.X, W if block.f is None else W * block.f)

    matrix = blocks.reduce(one, lambda a, b: a + b)
    if shapes is not None:
        matrix = matrix - shapes.lost
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
    if problem.sampling is not None:
        return np.nan, 0, "sampling weights leave no likelihood: loglik, AIC and BIC are NaN."
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
