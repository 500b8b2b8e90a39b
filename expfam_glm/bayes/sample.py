"""Draws from the posterior by NUTS, laid out as a result tree."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import xarray as xr
from threadpoolctl import threadpool_limits

from expfam_glm.bayes.density import has_fast_lane, sums_in_rows
from expfam_glm.bayes.diagnose import diagnose
from expfam_glm.bayes.digits import check_digits
from expfam_glm.bayes.groups import posterior_tree
from expfam_glm.bayes.model import check_proper
from expfam_glm.bayes.priors import Applied, apply
from expfam_glm.bayes.quasi import QuasiProblem, sampled_rows
from expfam_glm.bayes.roads import by_graph, by_jax, by_kernels, by_pymc
from expfam_glm.bayes.settings import OF_JAX, check_settings, seed_for
from expfam_glm.bayes.start import near_mode
from expfam_glm.bayes.whiten import has_arrow
from expfam_glm.data.compress import by_response, cells_of, uncompressed
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, check_flag, one_of
from expfam_glm.tree import LARGEST_DRAWS, check_options, common_attrs

_SAMPLERS = ("nutpie", "pymc", *OF_JAX)
_ROADS = ("auto", "kernels", "graph")
_SHORT, _MIDDLE, _LONG = 200, 400, 1000  # draws of adaptation


def sample(
    problem: Problem,
    *,
    draws: int = 1000,
    tune: int | None = None,
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
    adaptation = 1 if tune is None else tune
    for name, count in (("draws", draws), ("tune", adaptation), ("chains", chains)):
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ArgumentError(f"{name}={count!r} must be a whole number from 1.")
    if chains * adaptation > LARGEST_DRAWS:
        raise ArgumentError(f"tune={tune!r} for {chains} chain(s) takes for ever; take fewer.")
    if chains * draws < 2:
        raise ArgumentError("one draw in all has no spread; ask for more draws or chains.")
    check_flag("log_likelihood", log_likelihood)
    check_flag("posterior_predictive", posterior_predictive)
    if nuts_sampler != "pymc" or not isinstance(progressbar, str):  # PyMC has words for its bars
        check_flag("progressbar", progressbar)
    if nuts_sampler not in _SAMPLERS:
        raise one_of("nuts_sampler", nuts_sampler, _SAMPLERS)
    if road not in _ROADS:
        raise one_of("road", road, _ROADS)
    given, problem = uncompressed(problem), sampled_rows(problem)
    applied = apply(problem, priors)
    check_proper(problem, applied)
    random_seed = check_options(None, chains, draws, random_seed)
    chosen = _road(problem, applied, nuts_sampler, road)
    if tune is None:  # whitened at the mode, only the step size is left to be found
        tune = _adaptation(problem, applied, chosen)
    if applied.shrunk is not None:  # a funnel, which takes small steps
        keywords = {"target_accept": 0.95} | keywords
    settings = {
        "draws": int(draws), "tune": int(tune), "chains": int(chains),
        "seed": seed_for(random_seed), "progressbar": progressbar,
        **check_settings(nuts_sampler, keywords),
    }  # fmt: skip
    start = near_mode(problem, applied)
    check_digits(problem, start)
    sampler = {"kernels": by_kernels, "graph": by_graph, "pymc": by_pymc, "jax": by_jax}[chosen]
    if chosen != "kernels":
        problem = by_response(problem)
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
        **cells_of(problem),
    )
    found.stats.attrs["sampler"] = nuts_sampler
    rows = uncompressed(problem)
    tree = posterior_tree(rows, applied, found, wanted, attrs, random_seed)
    tree.attrs |= diagnose(tree)
    return tree


def _adaptation(problem: Problem, applied: Applied, chosen: str) -> int:
    """How many draws adapt: few where nutpie moves in coordinates that are nearly N(0, I)."""
    effects = bool(problem.frame.effects)
    whitened = chosen == "kernels" or (chosen == "graph" and applied.separable and not effects)
    if not whitened or applied.shrunk is not None:
        return _LONG
    return _SHORT if chosen == "kernels" and not effects else _MIDDLE


def _road(problem: Problem, applied: Applied, nuts_sampler: str, road: str) -> str:
    """Which function samples."""
    possible = has_fast_lane(applied, problem.family.shape)
    if problem.frame.effects:
        possible = possible and has_arrow(problem, applied)
    if nuts_sampler != "nutpie":
        if road == "kernels":
            raise ArgumentError("road='kernels' goes with nuts_sampler='nutpie'.")
        return "jax" if nuts_sampler in OF_JAX else "pymc"
    if road == "kernels" and not possible:
        raise ArgumentError(
            "road='kernels' needs univariate priors, each a Prior(…) on the whole real line (on "
            "the positive numbers for phi, on the whole domain for a shape parameter), and of "
            "several groups with effects only one that is large; use road='graph' or 'auto'."
        )
    if road == "auto" and sums_in_rows(problem.family):
        return "graph"
    return "kernels" if possible and road != "graph" else "graph"
