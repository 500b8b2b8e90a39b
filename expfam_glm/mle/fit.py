"""Maximum likelihood of one problem, from β̂ to the result tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.data.bars import refuse_effects
from expfam_glm.data.blocks import Block, MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, ConvergenceError, FitWarning, one_of, warn
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.mle.covariance import Robust, Sandwich
from expfam_glm.mle.dispersion import (
    elasticity,
    estimate,
    given_number,
    log_likelihood,
    maximum_likelihood,
)
from expfam_glm.mle.fitness import Fitness, deviance, level_deviance
from expfam_glm.mle.irls import Solution, mean_response
from expfam_glm.mle.layout import checked_types, layout
from expfam_glm.mle.linear import Factor, conditioning, factor_gram
from expfam_glm.mle.maximum import Maximum, find_maximum
from expfam_glm.mle.penalised import find_penalised
from expfam_glm.mle.penalty import Adjustment, Penalty, penalty_attrs, penalty_of
from expfam_glm.mle.rank import expand
from expfam_glm.mle.shape import ShapeEstimates
from expfam_glm.tree import Estimate, check_options, likelihood_tree

INFORMATION = ("expected", "observed")


def fit(
    problem: Problem,
    *,
    cov: str | Sequence[str] | None = None,
    groups: Any = None,
    time: Any = None,
    lags: int | None = None,
    information: str = "expected",
    dispersion: str | float = "pearson",
    penalty: Any = None,
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
    ci_prob: float | None = None,
    chains: int = 4,
    draws: int = 1000,
    random_seed: int | None = 0,
) -> xr.DataTree:
    """Fit by iteratively reweighted least squares; see `GLM.fit`."""
    refuse_effects(problem.frame.effects, "fit()")
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
    known = penalty_of(penalty)
    maximum: Maximum
    if known is None:
        number = given_number(dispersion)
        maximum = find_maximum(
            problem, start=start, tol=tol, max_iterations=max_iterations, phi=number
        )
    else:
        _check_penalty(problem, known, types, information)
        maximum = find_penalised(
            problem, known, dispersion=dispersion, start=start, tol=tol,
            max_iterations=max_iterations,
        )  # fmt: skip
    shapes = maximum.shapes
    inner, solution = maximum.problem, maximum.solution
    blocks, measures = maximum.blocks, maximum.measures
    beta = solution.beta
    notes = [*_dropped(problem), *maximum.notes]
    near_collinear = conditioning(solution.factor, inner.labels)
    if near_collinear:
        notes.append(near_collinear)
        warn(near_collinear, FitWarning)
    if np.isinf(measures.deviance):
        notes.append(
            f"the deviance is infinite: the variance function of {inner.family.name!r} falls to "
            "zero too fast at an end of the mean space on which responses lie. Estimates and "
            "standard errors, which need the variance alone, are not concerned."
        )
        warn(notes[-1], FitWarning)
    phi, estimated, log_error = _dispersion(inner, dispersion, measures, blocks, solution)
    if maximum.phi is not None:
        phi, log_error = maximum.phi, np.nan
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
    own_df: dict[str, tuple[tuple[str, ...], np.ndarray | float]] = {
        f"df_{name}": (("coef",), expand(one.df, maximum.aliased))
        for name, one in found.items()
        if name != "fisher" and one.df is not None
    }
    parameters: float
    loglik, parameters, note = _likelihood(inner, measures, phi, estimated, blocks, solution)
    if note:
        notes.append(note)
    if shapes is not None:
        parameters += len(shapes.values)
    if known is not None:
        parameters = np.nan
        notes.append("AIC and BIC are NaN: the estimate does not maximise the likelihood.")
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
        **({} if known is None else penalty_attrs(known)),
        "warnings": "\n".join(notes),
    }
    if family.name != problem.family.name:
        attrs["limit_family"] = family.name  # at the edge of a shape parameter
    kind = "maximum quasi-likelihood" if family.is_quasi else "maximum likelihood"
    return likelihood_tree(
        Estimate(
            kind=kind if known is None else f"penalised {kind}",
            labels=problem.labels,
            beta=expand(beta, maximum.aliased),
            covariances=covariances,
            df=None if tests is None else expand(tests, maximum.aliased),
            fit={"phi": ((), phi), **own_df},
            fit_coords={},
            positive=positive,
            fit_stats=stats,
            observed=problem.observed_data(),
            obs_id=problem.obs_id,
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


def _dropped(problem: Problem) -> list[str]:
    """Which rows missing="drop" left out."""
    frame = problem.frame
    if not frame.n_dropped or frame.kept is None:
        return []
    gone = np.flatnonzero(~frame.kept)
    more = f" and {gone.size - 5} more" if gone.size > 5 else ""
    shown = ", ".join(map(str, gone[:5]))
    return [
        f"{gone.size} of {frame.kept.size} rows had missing values and were dropped (row {shown}"
        f"{more})."
    ]


def _check_penalty(
    problem: Problem, penalty: Penalty, types: Sequence[str], information: str
) -> None:
    """Refuse what has no meaning together with a penalty."""
    robust = [name for name in types if name != "fisher"]
    if robust and not isinstance(penalty, Adjustment):
        raise ArgumentError(
            f"cov={robust[0]!r} has no meaning with penalty={penalty!s}: its estimate is "
            "biased on purpose. Use cov='fisher', the curvature of the posterior."
        )
    if information != "expected":
        raise ArgumentError("information='observed' is not offered with a penalty.")
    if problem.sampling is not None:
        raise ArgumentError("a penalty needs a likelihood, which sampling_weights do not leave.")
    if problem.family.shape:
        raise ArgumentError(
            f"a penalty needs the shape of {problem.family.name!r} to be known; give it with "
            "family.fix(…), say at its estimate without the penalty."
        )


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
