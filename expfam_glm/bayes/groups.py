"""The result tree of draws from a posterior: every group but what the sampler says of itself."""

from __future__ import annotations

import numpy as np
import xarray as xr

from expfam_glm.bayes.group_effects import constants_of, coordinates_of, names_of
from expfam_glm.bayes.horseshoe import NAMES
from expfam_glm.bayes.pointwise import log_likelihood as log_likelihood_of
from expfam_glm.bayes.pointwise import predictive
from expfam_glm.bayes.priors import Applied
from expfam_glm.bayes.roads import Chains
from expfam_glm.data.response import Problem
from expfam_glm.data.rows import are_counts, one_by_one
from expfam_glm.errors import SamplingWarning, warn
from expfam_glm.tree import Variables, by_row, coordinates, group

LARGEST_GROUP = 200e6  # bytes of a group with one number for each draw and row


def posterior_tree(
    problem: Problem,
    applied: Applied,
    found: Chains,
    wanted: dict[str, bool],
    attrs: dict[str, str | float | int],
    seed: int,
) -> xr.DataTree:
    """The groups of the result, in the layout of every result tree."""
    chains, draws, p = found.beta.shape
    named = {
        name: labels
        for part in problem.frame.effects
        for name, labels in coordinates_of(part).items()
    }
    if applied.shrunk is not None:
        named["shrunk"] = [problem.labels[j] for j in applied.shrunk.where]
    coords = coordinates(
        named
        | {
            "chain": range(chains),
            "draw": range(draws),
            "coef": problem.labels,
            "obs_id": problem.obs_id,
        }
    )
    each = ("chain", "draw")
    posterior: Variables = {"beta": ((*each, "coef"), found.beta)}
    if found.phi is not None:
        posterior["phi"] = (each, found.phi)
    posterior |= {name: (each, values) for name, values in found.shapes.items()}
    effects = {name: v.reshape(-1, *v.shape[2:]) for name, v in found.effects.items()}
    if applied.shrunk is not None:
        dims_of = {"lambda_beta": (*each, "shrunk")}
        posterior |= {name: (dims_of.get(name, each), found.effects[name]) for name in NAMES}
    constant = by_row(problem.constant_data())
    for part in problem.frame.effects:
        dims = names_of(part)
        posterior |= {name: ((*each, *own), found.effects[name]) for name, own in dims.items()}
        constant |= constants_of(part, problem)
    groups = {
        "posterior": group(posterior, coords, kind=attrs["kind"]),
        "sample_stats": found.stats,
        "log_prior": group(
            {name: ((*each, *(("coef",) if v.ndim == 3 else ())), v)
             for name, v in found.log_prior(problem, applied).items()},
            coords,
        ),
    }  # fmt: skip
    flat_beta = found.beta.reshape(-1, p)
    flat_phi = float(problem.family.phi or 1.0) if found.phi is None else found.phi.ravel()
    flat_shapes = {name: values.ravel() for name, values in found.shapes.items()}
    makers = {
        "log_likelihood": lambda: log_likelihood_of(
            problem, flat_beta, flat_phi, effects=effects, **flat_shapes
        ),
        "posterior_predictive": lambda: predictive(
            problem,
            flat_beta,
            flat_phi,
            np.random.default_rng([seed, 1]),
            effects=effects,
            **flat_shapes,
        ),
    }
    for name in (name for name, want in wanted.items() if want):
        f = problem.f if name == "log_likelihood" else None  # of observations, not of rows
        size = 8.0 * flat_beta.shape[0] * (problem.row_count if f is None else problem.n)
        reason = _why_not(size, f, computed=name == "log_likelihood" and not effects)
        if reason:
            warn(f"the group {name} {reason}", SamplingWarning)
            continue
        values = one_by_one(makers[name](), f).reshape(chains, draws, -1)
        where = coords if f is None else coordinates(
            {"chain": range(chains), "draw": range(draws),
             "obs_id": one_by_one(np.asarray(problem.obs_id), f).tolist()}
        )  # fmt: skip
        groups[name] = group({"y": ((*each, "obs_id"), values)}, where)
    groups["observed_data"] = group(by_row(problem.observed_data()), coords)
    groups["constant_data"] = group(constant, coords)
    tree = xr.DataTree(xr.Dataset(attrs=attrs))
    tree.children = {name: xr.DataTree(dataset) for name, dataset in groups.items()}
    return tree


def _why_not(size: float, f: np.ndarray | None, computed: bool) -> str:
    """Why a group cannot be stored; empty if it can."""
    if not are_counts(f):
        return (
            "was left out: the freq_weights are not whole numbers, so there are no single "
            "observations with a log-likelihood each; say log_likelihood=False."
        )
    if size <= LARGEST_GROUP:
        return ""
    instead = " (loo() does without it)" if computed else ""
    return f"would take {size / 1e6:.0f} MB and was left out{instead}; take fewer draws to have it."
