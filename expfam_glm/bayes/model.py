"""The PyMC model of a problem: the declared log-density under priors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.shape_utils import change_dist_size
from pytensor.graph.basic import Variable

from expfam_glm.bayes.distribution import FamilyDistribution
from expfam_glm.bayes.group_effects import add_effects, check_names
from expfam_glm.bayes.horseshoe import add_horseshoe
from expfam_glm.bayes.joint import joint_prior
from expfam_glm.bayes.perfect import check_dispersion
from expfam_glm.bayes.preconditioned import Whitened
from expfam_glm.bayes.prior import Prior, space_of
from expfam_glm.bayes.priors import PHI_SCALES, Applied, apply
from expfam_glm.bayes.quasi import QuasiProblem, add_quasi_likelihood, hold_dispersion
from expfam_glm.bayes.scaling import intercepts
from expfam_glm.bayes.start import Start, near_mode
from expfam_glm.data.compress import by_response
from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.data.stream import need_rows
from expfam_glm.errors import (
    AliasWarning,
    ArgumentError,
    RankError,
    SamplingError,
    SeparationError,
    check_flag,
    warn,
)
from expfam_glm.mle.rank import aliased
from expfam_glm.mle.separation import separating_direction, separation_message

_VARIES = 1e-6  # of its size, by which a column differs from the intercept


def to_pymc(problem: Problem, priors: Any = "default", *, whitened: bool = False) -> pm.Model:
    """The model as a `pymc.Model`, to sample, extend or inspect; see `GLM.to_pymc`."""
    need_rows(problem, "to_pymc()")
    problem = hold_dispersion(by_response(problem))
    applied = apply(problem, priors)
    check_proper(problem, applied)
    start = near_mode(problem, applied) if check_flag("whitened", whitened) else None
    return build(problem, applied, start)


def check_proper(problem: Problem, applied: Applied, *, needs_mode: bool = False) -> None:
    """Refuse what has no proper posterior, or no mode; warn of coefficients left to the prior."""
    if problem.sampling is not None:
        raise ArgumentError(
            "sampling_weights are no part of a likelihood, so there is no posterior; use fit(), or "
            "weights= if they are precisions."
        )
    if problem.frame.effects and (isinstance(problem, QuasiProblem) or applied.joint is not None):
        raise ArgumentError(
            "group effects go with a family that has a density, and with priors of single "
            "coefficients; leave the group effects out, or change the family or the priors."
        )
    if applied.shrunk is not None and (problem.frame.effects or isinstance(problem, QuasiProblem)):
        raise ArgumentError(
            f"{applied.shrunk.prior!r} goes with a family that has a density, and with formulas "
            "without group effects; give other priors."
        )
    if applied.joint is not None:
        joint_prior(problem, applied.joint)  # refuses what it cannot be made for
    flat = applied.flat
    gone = aliased(problem.X)
    if flat.any():
        _check_flat(problem, flat)
    if gone.any():
        named = ", ".join(np.array(problem.labels)[gone])
        _refuse_nearly_constant(problem, gone)
        warn(
            f"the column(s) {named} are linear combinations of earlier columns; the data say "
            "nothing about the difference, and the prior alone decides.",
            AliasWarning,
        )
    _check_flat_shapes(problem, applied, int(np.sum(flat & ~gone)))
    if isinstance(applied.phi, Prior) and applied.phi.distribution == "HalfFlat":
        spare = problem.n - int(np.sum(flat & ~gone))
        if spare <= 2:
            raise SamplingError(
                f"a flat prior on phi needs more than two observations beyond the coefficients "
                f"with a flat prior for a proper posterior; there are {spare:g}. Give phi a prior."
            )
    check_dispersion(problem, applied, needs_mode=needs_mode)


def _refuse_nearly_constant(problem: Problem, gone: np.ndarray) -> None:
    """Columns that only rounding makes multiples of the intercept."""
    constant = intercepts(problem.X)
    if not constant.size:
        return
    for j in map(int, np.flatnonzero(gone)):
        column = problem.X[:, j]
        spread, size = float(np.ptp(column)), float(np.abs(column).max())
        if j not in constant and 0 < spread < _VARIES * size:
            raise SamplingError(
                f"the column {problem.labels[j]} varies by {spread:.2g} around {column[0]:.6g}, "
                "too little beside the intercept for a posterior in double precision. Centre it: "
                "subtract its mean."
            )


def _check_flat_shapes(problem: Problem, applied: Applied, flat: int) -> None:
    """The likelihood of a negative binomial falls as α^−m, m the counts above zero, for large α."""
    prior = applied.shapes.get("alpha")
    improper = isinstance(prior, Prior) and prior.distribution == "HalfFlat"
    if not (improper and problem.family.name == "negative_binomial"):
        return
    counts = np.ones(problem.row_count) if problem.f is None else problem.f
    positive = float(counts[problem.y > 0].sum())
    if positive <= flat + 1:
        raise SamplingError(
            f"a flat prior on alpha needs more counts above zero than there are coefficients with "
            f"a flat prior, and one more, for a proper posterior; there are {positive:g}. Give "
            "alpha a prior."
        )


def _check_flat(problem: Problem, flat: np.ndarray) -> None:
    """Rank and separation in the columns whose coefficients have a flat prior."""
    names = np.array(problem.labels)[flat]
    gone = aliased(problem.X[:, flat])
    if gone.any():
        raise RankError(
            f"under a flat prior the coefficient(s) {', '.join(names[gone])} are not determined: "
            "their columns are linear combinations of others, and the posterior is improper. "
            "Leave them out, or give them a proper prior."
        )
    part = restrict_columns(problem, flat)
    direction = separating_direction(part)
    if direction is not None:
        raise SeparationError(
            f"a flat prior is improper here: {separation_message(part, direction)}"
        )


def build(problem: Problem, applied: Applied, start: Start | None = None) -> pm.Model:
    """The model of a problem under priors that are known to be proper, whitened at a start."""
    family, link = problem.family, problem.link
    check_names(problem, ("y", "X") if problem.offset is None else ("y", "X", "offset"))
    coords = {"coef": list(problem.labels), "obs_id": np.asarray(problem.obs_id)}
    with pm.Model(coords=coords) as model:
        beta = _coefficients(applied, start)
        phi = family.phi
        if applied.phi is not None:
            power, name = PHI_SCALES[applied.phi_scale]
            phi = _register(applied.phi, name)
            if power != 1:
                phi = pm.Deterministic("phi", phi ** (1 / power))
        shapes = {name: _register(prior, name) for name, prior in applied.shapes.items()}
        X = pm.Data("X", problem.X, dims=("obs_id", "coef"))
        eta = pt.dot(X, beta)
        if problem.offset is not None:
            eta = eta + pm.Data("offset", problem.offset, dims="obs_id")
        if problem.frame.effects:
            eta = eta + add_effects(problem, applied.spreads)
        if applied.joint is not None:
            pm.Potential("beta_prior", joint_prior(problem, applied.joint).graph(eta))
        image = link.image(family.mean_space)
        a = family.a(phi) / (1.0 if problem.w is None else problem.w)
        if isinstance(problem, QuasiProblem):
            add_quasi_likelihood(problem, eta, _inside(eta, image.low, image.high), a)
            return model
        theta, mu = family.theta_of_eta(link)[0](eta, **shapes), link.inverse(eta)
        for inside in _inside(eta, image.low, image.high):
            theta = pt.switch(inside, theta, np.nan)  # no θ, and so a log-density of −∞
        y = FamilyDistribution(
            "y", family, mu, theta, pt.as_tensor(a), *shapes.values(), dtype="float64",
            observed=problem.y, dims="obs_id",
        )  # fmt: skip
        if problem.f is not None:
            further = (problem.f - 1) * pm.logp(y, problem.y)
            pm.Potential("freq_weights", further.sum())
    return model


def _inside(eta: Variable, low: float, high: float) -> list[Variable]:
    """The conditions that η lies in an open interval, one for each finite end."""
    above = [eta > low] if np.isfinite(low) else []
    return above + ([eta < high] if np.isfinite(high) else [])


def pieces_of(applied: Applied) -> dict[str, list[int]]:
    """The free variables that β is made of, and the coefficients in each."""
    if applied.beta is None:
        return {"beta": list(range(len(applied.labels)))}
    kinds: dict[str, list[int]] = {}
    first: dict[Variable, int] = {}
    shrunk = () if applied.shrunk is None else applied.shrunk.where
    for j, prior in enumerate(applied.beta):
        if j in shrunk:
            continue
        kind = _kind(prior) if isinstance(prior, Prior) else str(first.setdefault(prior, j))
        kinds.setdefault(kind, []).append(j)
    if len(kinds) == 1 and not shrunk:
        return {"beta": kinds.popitem()[1]}
    return {f"beta_{kind}": where for kind, where in kinds.items()}


def _whitening(applied: Applied, start: Start | None, where: list[int]) -> dict[str, Whitened]:
    """The transform of coefficients that are free on the whole real line, given a start."""
    assert applied.beta is not None
    if start is None or not all(space_of(applied.beta[j]) == "real" for j in where):
        return {}
    root = start.root[where]
    return {"transform": Whitened(start.beta[where], root @ root.T)}


def _coefficients(applied: Applied, start: Start | None = None) -> Variable:
    """β as one variable: a free vector where the priors are of one kind, else a Deterministic."""
    if applied.beta is None:
        assert applied.vector is not None
        copy = change_dist_size(applied.vector, ())
        return pm.modelcontext(None).register_rv(copy, "beta", dims=("coef",))
    pieces = pieces_of(applied)
    if "beta" in pieces:
        where = pieces["beta"]
        transform = _whitening(applied, start, where)
        return _together("beta", list(applied.beta), dims="coef", **transform)
    parts, order = [], []
    for name, where in pieces.items():
        transform = _whitening(applied, start, where)
        parts.append(_together(name, [applied.beta[j] for j in where], **transform))
        order += where
    if applied.shrunk is not None:
        parts.append(add_horseshoe(applied.shrunk))
        order += applied.shrunk.where
    return pm.Deterministic("beta", pt.concatenate(parts)[np.argsort(order)], dims="coef")


def _kind(prior: Prior) -> str:
    """Priors of one kind differ in numbers only."""
    return "_".join([prior.distribution, *sorted(prior.parameters)])


def _together(name: str, priors: list[Prior | Variable], **keywords: Any) -> Variable:
    """One vector variable for priors of one kind."""
    first = priors[0]
    if isinstance(first, Variable):
        copy = change_dist_size(first, (len(priors),))
        return pm.modelcontext(None).register_rv(copy, name, **keywords)
    given = [prior.parameters for prior in priors if isinstance(prior, Prior)]
    values = {k: np.array([parameters[k] for parameters in given]) for k in first.parameters}
    return getattr(pm, first.distribution)(name, **values, shape=len(priors), **keywords)


def _register(prior: Prior | Variable, name: str) -> Variable:
    """A scalar prior as a free variable of the current model; the one given stays as it is."""
    if isinstance(prior, Prior):
        return getattr(pm, prior.distribution)(name, **prior.arrays)
    return pm.modelcontext(None).register_rv(change_dist_size(prior, ()), name)
