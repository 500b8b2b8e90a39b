"""Group effects in the PyMC model: non-centred, correlated within a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from expfam_glm.bayes.prior import Prior, draw
from expfam_glm.bayes.scaling import WIDTH
from expfam_glm.data.bars import GroupEffects
from expfam_glm.data.response import Problem
from expfam_glm.errors import DataError

LKJ = 2.0  # of the correlations: 1 is uniform, 2 leans to zero a little


def default_spread(part: GroupEffects, unit: float) -> tuple[Prior, ...]:
    """Half-normal standard deviations, as wide as the default priors of coefficients."""
    sd, mean = part.Z.std(axis=0), np.abs(part.Z).mean(axis=0)
    constant = sd <= 1e-12 * np.maximum(mean, 1e-300)
    scale = np.where(constant, np.where(mean > 0, mean, 1.0), sd)
    return tuple(Prior.known("HalfNormal", sigma=WIDTH * unit / float(s)) for s in scale)


def names_of(part: GroupEffects) -> dict[str, tuple[str, ...]]:
    """The variables of one group's effects, and their dimensions beside chain and draw."""
    g, effect = part.name, f"effect_{part.name}"
    names = {f"b_{g}": (g, effect), f"sd_{g}": (effect,)}
    return names | ({f"corr_{g}": (effect, f"{effect}2")} if correlates(part) else {})


def constants_of(part: GroupEffects, problem: Problem) -> dict[str, Any]:
    """What the group `constant_data` of a tree keeps of them."""
    effect = ("obs_id", f"effect_{part.name}")
    return {
        f"Z_{part.name}": (effect, problem.restrict(part.Z)),
        f"index_{part.name}": (("obs_id",), problem.restrict(part.codes)),
    }


def correlates(part: GroupEffects) -> bool:
    """Whether there are several effects, with correlations."""
    return part.correlated and len(part.labels) > 1


def coordinates_of(part: GroupEffects) -> dict[str, list[str]]:
    """The coordinates of those dimensions."""
    effect = f"effect_{part.name}"
    coords = {part.name: list(part.levels), effect: list(part.labels)}
    return coords | ({f"{effect}2": list(part.labels)} if correlates(part) else {})


def check_names(problem: Problem, taken: Iterable[str]) -> None:
    """Refuse groups whose variables and dimensions would have a name that is taken."""
    known = set(taken)
    for part in problem.frame.effects:
        own = {*coordinates_of(part), *names_of(part)}
        reason = (
            "a name with a '/' cannot stand there" if "/" in part.name
            else f"{min(own & known)!r} is taken" if own & known else ""
        )  # fmt: skip
        if reason:
            raise DataError(
                f"the groups {part.name!r} name variables and dimensions of the result, where "
                f"{reason}; rename the column."
            )
        known |= own


def draw_effects(
    part: GroupEffects, priors: tuple[Prior, ...], size: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draws (size, …) of the variables of `names_of` from their priors."""
    g, q = part.name, len(part.labels)
    sd = np.column_stack([draw(prior, size, rng) for prior in priors])
    b = rng.standard_normal((size, len(part.levels), q))
    found = {f"sd_{g}": sd}
    if correlates(part):
        root = draw_root(q, size, rng)
        found[f"corr_{g}"] = root @ root.mT
        b = b @ root.mT
    return {f"b_{g}": b * sd[:, None, :]} | found


def draw_root(q: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (size, q, q) of the Cholesky factor of an LKJ correlation, row by row.

    References: Lewandowski, Kurowicka and Joe (2009), J. Multivariate Analysis 100, section 3.2.
    """
    root = np.zeros((size, q, q))
    root[:, 0, 0] = 1.0
    for k in range(1, q):
        along = rng.standard_normal((size, k))
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        part = rng.beta(k / 2, LKJ + (q - 1 - k) / 2, size=(size, 1))
        root[:, k, :k], root[:, k, k] = np.sqrt(part) * along, np.sqrt(1 - part[:, 0])
    return root


def add_effects(problem: Problem, priors: Mapping[str, tuple[Prior, ...]]) -> Variable:
    """The variables of all group effects in the current model, and what they add to η (n,)."""
    total: Any = 0.0
    for part in problem.frame.effects:
        pm.modelcontext(None).add_coords(coordinates_of(part))
        g, effect, q = part.name, f"effect_{part.name}", len(part.labels)
        own = priors[f"sd_{g}"]
        values = {
            name: np.array([prior.parameters[name] for prior in own]) for name in own[0].parameters
        }
        distribution = getattr(pm, own[0].distribution)
        standard = pm.Normal(f"z_{g}", dims=(g, effect))
        if correlates(part):
            root, correlation, sd = pm.LKJCholeskyCov(
                f"root_{g}", n=q, eta=LKJ, sd_dist=distribution.dist(**values, shape=q),
                compute_corr=True, store_in_trace=False,
            )  # fmt: skip
            pm.Deterministic(f"sd_{g}", sd, dims=effect)
            pm.Deterministic(f"corr_{g}", correlation, dims=(effect, f"{effect}2"))
            b = pt.dot(standard, root.T)
        else:
            b = standard * distribution(f"sd_{g}", **values, dims=effect)
        b = pm.Deterministic(f"b_{g}", b, dims=(g, effect))
        codes, Z = problem.restrict(part.codes), problem.restrict(part.Z)
        total = total + (b[codes] * Z).sum(axis=1)
    return total
