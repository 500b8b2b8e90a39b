"""Priors of coefficients and dispersion: as specified by the user, and as applied to the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymc.distributions.distribution import SymbolicRandomVariable
from pymc.printing import str_for_dist
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable

from expfam_glm.bayes.prior import Prior, describe, lives_in, space_of
from expfam_glm.bayes.scaling import weakly_informative
from expfam_glm.data.frames import close_to
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, one_of
from expfam_glm.spec.domain import Domain

WORDS = ("default", "flat")


@dataclass(frozen=True)
class Applied:
    """The priors of a model: one for each coefficient or one for all, of φ and of free shapes.

    beta: a `Prior` or a PyMC variable for each coefficient; None where `vector`, one PyMC variable
    of length p, stands for all. phi: None where φ is known.
    """

    labels: tuple[str, ...]
    beta: tuple[Prior | Variable, ...] | None
    vector: Variable | None
    phi: Prior | Variable | None
    specified: str | dict[str, str]
    shapes: Mapping[str, Prior | Variable] = field(default_factory=dict)

    @property
    def flat(self) -> np.ndarray:
        """Which coefficients have a flat prior."""
        if self.beta is None:
            return np.zeros(len(self.labels), bool)
        return np.array([isinstance(p, Prior) and p.distribution == "Flat" for p in self.beta])

    @property
    def separable(self) -> bool:
        """Whether every prior is a `Prior` on the natural space of its parameter."""
        if self.beta is None or isinstance(self.phi, Variable):
            return False
        if any(isinstance(prior, Variable) for prior in self.shapes.values()):
            return False
        return all(isinstance(p, Prior) and space_of(p) == "real" for p in self.beta)

    def record(self) -> str:
        """The priors as specified and as applied, as JSON text."""
        applied: dict[str, Any] = {}
        if self.vector is not None:
            applied["beta"] = describe(self.vector)
        for label, prior in zip(self.labels, self.beta or (), strict=False):
            applied[label] = describe(prior)
        if self.phi is not None:
            applied["phi"] = describe(self.phi)
        applied |= {name: describe(prior) for name, prior in self.shapes.items()}
        return json.dumps({"specified": self.specified, "applied": applied}, ensure_ascii=False)


def apply(problem: Problem, priors: str | Mapping[str, Any]) -> Applied:
    """What `priors=` means for a problem.

    Parameters
    ----------
    problem : Problem
    priors : {"default", "flat"} or mapping
        Keys are labels of coefficients, "phi", names of free shape parameters, or "beta" for all
        coefficients; values are `Prior`, a distribution of PyMC's, or one of the words. What is not
        named takes the default.

    Returns
    -------
    Applied

    Raises
    ------
    ArgumentError
        For unknown words and keys, and for values that are no prior of what they name.
    """
    family, labels = problem.family, problem.labels
    default = weakly_informative(problem)
    given: dict[str, Any] = {}
    if isinstance(priors, str):
        if priors not in WORDS:
            raise one_of("priors", priors, WORDS)
        given = dict.fromkeys(["beta", "phi", *family.shape], priors)
    elif isinstance(priors, Mapping):
        given = dict(priors)
        _check_keys(given, problem)
    else:
        raise ArgumentError(f"priors={priors!r} must be 'default', 'flat' or a mapping.")
    base = given.get("beta", "default")
    vector = None
    if isinstance(base, Variable):
        vector = _vector(base, given, ("phi", *family.shape), labels)
    beta = None
    if vector is None:
        usual = tuple(Prior("Normal", mu=m, sigma=s) for m, s in default.beta)
        beta = tuple(
            _coefficient(label, given.get(label, base), own)
            for label, own in zip(labels, usual, strict=True)
        )
    phi = None
    if family.phi is None:
        scale = Prior("Weibull", alpha=0.5, beta=default.phi)
        phi = _dispersion(given.get("phi", "default"), scale)
    shapes = {
        name: _shape(name, domain, given.get(name, "default"))
        for name, domain in family.shape.items()
    }
    written = priors if isinstance(priors, str) else {
        key: value if isinstance(value, str) else str(value if isinstance(value, Prior)
                                                      else str_for_dist(value))
        for key, value in priors.items()
    }  # fmt: skip
    return Applied(labels, beta, vector, phi, written, shapes)


def _check_keys(given: Mapping[str, Any], problem: Problem) -> None:
    others = ["beta", *(["phi"] if problem.family.phi is None else []), *problem.family.shape]
    known = [*problem.labels, *others]
    for key, value in given.items():
        if key == "phi" and "phi" not in known:
            raise ArgumentError(
                f"priors: the dispersion of {problem.family.name!r} is known to be "
                f"{problem.family.phi:g}, so 'phi' takes no prior."
            )
        if key in problem.labels and key in ("beta", "phi", *problem.family.shape):
            what = {"beta": "all coefficients", "phi": "the dispersion"}
            raise ArgumentError(
                f"priors: {key!r} is a column here and also the name of "
                f"{what.get(key, 'a shape parameter')}; rename the column."
            )
        if key not in known:
            raise ArgumentError(f"priors: no parameter is called {key!r}; {close_to(key, known)}")
        if not (isinstance(value, Prior | Variable) or value in WORDS):
            raise ArgumentError(
                f"priors[{key!r}] = {value!r} is no prior; give Prior(…), a distribution such as "
                "pm.Normal.dist(0, 1), 'default' or 'flat'."
            )
        if isinstance(value, Variable):
            _check_variable(key, value)


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


def _vector(
    variable: Variable, given: Mapping[str, Any], further: tuple[str, ...], labels: tuple[str, ...]
) -> Variable:
    others = [key for key in given if key not in ("beta", *further)]
    if variable.type.ndim == 0:
        raise ArgumentError(
            "priors['beta'] is a scalar distribution; for the same prior on every coefficient "
            "give a Prior(…), or a distribution with shape p such as pm.MvNormal.dist(mu, cov)."
        )
    length = int(variable.shape[0].eval(mode="FAST_COMPILE")) if variable.type.ndim == 1 else -1
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


def _dispersion(given: Any, usual: Prior) -> Prior | Variable:
    if isinstance(given, str):
        return usual if given == "default" else Prior("HalfFlat")
    if space_of(given) == "real" or (isinstance(given, Variable) and given.type.ndim):
        raise ArgumentError(
            f"priors['phi'] = {given} must be a univariate prior on the positive numbers, such as "
            "HalfNormal, Exponential, Gamma or LogNormal."
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
