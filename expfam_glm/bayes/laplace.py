"""The posterior as a normal distribution at its mode, with a measure of how wrong that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from expfam_glm.bayes.density import LogPosterior, has_fast_lane
from expfam_glm.bayes.digits import check_digits
from expfam_glm.bayes.groups import posterior_tree
from expfam_glm.bayes.mode import Search, seek_mode
from expfam_glm.bayes.model import check_proper
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.quasi import QuasiProblem, sampled_rows
from expfam_glm.bayes.roads import Chains
from expfam_glm.bayes.start import near_mode
from expfam_glm.bayes.whiten import at_start
from expfam_glm.data.bars import refuse_effects
from expfam_glm.data.compress import cells_of, uncompressed
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, SamplingError, SamplingWarning, check_flag, warn
from expfam_glm.tree import check_options, common_attrs

_MOST_TRIALS = 100  # of draws outside the domain of η
_FEWEST = 25  # draws: their largest fifth tells the tail of the weights
_NARROW = 0.1  # of the width with rounded corners: less is the curvature of a corner
_LARGEST_K = 0.7  # Vehtari et al. (2024)


def laplace(
    problem: Problem,
    *,
    draws: int = 1000,
    chains: int = 4,
    random_seed: int | None = None,
    priors: Any = "default",
    log_likelihood: bool = True,
    posterior_predictive: bool = True,
) -> xr.DataTree:
    """Approximate the posterior by a normal distribution at its mode; see `GLM.laplace`."""
    refuse_effects(problem.frame.effects, "laplace()")
    check_flag("log_likelihood", log_likelihood)
    check_flag("posterior_predictive", posterior_predictive)
    given, problem = uncompressed(problem), sampled_rows(problem)
    applied = apply(problem, priors)
    check_proper(problem, applied, needs_mode=True)
    if applied.shrunk is not None:
        raise ArgumentError(
            f"laplace(): the posterior under {applied.shrunk.prior!r} is far from normal; use "
            "sample()."
        )
    random_seed = check_options(None, chains, draws, random_seed)
    if chains * draws < _FEWEST:
        raise ArgumentError(
            f"laplace(): chains={chains} times draws={draws} are too few to tell how good the "
            f"approximation is, which takes {_FEWEST} draws at least; draw more."
        )
    if not has_fast_lane(applied, problem.family.shape):
        raise ArgumentError(
            "laplace() needs univariate priors on the whole real line (on the positive numbers for "
            "phi, on the whole domain for a shape parameter); use sample()."
        )
    density = LogPosterior(problem, applied)
    start = near_mode(problem, applied)
    check_digits(problem, start)
    begun, spread = at_start(density, start)
    search = seek_mode(density, begun, spread)
    if start.corners and not np.all(_wide(search, spread)):
        raise SamplingError(
            "a Laplace prior has a corner, and the mode of the posterior lies on it: there is no "
            "normal approximation; use sample()."
        )
    centre, root = _mode(search)
    rng = np.random.default_rng(random_seed)
    z, log_weights = _draw(density, centre, root, chains * draws, rng)
    smoothed, k = array_stats.psislw(-log_weights)  # it takes the logarithms of their inverses
    weights = np.exp(smoothed)
    each = ("chain", "draw")
    stats = xr.Dataset(
        {"log_weight": (each, np.asarray(smoothed).reshape(chains, draws))},
        coords={"chain": range(chains), "draw": range(draws)},
    )
    shapes = density.shapes_at(z)
    found = Chains(
        z[:, : density.p].reshape(chains, draws, -1),
        np.exp(z[:, -1]).reshape(chains, draws) if density.free else None,
        stats,
        {name: values.reshape(chains, draws) for name, values in shapes.items()},
    )
    quasi = isinstance(problem, QuasiProblem)
    attrs = common_attrs(
        kind="normal approximation at the mode",
        estimator="posterior",
        sampler="laplace",
        road="row kernels",
        priors=applied.record(),
        random_seed=random_seed,
        pareto_k=float(k),
        importance_ess=float(1 / np.sum(weights**2)),
        **({"held_phi": float(problem.family.phi or 0.0)} if quasi else {}),
        **given.attrs(),
        **cells_of(problem),
    )
    attrs["diagnosis"] = _diagnose(float(k), chains * draws)
    wanted = {"log_likelihood": log_likelihood, "posterior_predictive": posterior_predictive}
    rows = uncompressed(problem)
    return posterior_tree(rows, applied, found, {} if quasi else wanted, attrs, random_seed)


def _wide(search: Search, spread: np.ndarray) -> np.ndarray:
    """Whether the curvature at the end of a search leaves each coordinate a usual width."""
    if search.found is None:
        return np.zeros(len(spread), bool)
    own, usual = (np.sum(root**2, axis=1) for root in (search.found[1], spread))
    return own > _NARROW**2 * usual


def _mode(search: Search) -> tuple[np.ndarray, np.ndarray]:
    """The mode and the root of the covariance there, or the error that says what was missing."""
    if search.found is not None:
        return search.found
    if search.root is None:
        raise SamplingError(
            "no mode of the posterior was found: where the search for it ended, the posterior does "
            "not bend down in every direction, so there is no normal approximation; use sample()."
        )
    raise SamplingError(
        "the search for the mode of the posterior failed: its last step is "
        f"{search.step:.3g} posterior standard deviations long. Rescale or centre covariates, "
        "offset and exposure."
    )


def _draw(
    density: LogPosterior, centre: np.ndarray, root: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws inside the domain of η, and the logarithms of posterior over normal density."""
    u, values = np.empty((size, centre.size)), np.full(size, -np.inf)
    for _ in range(_MOST_TRIALS):
        left = np.flatnonzero(~np.isfinite(values))
        if left.size == 0:
            return centre + u @ root.T, values + 0.5 * np.sum(u**2, axis=1)
        u[left] = rng.standard_normal((left.size, centre.size))
        values[left] = density.values(centre + u[left] @ root.T)
    raise SamplingError(
        "the normal approximation lies almost wholly outside the domain of the link; use sample()."
    )


def _diagnose(k: float, size: int) -> str:
    """What the tail of the importance weights says, and a warning where it is too heavy."""
    limit = min(1 - 1 / np.log10(size), _LARGEST_K) if size > 10 else 0.0
    if np.isfinite(k) and k <= limit:
        return "nothing to report"
    said = (
        f"the normal approximation is poor (Pareto k = {k:.2f}, above {limit:.2f}): the posterior "
        "has heavier tails or another shape; use sample()."
    )
    warn(said, SamplingWarning)
    return said
