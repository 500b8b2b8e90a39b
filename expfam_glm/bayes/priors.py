"""Priors of coefficients and dispersion: as specified by the user, and as applied to the data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymc.distributions.distribution import SymbolicRandomVariable
from pymc.printing import str_for_dist
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable

from expfam_glm.bayes.group_effects import check_names, default_spread, names_of
from expfam_glm.bayes.horseshoe import NAMES, Shrinkage, shrinkage
from expfam_glm.bayes.prior import (
    QUICK,
    Prior,
    describe,
    lives_in,
    refuse_impossible,
    space_of,
)
from expfam_glm.bayes.scaling import intercepts, weakly_informative
from expfam_glm.data.bars import GroupEffects
from expfam_glm.data.frames import close_to
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, one_of
from expfam_glm.spec.domain import Domain, Positive

WORDS = ("default", "flat")
_IN_RESULTS = ("chain", "draw", "coef", "obs_id", "beta")  # whatever the family
_SINGLE = ("Ridge", "Horseshoe")  # written for all coefficients, and a prior of each
# φ^k may have the prior: its name in priors=, k, and the name of the PyMC variable.
PHI_SCALES = {"phi": (1.0, "phi"), "sqrt(phi)": (0.5, "sqrt_phi"), "1/phi": (-1.0, "inverse_phi")}


@dataclass(frozen=True)
class Applied:
    """The priors of a model: one for each coefficient or one for all, of φ and of free shapes.

    beta: a `Prior` or a PyMC variable for each coefficient; None where `vector`, one PyMC variable
    of length p, stands for all. joint: a prior of all coefficients that multiplies those. phi: the
    prior of what `phi_scale` names, None where φ is known. spreads: of the standard deviations of
    group effects, one prior for each effect. shrunk: the coefficients under a horseshoe; their
    priors in `beta` are those of its slab, a guess of their size. effects: the variables of group
    effects, and of the horseshoe, that are kept.
    """

    labels: tuple[str, ...]
    beta: tuple[Prior | Variable, ...] | None
    vector: Variable | None
    phi: Prior | Variable | None
    specified: str | dict[str, str]
    shapes: Mapping[str, Prior | Variable] = field(default_factory=dict)
    joint: Prior | None = None
    phi_scale: str = "phi"
    spreads: Mapping[str, tuple[Prior, ...]] = field(default_factory=dict)
    shrunk: Shrinkage | None = None
    effects: tuple[str, ...] = ()

    @property
    def phi_power(self) -> float:
        """The power of φ that has the prior."""
        return PHI_SCALES[self.phi_scale][0]

    @property
    def flat(self) -> np.ndarray:
        """Which coefficients have a flat prior."""
        if self.beta is None or self.joint is not None:
            return np.zeros(len(self.labels), bool)
        return np.array([isinstance(p, Prior) and p.distribution == "Flat" for p in self.beta])

    @property
    def separable(self) -> bool:
        """Whether every coefficient has a prior of its own on the whole real line."""
        return self.beta is not None and all(space_of(prior) == "real" for prior in self.beta)

    def record(self) -> str:
        """The priors as specified and as applied, as JSON text."""
        applied: dict[str, Any] = {}
        if self.vector is not None:
            applied["beta"] = describe(self.vector)
        if self.joint is not None:
            applied["beta"] = describe(self.joint)
        elif self.beta is not None:
            applied |= {k: describe(v) for k, v in zip(self.labels, self.beta, strict=True)}
            if self.shrunk is not None:
                own = describe(self.shrunk.prior) | {"tau": self.shrunk.tau}
                applied |= {self.labels[j]: own for j in self.shrunk.where}
        if self.phi is not None:
            applied[self.phi_scale] = describe(self.phi)
        applied |= {name: describe(prior) for name, prior in self.shapes.items()}
        applied |= {name: [describe(p) for p in own] for name, own in self.spreads.items()}
        return json.dumps({"specified": self.specified, "applied": applied}, ensure_ascii=False)


def apply(problem: Problem, priors: str | Prior | Mapping[str, Any]) -> Applied:
    """What `priors=` means for a problem; see `GLM.to_pymc`.

    Parameters
    ----------
    problem : Problem
    priors : {"default", "flat", "jeffreys"}, Prior or mapping

    Returns
    -------
    Applied

    Raises
    ------
    ArgumentError
        For unknown words and keys, and for values that are no prior of what they name.
    DataError
        If groups have a name that is taken in the result.
    """
    family, labels = problem.family, problem.labels
    check_names(problem, (*_IN_RESULTS, *family.shape, *(("phi",) if family.phi is None else ())))
    default = weakly_informative(problem)
    given: dict[str, Any] = {}
    if isinstance(priors, str) and priors in WORDS:
        given = dict.fromkeys(["beta", "phi", *family.shape], priors)
    elif isinstance(priors, Mapping):
        given = dict(priors)
        _check_keys(given, problem)
    elif priors == "jeffreys" or isinstance(priors, Prior):
        given = {"beta": priors}
        _check_keys(given, problem)
    elif isinstance(priors, str):
        raise one_of("priors", priors, (*WORDS, "jeffreys"))
    else:
        raise ArgumentError(
            f"priors={priors!r} must be 'default', 'flat', 'jeffreys', a Prior or a mapping."
        )
    further = (*PHI_SCALES, *family.shape, *_spread_names(problem))
    single = [key for key in given if key not in ("beta", *further)]
    base = given.get("beta", "default")
    if base == "jeffreys":
        base = Prior("Jeffreys")
    usual = tuple(Prior.known("Normal", mu=m, sigma=s) for m, s in default.beta)
    vector, beta, joint, shrunk = None, None, None, None
    if isinstance(base, Variable) and base.type.ndim:
        vector = _vector(base, single, labels)
    elif isinstance(base, Prior) and base.is_joint and base.distribution not in _SINGLE:
        if single:
            raise ArgumentError(
                f"priors['beta'] = {base!r} is a prior of all coefficients together and leaves "
                f"none for {', '.join(map(repr, single))}."
            )
        joint, beta = base, (Prior.known("Flat"),) * len(labels)
    else:
        beta = tuple(
            _coefficient(label, _named(label, given, base), own)
            for label, own in zip(labels, usual, strict=True)
        )
        if isinstance(base, Prior) and base.distribution == "Ridge":
            beta = _ridge(problem, beta, base)
        if isinstance(base, Prior) and base.distribution == "Horseshoe":
            constant = set(intercepts(problem.X))
            where = [j for j, own in enumerate(beta) if own is base and j not in constant]
            shrunk = shrinkage(problem, base, where, default.noise, default.unit)
            slabs = dict(zip(where, shrunk.scale, strict=True))
            beta = tuple(
                own if own is not base
                else Prior.known("Normal", mu=0.0, sigma=shrunk.slab * slabs[j]) if j in slabs
                else usual[j]
                for j, own in enumerate(beta)
            )  # fmt: skip
    phi, scale = None, "phi"
    if family.phi is None:
        scale = next((key for key in PHI_SCALES if key in given), "phi")
        phi = _dispersion(scale, given.get(scale, "default"), default.phi)
    shapes = {
        name: _shape(name, domain, given.get(name, "default"))
        for name, domain in family.shape.items()
    }
    written = priors if isinstance(priors, str) else {
        key: value if isinstance(value, str) else str(value if isinstance(value, Prior)
                                                      else str_for_dist(value))
        for key, value in given.items()
    }  # fmt: skip
    spreads = {
        f"sd_{part.name}": _spread(part, given.get(f"sd_{part.name}", "default"), default.unit)
        for part in problem.frame.effects
    }
    effects = tuple(name for part in problem.frame.effects for name in names_of(part))
    effects += NAMES if shrunk is not None else ()
    return Applied(
        labels, beta, vector, phi, written, shapes, joint, scale, spreads, shrunk, effects
    )


def _term(label: str) -> str:
    """The term of the formula that a coefficient belongs to: its label without levels."""
    return re.sub(r"\[[^\[\]]*\]", "", label)


def _named(label: str, given: Mapping[str, Any], base: Any) -> Any:
    """What is given for a coefficient: by its label, by its term, or for all."""
    return given.get(label, given.get(_term(label), base))


def _ridge(
    problem: Problem, beta: tuple[Prior | Variable, ...], ridge: Prior
) -> tuple[Prior | Variable, ...]:
    """Normal(0, scale²) where nothing else is given; the intercept flat."""
    normal = Prior.known("Normal", mu=0.0, sigma=ridge.parameters["scale"])
    constant = set(intercepts(problem.X))
    return tuple(
        prior if prior is not ridge else Prior.known("Flat") if j in constant else normal
        for j, prior in enumerate(beta)
    )


def _check_keys(given: Mapping[str, Any], problem: Problem) -> None:
    family, labels = problem.family, problem.labels
    free = list(PHI_SCALES) if family.phi is None else []
    known = ["beta", *free, *family.shape, *_spread_names(problem)]
    terms = {_term(label) for label in labels}
    for key, value in given.items():
        if key in PHI_SCALES and not free:
            raise ArgumentError(
                f"priors: the dispersion of {family.name!r} is known to be {family.phi:g}, so "
                f"{key!r} takes no prior."
            )
        if key in labels and key in known:
            what = {"beta": "all coefficients", "phi": "the dispersion"}
            raise ArgumentError(
                f"priors: {key!r} is a column here and also the name of "
                f"{what.get(key, 'a shape parameter')}; rename the column."
            )
        if key not in (*known, *labels, *terms):
            hint = close_to(str(key), dict.fromkeys([*labels, *sorted(terms), *known]))
            raise ArgumentError(f"priors: no parameter is called {key!r}; {hint}")
        _check_value(key, value)
    scales = [key for key in given if key in PHI_SCALES]
    if len(scales) > 1:
        raise ArgumentError(f"priors: {' and '.join(scales)} are one parameter; give one of them.")


def _spread_names(problem: Problem) -> list[str]:
    return [f"sd_{part.name}" for part in problem.frame.effects]


def _spread(part: GroupEffects, given: Any, unit: float) -> tuple[Prior, ...]:
    """The priors of the standard deviations of a group's effects."""
    if given == "default":
        return default_spread(part, unit)
    if not isinstance(given, Prior) or not lives_in(given, Positive):
        raise ArgumentError(
            f"priors['sd_{part.name}'] = {given} must be a proper Prior(…) on the positive "
            "numbers, such as Prior('HalfNormal', sigma=1)."
        )
    return (given,) * len(part.labels)


def _check_value(key: str, value: Any) -> None:
    words = (*WORDS, "jeffreys") if key == "beta" else WORDS
    if isinstance(value, Variable):
        _check_variable(key, value)
    elif isinstance(value, Prior):
        if value.is_joint and key != "beta":
            raise ArgumentError(
                f"priors[{key!r}] = {value!r} is a prior of all coefficients together; it goes "
                "with 'beta'."
            )
    elif not (isinstance(value, str) and value in words):
        raise ArgumentError(
            f"priors[{key!r}] = {value!r} is no prior; give Prior(…), a distribution such as "
            f"pm.Normal.dist(0, 1), {' or '.join(map(repr, words))}."
        )


def _check_variable(key: str, variable: Variable) -> None:
    op = getattr(variable.owner, "op", None)
    if not isinstance(op, RandomVariable | SymbolicRandomVariable) or variable.name is not None:
        raise ArgumentError(
            f"priors[{key!r}]: {variable} is not an unregistered distribution; make one with "
            "pm.Normal.dist(…) outside of any model."
        )
    random = [
        v for v in ancestors(variable.owner.inputs)
        if v.owner is not None and isinstance(v.owner.op, RandomVariable | SymbolicRandomVariable)
    ]  # fmt: skip
    if random:
        raise ArgumentError(
            f"priors[{key!r}]: the parameters of {str_for_dist(variable)} are random themselves; "
            "hierarchies are built in a pm.Model of your own with Family.dist."
        )
    if not variable.type.dtype.startswith("float"):
        raise ArgumentError(
            f"priors[{key!r}]: {str_for_dist(variable)} is discrete; a prior here is continuous."
        )
    refuse_impossible(variable, f"priors[{key!r}]: {str_for_dist(variable)}")


def _vector(variable: Variable, others: Sequence[str], labels: tuple[str, ...]) -> Variable:
    length = int(variable.shape[0].eval(mode=QUICK)) if variable.type.ndim == 1 else -1
    if length != len(labels) or others:
        raise ArgumentError(
            f"priors['beta']: {str_for_dist(variable)} must have shape ({len(labels)},), one value "
            f"for each of the coefficients {', '.join(labels)}, and stand alone."
        )
    return variable


def _coefficient(label: str, given: Any, usual: Prior) -> Prior | Variable:
    if isinstance(given, str):
        return usual if given == "default" else Prior("Flat")
    if isinstance(given, Variable) and given.type.ndim:
        raise ArgumentError(
            f"priors[{label!r}]: {str_for_dist(given)} is not scalar; one coefficient takes a "
            "univariate prior."
        )
    return given


def _dispersion(scale: str, given: Any, centre: float) -> Prior | Variable:
    """The prior of φ, √φ or 1/φ; by default √φ is exponential, its mean that of the data."""
    if isinstance(given, str):
        if given == "flat":
            return Prior.known("HalfFlat")
        if scale == "phi":
            return Prior.known("Weibull", alpha=0.5, beta=centre)
        return Prior.known("Exponential", lam=centre ** -PHI_SCALES[scale][0])
    if (isinstance(given, Variable) and given.type.ndim) or not lives_in(given, Positive):
        raise ArgumentError(
            f"priors[{scale!r}] = {given} must be a univariate prior on the positive numbers, such "
            "as HalfNormal, Exponential, Gamma or LogNormal."
        )
    return given


def _shape(name: str, domain: Domain, given: Any) -> Prior | Variable:
    """The prior of a shape parameter.

    By default √ψ is exponential with mean 1 on the positive numbers (for the negative binomial √α
    is the coefficient of variation of the rates behind the counts), ψ is uniform on a bounded
    interval and Normal(0, 2.5) on the real line.
    """
    if isinstance(given, str):
        flat = given == "flat"
        if np.isfinite(domain.low) and np.isfinite(domain.high):
            return Prior("Uniform", lower=domain.low, upper=domain.high)
        if np.isinf(domain.low) and np.isinf(domain.high):
            return Prior("Flat") if flat else Prior("Normal", mu=0, sigma=2.5)
        if (domain.low, domain.high) == (0.0, np.inf):
            return Prior("HalfFlat") if flat else Prior("Weibull", alpha=0.5, beta=1.0)
        raise ArgumentError(
            f"there is no {given} prior for the shape parameter {name!r} on {domain}; give one "
            f"with priors={{{name!r}: …}}, such as pm.Truncated.dist(…)."
        )
    if (isinstance(given, Variable) and given.type.ndim) or not lives_in(given, domain):
        raise ArgumentError(
            f"priors[{name!r}] = {given} must be a univariate prior on {domain}, the domain of the "
            "shape parameter."
        )
    return given
