"""Generalised estimating equations of one problem, from clusters to the result tree."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, FitWarning, one_of, warn
from expfam_glm.gee import correlation as correlations
from expfam_glm.gee.clusters import positions
from expfam_glm.gee.correlation import Correlation
from expfam_glm.gee.covariance import TYPES
from expfam_glm.gee.equations import Equations
from expfam_glm.gee.selection import criteria
from expfam_glm.gee.solve import Solution, solve
from expfam_glm.gee.structures import Structure
from expfam_glm.mle.dispersion import invert_dispersion
from expfam_glm.mle.fit import Maximum, find_maximum
from expfam_glm.mle.fitness import deviance as row_deviance
from expfam_glm.tree import Estimate, check_options, likelihood_tree


def gee(
    problem: Problem,
    groups: str | ArrayLike,
    correlation: str | Correlation = "exchangeable",
    *,
    time: str | ArrayLike | None = None,
    cov: str = "robust",
    ddof: str = "none",
    phi: float | None = None,
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 200,
    ci_prob: float | None = None,
    chains: int = 4,
    draws: int = 1000,
    random_seed: int | None = 0,
) -> xr.DataTree:
    """Fit by generalised estimating equations; see `GLM.gee`."""
    if cov not in TYPES:
        raise one_of("cov", cov, TYPES)
    random_seed = check_options(ci_prob, chains, draws, random_seed)
    if phi is not None and not (isinstance(phi, Real) and np.isfinite(phi) and phi > 0):
        raise ArgumentError(f"phi={phi!r} must be a positive number, or None to estimate it.")
    if not (isinstance(tol, Real) and 0 < tol < 1):
        raise ArgumentError(f"tol={tol!r} must be a number in (0, 1).")
    if not (isinstance(max_iterations, Integral) and max_iterations >= 1):
        raise ArgumentError(f"max_iterations={max_iterations!r} must be a whole number from 1.")
    if problem.f is not None:
        raise ArgumentError(
            "freq_weights cannot be used with gee: they say how many rows stand alike, but not "
            "which of them share a cluster. Repeat the rows (or whole clusters) instead."
        )
    working = correlations.named(correlation)
    labels = problem.frame.column(groups, "groups")
    when = _times(problem, working, labels, time)
    used = None if when is None else problem.restrict(when)
    structure = working.on(
        problem.restrict(labels), used, time is not None,
        lambda source, role: problem.restrict(problem.frame.column(source, role)),
    )  # fmt: skip
    maximum = find_maximum(problem, start=start)
    inner = maximum.problem
    equations = Equations(
        problem.family, problem.link, inner.y, inner.X, inner.w, inner.offset, structure, ddof,
        None if phi is None else float(problem.family.a(phi)),
    )  # fmt: skip
    solution = solve(equations, maximum.solution.beta, tol=tol, max_iterations=max_iterations)
    notes = [*maximum.notes, *_remarks(structure, solution)]
    constant = problem.constant_data() | {"groups": problem.restrict(labels)}
    if time is not None and when is not None:
        constant["time"] = problem.restrict(when)
    named = {"groups": groups, "time": time}
    attrs: dict[str, str | float | int] = {
        **problem.attrs(),
        "cov_type": cov,
        "correlation": working.name,
        "ddof": ddof,
        "dispersion": "given" if phi is not None else "moments",
        **{role: name for role, name in named.items() if isinstance(name, str)},
        "warnings": "\n".join(notes),
    }
    fit, fit_coords = _parameters(structure, solution, problem)
    return likelihood_tree(
        Estimate(
            kind="GEE",
            labels=problem.labels,
            beta=_expand(solution.state.beta, maximum.aliased),
            covariances={
                name: _expand(V, maximum.aliased) for name, V in solution.covariances(cov).items()
            },
            df=None,
            fit=fit,
            fit_coords=fit_coords,
            positive={},
            fit_stats=_statistics(equations, solution, maximum),
            observed=problem.observed_data(),
            constant=constant,
            attrs=attrs,
        ),
        ci_prob=ci_prob,
        chains=chains,
        draws=draws,
        random_seed=random_seed,
    )


def _times(
    problem: Problem, working: Correlation, labels: np.ndarray, time: Any
) -> np.ndarray | None:
    """Times of the rows of the frame: given, or the order of rows within clusters."""
    if time is not None:
        return problem.frame.column(time, "time")
    if not working.needs_time:
        return None
    if problem.frame.n_dropped:
        raise ArgumentError(
            f"{problem.frame.n_dropped} row(s) with missing values were dropped, so the order of "
            f"the rows that are left does not tell their times; give time= for "
            f"correlation={working.name!r}."
        )
    return positions(labels)


def _remarks(structure: Structure, solution: Solution) -> list[str]:
    """What must be known about the fit; each is also a warning."""
    K, p = structure.clusters.count, solution.state.beta.size
    notes = [structure.remark(solution.state.parameter)]
    if K <= p:
        notes.append(
            f"{K} clusters do not carry a robust covariance of {p} coefficients: its rank is at "
            f"most {K - 1}. Use cov='naive', or fewer terms."
        )
    spread = solution.covariances("robust")
    if np.any(spread["robust"].diagonal() <= 1e-20 * spread["naive"].diagonal()):
        notes.append(
            "the robust covariance is zero in some direction: the scores of every cluster cancel. "
            "Its standard errors say nothing; use cov='naive'."
        )
    notes = [note for note in notes if note]
    for note in notes:
        warn(note, FitWarning)
    return notes


def _expand(values: np.ndarray, aliased: np.ndarray) -> np.ndarray:
    """A vector or matrix over the kept coefficients, NaN at the aliased ones."""
    kept = np.flatnonzero(~aliased)
    full = np.full((aliased.size,) * values.ndim, np.nan)
    full[np.ix_(*[kept] * values.ndim)] = values
    return full


def _parameters(structure: Structure, solution: Solution, problem: Problem) -> tuple[dict, dict]:
    """φ, α and the working correlation for the group `fit`, and their coordinates."""
    state = solution.state
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


def _statistics(
    equations: Equations, solution: Solution, maximum: Maximum
) -> dict[str, float | int]:
    """The group `fit_stats`."""
    problem, state = maximum.problem, solution.state
    clusters = equations.structure.clusters
    deviance = row_deviance(problem, MemoryBlocks(problem), state.beta)
    robust = solution.covariances("robust")["robust"]
    return {
        "deviance": deviance,
        "pearson_chi2": state.rows.pearson,
        "df_residual": problem.n - state.beta.size,
        **criteria(deviance, equations.information(state.rows), robust, state.dispersion),
        "n_observations": problem.n,
        "n_clusters": clusters.count,
        "max_cluster_size": clusters.largest,
        "n_iterations": solution.iterations,
        "converged": 1,
        "last_step": solution.length,
    }
