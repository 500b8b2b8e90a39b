"""Maximum likelihood of one problem, from β̂ to the result tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.data.bars import refuse_effects
from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.compress import cheaply_compressed, uncompressed
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed, need_rows
from expfam_glm.errors import ArgumentError, ConvergenceError, FitWarning, one_of, warn
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.kernels.threads import one_blas
from expfam_glm.mle.covariance import Robust, Sandwich
from expfam_glm.mle.dispersion import (
    elasticity,
    estimate,
    given_number,
    log_likelihood,
    maximum_likelihood,
)
from expfam_glm.mle.fitness import Fitness
from expfam_glm.mle.irls import Solution
from expfam_glm.mle.layout import checked_types, fitted_rows, layout
from expfam_glm.mle.linear import Factor, conditioning, factor_gram
from expfam_glm.mle.maximum import Maximum, find_maximum
from expfam_glm.mle.null import null_deviance
from expfam_glm.mle.penalised import find_penalised
from expfam_glm.mle.penalty import penalty_of
from expfam_glm.mle.rank import expand
from expfam_glm.mle.remarks import check_penalty, dropped_rows, of_sandwich
from expfam_glm.mle.saturated import Saturated
from expfam_glm.mle.shape import ShapeEstimates
from expfam_glm.mle.streamed import StreamedSandwich
from expfam_glm.tree import Estimate, check_options, likelihood_tree

INFORMATION = ("expected", "observed")
# The part of a deviance that may be rounding errors without a remark.
_DIGITS_LOST = 1e-6


@one_blas()  # with more threads a factor of some hundred columns takes a hundred times as long
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
    if penalty is not None:
        need_rows(problem, "a penalty")
    given = problem
    if information not in INFORMATION:
        raise one_of("information", information, INFORMATION)
    types = checked_types(cov, sampled=problem.sampling is not None)
    arranged = layout(uncompressed(problem), types, groups, time, lags)
    if not arranged.groups and arranged.order is None:
        problem = cheaply_compressed(problem)
    problem, inside = fitted_rows(problem, arranged)
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
        check_penalty(problem, known, types, information)
        maximum = find_penalised(
            problem, known, dispersion=dispersion, start=start, tol=tol,
            max_iterations=max_iterations,
        )  # fmt: skip
    shapes = maximum.shapes
    inner, solution = maximum.problem, maximum.solution
    blocks, measures = maximum.blocks, maximum.measures
    beta = solution.beta
    notes = [*dropped_rows(given), *maximum.notes]
    near_collinear = conditioning(solution.factor, inner.labels)
    if near_collinear:
        notes.append(near_collinear)
        warn(near_collinear, FitWarning)
    free = inner.family.phi is None
    # a known dispersion is what the errors are seen beside: one for each row
    part = measures.lost if free else measures.lost * measures.deviance / inner.n
    if not solution.perfect and inner.n > beta.size and part > _DIGITS_LOST:
        also = ", and the same of a dispersion that is estimated by it"
        notes.append(
            "the deviance is what is left of far larger numbers: about "
            f"{min(measures.lost, 1.0):.0e} of it is rounding errors"
            f"{also if free else ''}. Pearson's χ² is not concerned."
        )
        warn(notes[-1], FitWarning)
    if np.isinf(measures.deviance):
        notes.append(
            f"the deviance is infinite: the variance function of {inner.family.name!r} falls to "
            "zero too fast at an end of the mean space on which responses lie. Estimates and "
            "standard errors, which need the variance alone, are not concerned."
        )
        warn(notes[-1], FitWarning)
    saturated = maximum.saturated
    phi, estimated, log_error = _dispersion(inner, dispersion, measures, saturated, solution)
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
        sandwich: Sandwich | StreamedSandwich
        if isinstance(inner, Streamed):
            sandwich = StreamedSandwich(inner, beta, solution.factor, factor, inside, tuple(robust))
        else:
            sandwich = Sandwich(inner, blocks, beta, solution.factor, factor, inside)
        found |= {name: _robust(sandwich, name, np.isfinite(a)) for name in robust}
        notes += of_sandwich(sandwich, found)
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
    loglik, parameters, note = _likelihood(inner, measures, phi, estimated, saturated, solution)
    if note:
        notes.append(note)
    if shapes is not None:
        parameters += len(shapes.values)
    if known is not None:
        parameters = np.nan
        notes.append("AIC and BIC are NaN: the estimate does not maximise the likelihood.")
    n = inner.n
    if isinstance(given, Streamed):
        given.held.clear()
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
        **given.attrs(),
        "cov_type": cov_type,
        "dispersion": "known" if family.phi is not None else str(dispersion),
        **arranged.attrs(),
        **({} if known is None else known.attrs()),
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
            observed=given.observed_data(),
            obs_id=given.obs_id,
            constant=given.constant_data() | arranged.columns,
            attrs=attrs,
            shapes={} if shapes is None else shapes.on_scales(information == "observed"),
            correlation=correlation,
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
    saturated: Saturated,
    solution: Solution,
) -> tuple[float, bool, float]:
    if solution.perfect:
        return 0.0, True, np.nan
    return estimate(problem, method, measures, saturated)


def _observed(
    problem: Problem, blocks: Blocks, beta: np.ndarray, shapes: ShapeEstimates | None
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
    saturated: Saturated,
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
        phi, _ = maximum_likelihood(problem, measures, saturated)
    return log_likelihood(problem, measures, phi, saturated), int(estimated), ""


def _robust(sandwich: Sandwich | StreamedSandwich, name: str, determined: bool) -> Robust:
    """One robust covariance; NaN where the fit leaves no residuals."""
    p = sandwich.beta.size
    if not determined or sandwich.problem.n <= p:
        return Robust(np.full((p, p), np.nan), None)
    return sandwich.covariance(name)
