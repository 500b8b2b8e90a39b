"""Draws from the posterior by NUTS, laid out as a result tree."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from expfam_glm.bayes.density import has_fast_lane, sums_in_rows
from expfam_glm.bayes.diagnose import diagnose
from expfam_glm.bayes.model import check_proper
from expfam_glm.bayes.pointwise import log_likelihood as log_likelihood_of
from expfam_glm.bayes.pointwise import predictive
from expfam_glm.bayes.priors import Applied, apply
from expfam_glm.bayes.quasi import QuasiProblem, hold_dispersion
from expfam_glm.bayes.roads import Chains, by_graph, by_kernels, by_pymc
from expfam_glm.bayes.settings import check_settings
from expfam_glm.bayes.start import near_mode
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, SamplingWarning, one_of, warn
from expfam_glm.tree import Variables, by_row, check_options, common_attrs, coordinates, group

LARGEST_GROUP = 200e6  # bytes of a group with one number for each draw and row
_SAMPLERS = ("nutpie", "pymc")
_ROADS = ("auto", "kernels", "graph")


def sample(
    problem: Problem,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    random_seed: int | None = None,
    priors: Any = "default",
    nuts_sampler: str = "nutpie",
    road: str = "auto",
    progressbar: bool = True,
    log_likelihood: bool = True,
    posterior_predictive: bool = True,
    **keywords: Any,
) -> xr.DataTree:
    """Sample the posterior of a model by NUTS; see `GLM.sample`."""
    for name, count in (("draws", draws), ("tune", tune), ("chains", chains)):
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ArgumentError(f"{name}={count!r} must be a whole number from 1.")
    if nuts_sampler not in _SAMPLERS:
        raise one_of("nuts_sampler", nuts_sampler, _SAMPLERS)
    if road not in _ROADS:
        raise one_of("road", road, _ROADS)
    given, problem = problem, hold_dispersion(problem)
    applied = apply(problem, priors)
    check_proper(problem, applied)
    random_seed = check_options(None, chains, draws, random_seed)
    chosen = _road(problem, applied, nuts_sampler, road)
    settings = {
        "draws": int(draws), "tune": int(tune), "chains": int(chains), "seed": int(random_seed),
        "progressbar": progressbar, **check_settings(nuts_sampler, keywords, int(chains)),
    }  # fmt: skip
    start = near_mode(problem, applied)
    sampler = {"kernels": by_kernels, "graph": by_graph, "pymc": by_pymc}[chosen]
    with threadpool_limits(limits=1):  # one BLAS thread for each chain
        found = sampler(problem, applied, start, settings)
    quasi = isinstance(problem, QuasiProblem)
    wanted = (
        {}
        if quasi
        else {"log_likelihood": log_likelihood, "posterior_predictive": posterior_predictive}
    )
    attrs = common_attrs(
        kind="NUTS",
        estimator="posterior",
        sampler=nuts_sampler,
        road="row kernels" if chosen == "kernels" else "PyMC graph",
        priors=applied.record(),
        random_seed=random_seed,
        tune=tune,
        **({"held_phi": float(problem.family.phi or 0.0)} if quasi else {}),
        **given.attrs(),
    )
    return _tree(problem, applied, found, wanted, attrs, random_seed)


def _road(problem: Problem, applied: Applied, nuts_sampler: str, road: str) -> str:
    """Which function samples."""
    possible = has_fast_lane(applied, problem.family.shape)
    if nuts_sampler == "pymc":
        if road == "kernels":
            raise ArgumentError("road='kernels' goes with nuts_sampler='nutpie'.")
        return "pymc"
    if road == "kernels" and not possible:
        raise ArgumentError(
            "road='kernels' needs univariate priors, each a Prior(…) on the whole real line (on "
            "the positive numbers for phi, on the whole domain for a shape parameter); use "
            "road='graph' or 'auto'."
        )
    if road == "auto" and sums_in_rows(problem.family):
        return "graph"
    return "kernels" if possible and road != "graph" else "graph"


def _tree(
    problem: Problem,
    applied: Applied,
    found: Chains,
    wanted: dict[str, bool],
    attrs: dict[str, str | float | int],
    seed: int,
) -> xr.DataTree:
    """The groups of the result, in the layout of every result tree."""
    chains, draws, p = found.beta.shape
    coords = coordinates(
        {
            "chain": range(chains),
            "draw": range(draws),
            "coef": problem.labels,
            "obs_id": range(problem.row_count),
        }
    )
    each = ("chain", "draw")
    posterior: Variables = {"beta": ((*each, "coef"), found.beta)}
    if found.phi is not None:
        posterior["phi"] = (each, found.phi)
    posterior |= {name: (each, values) for name, values in found.shapes.items()}
    groups = {
        "posterior": group(posterior, coords, kind="NUTS"),
        "sample_stats": found.stats.assign_attrs(sampler=attrs["sampler"]),
        "log_prior": group(
            {name: ((*each, *(("coef",) if v.ndim == 3 else ())), v)
             for name, v in found.log_prior(problem, applied).items()},
            coords,
        ),
    }  # fmt: skip
    flat_beta = found.beta.reshape(-1, p)
    flat_phi = float(problem.family.phi or 1.0) if found.phi is None else found.phi.ravel()
    flat_shapes = {name: values.ravel() for name, values in found.shapes.items()}
    size = 8.0 * flat_beta.shape[0] * problem.row_count
    makers = {
        "log_likelihood": lambda: log_likelihood_of(problem, flat_beta, flat_phi, **flat_shapes),
        "posterior_predictive": lambda: predictive(
            problem, flat_beta, flat_phi, np.random.default_rng([seed, 1]), **flat_shapes
        ),
    }
    for name in (name for name, want in wanted.items() if want):
        if size > LARGEST_GROUP:
            warn(
                f"the group {name} would take {size / 1e6:.0f} MB and was left out; take fewer "
                "draws to have it.",
                SamplingWarning,
            )
            continue
        values = makers[name]().reshape(chains, draws, -1)
        groups[name] = group({"y": ((*each, "obs_id"), values)}, coords)
    groups["observed_data"] = group(by_row(problem.observed_data()), coords)
    groups["constant_data"] = group(by_row(problem.constant_data()), coords)
    tree = xr.DataTree(xr.Dataset(attrs=attrs))
    tree.children = {name: xr.DataTree(dataset) for name, dataset in groups.items()}
    tree.attrs |= diagnose(tree)
    return tree
