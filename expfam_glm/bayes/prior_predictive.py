"""What the priors say before the data do: draws of the parameters and of responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.distributions.shape_utils import change_dist_size

from expfam_glm.bayes.effects import shift
from expfam_glm.bayes.group_effects import (
    constants_of,
    coordinates_of,
    draw_effects,
    names_of,
)
from expfam_glm.bayes.horseshoe import draw as draw_shrunk
from expfam_glm.bayes.pointwise import predictive
from expfam_glm.bayes.prior import QUICK, Prior, draw
from expfam_glm.bayes.priors import Applied, apply
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import need_rows
from expfam_glm.errors import ArgumentError, DataError, SamplingError
from expfam_glm.tree import Variables, by_row, check_options, common_attrs, coordinates, group

_MOST_TRIALS = 50  # rounds of draws whose η leave the domain of the link


def prior_predictive(
    problem: Problem,
    *,
    draws: int = 1000,
    chains: int = 1,
    random_seed: int | None = None,
    priors: Any = "default",
) -> xr.DataTree:
    """Draw parameters from the priors, and responses; see `GLM.prior_predictive`."""
    need_rows(problem, "prior_predictive()")
    if problem.family.is_quasi:
        raise ArgumentError(
            f"the quasi family {problem.family.name!r} has no density to draw responses from; use "
            "the family with the density that you have in mind."
        )
    applied = apply(problem, priors)
    _refuse_improper(applied)
    random_seed = check_options(None, chains, draws, random_seed)
    rng = np.random.default_rng(random_seed)
    beta, effects = _coefficients(problem, applied, chains * draws, rng)
    phi: np.ndarray | float = float(problem.family.phi or 1.0)
    each = ("chain", "draw")
    prior: Variables = {"beta": ((*each, "coef"), beta.reshape(chains, draws, -1))}
    if applied.phi is not None:
        phi = draw(applied.phi, chains * draws, rng) ** (1 / applied.phi_power)
        prior["phi"] = (each, phi.reshape(chains, draws))
    shapes = {name: draw(own, chains * draws, rng) for name, own in applied.shapes.items()}
    prior |= {name: (each, values.reshape(chains, draws)) for name, values in shapes.items()}
    try:
        y = predictive(problem, beta, phi, rng, effects=effects, **shapes)
    except DataError as error:
        raise SamplingError(
            "the priors reach parameters of which no response can be drawn: coefficients up to "
            f"{np.abs(beta).max():.3g} in size. Give tighter priors, or scale covariates and "
            f"offset. ({error})"
        ) from error
    y = y.reshape(chains, draws, -1)
    constant, named = by_row(problem.constant_data()), dict[str, list[str]]()
    for part in problem.frame.effects:
        prior |= {
            name: ((*each, *dims), effects[name].reshape(chains, draws, *effects[name].shape[1:]))
            for name, dims in names_of(part).items()
        }
        constant |= constants_of(part, problem)
        named |= coordinates_of(part)
    coords = coordinates(
        named
        | {
            "chain": range(chains),
            "draw": range(draws),
            "coef": problem.labels,
            "obs_id": problem.obs_id,
        }
    )
    kind = "draws of the prior"
    groups = {
        "prior": group(prior, coords, kind=kind),
        "prior_predictive": group({"y": ((*each, "obs_id"), y)}, coords),
        "observed_data": group(by_row(problem.observed_data()), coords),
        "constant_data": group(constant, coords),
    }
    attrs = common_attrs(
        kind=kind,
        estimator="prior",
        priors=applied.record(),
        random_seed=random_seed,
        **problem.attrs(),
    )
    tree = xr.DataTree(xr.Dataset(attrs=attrs))
    tree.children = {name: xr.DataTree(dataset) for name, dataset in groups.items()}
    return tree


def _refuse_improper(applied: Applied) -> None:
    named = [*zip(applied.labels, applied.beta or (), strict=False), *applied.shapes.items()]
    if applied.phi is not None:
        named.append((applied.phi_scale, applied.phi))
    flat = [
        name
        for name, prior in named
        if isinstance(prior, Prior) and prior.distribution in ("Flat", "HalfFlat")
    ]
    if applied.joint is not None:
        raise ArgumentError(
            f"{applied.joint!r} is known only up to a constant and gives no draws; give "
            "prior_predictive() priors of single coefficients."
        )
    if flat:
        raise ArgumentError(
            f"the flat prior of {', '.join(flat)} is no distribution and gives no draws; give "
            "prior_predictive() proper priors."
        )


def _coefficients(
    problem: Problem, applied: Applied, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws of β (size, p) and of group effects, such that every η is inside its domain."""
    image = problem.link.image(problem.family.mean_space)
    kept: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    found = 0
    for _ in range(_MOST_TRIALS):
        if applied.beta is None:
            assert applied.vector is not None
            copy = change_dist_size(applied.vector, (size,))
            seed = int(rng.integers(2**31))
            beta = np.asarray(pm.draw(copy, random_seed=seed, mode=QUICK), dtype=float)
        else:
            beta = np.column_stack([draw(prior, size, rng) for prior in applied.beta])
            if applied.shrunk is not None:
                beta[:, applied.shrunk.where] = draw_shrunk(applied.shrunk, size, rng)
        effects: dict[str, np.ndarray] = {}
        for part in problem.frame.effects:
            effects |= draw_effects(part, applied.spreads[f"sd_{part.name}"], size, rng)
        low, high = np.empty(size), np.empty(size)
        for k, row in enumerate(beta):
            eta = problem.X @ row + (0.0 if problem.offset is None else problem.offset)
            if effects:
                eta = eta + np.ravel(shift(problem, effects, slice(k, k + 1)))
            low[k], high[k] = eta.min(), eta.max()
        inside = (image.low < low) & (high < image.high)
        kept.append((beta[inside], {name: v[inside] for name, v in effects.items()}))
        found += int(inside.sum())
        if found >= size:
            every = {
                name: np.concatenate([own[name] for _, own in kept])[:size] for name in effects
            }
            return np.concatenate([own for own, _ in kept])[:size], every
    raise SamplingError(
        f"almost no draw of the priors gives linear predictors inside {image}, which the link "
        f"{problem.link.name!r} needs ({found} of {size * _MOST_TRIALS}); give priors that do, or "
        "use a link that takes every linear predictor."
    )
