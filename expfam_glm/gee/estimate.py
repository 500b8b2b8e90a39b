"""Generalised estimating equations of one problem, from clusters to the result tree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.data.bars import refuse_effects
from expfam_glm.data.blocks import blocks_of
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import ArgumentError, DataError, FitWarning, is_number, warn
from expfam_glm.gee import correlation as correlations
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.covariance import CORRECTED, Covariances, check, covariances
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.fitting import Fit, Options, fitted, leave_one_out
from expfam_glm.gee.selection import criteria
from expfam_glm.gee.streamed import arranged
from expfam_glm.mle.dispersion import invert_dispersion
from expfam_glm.mle.few_clusters import few_clusters
from expfam_glm.mle.fitness import deviance as row_deviance
from expfam_glm.mle.rank import expand
from expfam_glm.mle.remarks import dropped_rows, vanishing
from expfam_glm.tree import Estimate, check_options, likelihood_tree


def gee(
    problem: Problem,
    groups: str | ArrayLike,
    correlation: str | Correlation = "exchangeable",
    *,
    time: str | ArrayLike | None = None,
    cov: str | Sequence[str] = "robust",
    df: str = "z",
    ddof: str = "none",
    phi: float | None = None,
    alpha: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 200,
    ci_prob: float | None = None,
    chains: int = 4,
    draws: int = 1000,
    random_seed: int | None = 0,
) -> xr.DataTree:
    """Fit by generalised estimating equations; see `GLM.gee`."""
    refuse_effects(problem.frame.effects, "gee()")
    chosen = check(cov, df)
    if "jackknife" in chosen and isinstance(problem, Streamed):
        raise DataError(
            "cov='jackknife' fits the model without each cluster, which needs all rows in memory, "
            f"but those of this model are read in batches from {problem.reading[0].name!r}. Use "
            "cov='jackknife-one-step' or 'mancl-derouen'."
        )
    random_seed = check_options(ci_prob, chains, draws, random_seed)
    if phi is not None and not (is_number(phi) and np.isfinite(phi) and phi > 0):
        raise ArgumentError(f"phi={phi!r} must be a positive number, or None to estimate it.")
    if not (isinstance(tol, Real) and 0 < tol < 1):
        raise ArgumentError(f"tol={tol!r} must be a number in (0, 1).")
    if not (is_number(max_iterations, Integral) and max_iterations >= 1):
        raise ArgumentError(f"max_iterations={max_iterations!r} must be a whole number from 1.")
    if problem.family.shape:
        name = next(iter(problem.family.shape))
        raise ArgumentError(
            f"estimating equations have no likelihood to find {', '.join(problem.family.shape)} of "
            f"{problem.family.name!r} by; give the value with family.fix({name}=…), as in "
            "family=expfam_glm.families.negative_binomial(alpha=0.5): such as the one that fit() "
            "estimates under independence."
        )
    if problem.f is not None:
        raise ArgumentError(
            "freq_weights cannot be used with gee: they say how many rows stand alike, but not "
            "which of them share a cluster. Repeat the rows (or whole clusters) instead."
        )
    if problem.sampling is not None:
        raise ArgumentError(
            "sampling_weights cannot be used with gee, whose weights are precisions; use fit() "
            "with cov='CR1' and groups=, the same estimate as under independence."
        )
    working = correlations.named(correlation)
    dispersion = None if phi is None else float(problem.family.a(phi))
    options = Options(ddof, dispersion, alpha, start, float(tol), int(max_iterations))
    with arranged(problem, working, groups, time) as rows:
        fit = fitted(rows, options)
        equations, state = fit.equations, fit.solution.state
        found = covariances(equations, state, chosen, df, partial(leave_one_out, rows, fit))
        statistics = _statistics(fit, found.by_type)
    if isinstance(problem, Streamed):
        problem.held.clear()
    kept = [label for label, gone in zip(problem.labels, fit.aliased, strict=True) if not gone]
    notes = [*dropped_rows(problem), *fit.notes, *_remarks(equations, state, found, chosen, kept)]
    constant = problem.constant_data() | rows.constant_data()
    named = {"groups": groups, "time": time}
    attrs: dict[str, str | float | int] = {
        **problem.attrs(),
        "cov_type": chosen[0],
        "df": df,
        "correlation": working.name,
        "ddof": ddof,
        "dispersion": "given" if phi is not None else "moments",
        "association": "given" if alpha is not None else "moments",
        **{role: name for role, name in named.items() if isinstance(name, str)},
        **working.attrs(),
        **({"times": "times: the order of rows"} if rows.counted else {}),
        "warnings": "\n".join(notes),
    }
    parameters, coords = _parameters(equations, state, problem)
    return likelihood_tree(
        Estimate(
            kind="GEE",
            labels=problem.labels,
            beta=expand(state.beta, fit.aliased),
            covariances={name: expand(V, fit.aliased) for name, V in found.by_type.items()},
            df=expand(found.df, fit.aliased) if np.ndim(found.df) else found.df,
            fit=parameters,
            fit_coords=coords,
            positive={},
            fit_stats=statistics,
            observed=problem.observed_data(),
            obs_id=problem.obs_id,
            constant=constant,
            attrs=attrs,
        ),
        ci_prob=ci_prob,
        chains=chains,
        draws=draws,
        random_seed=random_seed,
    )


def _remarks(
    equations: Equations,
    state: State,
    found: Covariances,
    chosen: tuple[str, ...],
    labels: list[str],
) -> list[str]:
    """What must be known about the fit; each is also a warning."""
    structure = equations.structure
    K, p = equations.cluster_count, state.beta.size
    notes = [structure.remark(state.parameter) if equations.parameter is None else ""]
    if K <= p:
        notes.append(
            f"{K} clusters do not carry a robust covariance of {p} coefficients: its rank is at "
            f"most {K - 1}. Use cov='naive', or fewer terms."
        )
    way_out = "Use cov='mancl-derouen' with df='t', or 'satterthwaite'."
    notes.append(few_clusters(K, p, chosen, ("robust",), CORRECTED, way_out))
    robust, naive = (found.by_type[name] for name in ("robust", "naive"))
    notes.append(vanishing(robust, naive, labels, "robust", K > p))
    notes = [note for note in notes if note]
    for note in notes:
        warn(note, FitWarning)
    return notes


def _parameters(equations: Equations, state: State, problem: Problem) -> tuple[dict, dict]:
    """φ, α and the working correlation for the group `fit`, and their coordinates."""
    structure = equations.structure
    labels, matrix = structure.shown(state.parameter)
    if labels.dtype.kind == "O":
        labels = labels.astype(str)
    fit: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), invert_dispersion(problem.family, state.dispersion)),
        "working_correlation": (("time", "time2"), matrix),
    }
    coords: dict[str, Any] = {"time": labels, "time2": labels}
    if structure.alpha_dims is not None:
        fit["alpha"] = (structure.alpha_dims, structure.alpha(state.parameter))
        coords |= {dim: structure.alpha_labels() for dim in structure.alpha_dims}
    return fit, coords


def _statistics(fit: Fit, found: dict[str, np.ndarray]) -> dict[str, float | int]:
    """The group `fit_stats`."""
    problem, solution = fit.problem, fit.solution
    state, totals = solution.state, fit.equations.structure.clusters.totals
    deviance = row_deviance(problem, blocks_of(problem), state.beta)
    return {
        "deviance": deviance,
        "pearson_chi2": state.sums.pearson,
        "df_residual": problem.n - state.beta.size,
        **criteria(
            deviance,
            fit.equations.information(state),
            found["robust"],
            found["naive"],
            state.dispersion,
        ),
        "n_observations": problem.n,
        "n_clusters": totals.clusters,
        "max_cluster_size": totals.largest,
        "n_iterations": solution.iterations,
        "converged": 1,
        "last_step": solution.length,
    }
