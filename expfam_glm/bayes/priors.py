"""Priors of coefficients and dispersion: as specified by the user, and as applied to the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
from pymc.distributions.distribution import (
    Distribution,
    SymbolicRandomVariable,
    support_point,
)
from pymc.distributions.transforms import _default_transform
from pymc.printing import str_for_dist
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable

from expfam_glm.bayes.scaling import weakly_informative
from expfam_glm.data.frames import close_to
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, one_of

WORDS = ("default", "flat")


class Prior:
    """A univariate prior distribution of PyMC's, by name, as a value.

    Parameters
    ----------
    distribution : str
        Name of a continuous distribution of PyMC's, such as "Normal", "StudentT" or "HalfNormal".
    **parameters : float
        Its parameters, by PyMC's names.

    Raises
    ------
    ArgumentError
        If PyMC has no such distribution, or does not take the parameters.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> eg.Prior("Normal", mu=0, sigma=1)
    Prior("Normal", mu=0, sigma=1)
    >>> eg.Prior("Normal", mu=0, sigma=1) == eg.Prior("Normal", sigma=1.0, mu=0.0)
    True
    """

    __slots__ = ("distribution", "parameters")

    distribution: str
    parameters: Mapping[str, float]

    def __init__(self, distribution: str, **parameters: float) -> None:
        known = getattr(pm, str(distribution), None)
        if not (isinstance(known, type) and issubclass(known, Distribution)):
            raise ArgumentError(
                f"PyMC has no distribution {distribution!r}; "
                f"{close_to(str(distribution), _distributions())}"
            )
        for key, value in parameters.items():
            if isinstance(value, bool) or not np.isscalar(value) or not np.isreal(value):
                raise ArgumentError(
                    f'Prior("{distribution}"): {key}={value!r} is not a number. For priors with '
                    f"parameters of their own give a distribution, pm.{distribution}.dist(…)."
                )
        object.__setattr__(self, "distribution", str(distribution))
        object.__setattr__(self, "parameters", {k: float(v) for k, v in parameters.items()})
        try:
            variable = self.variable()
        except Exception as error:
            raise ArgumentError(f"{self!r} cannot be made: {error}") from error
        if variable.type.ndim or variable.type.dtype != "float64":
            raise ArgumentError(f"{self!r} is not a univariate continuous distribution.")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Prior is a value and cannot be changed; make another one.")

    def variable(self) -> Variable:
        """An unregistered PyMC variable with this distribution."""
        return getattr(pm, self.distribution).dist(**self.arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters in float64; PyTensor would take bare numbers for float32."""
        return {name: np.asarray(value) for name, value in self.parameters.items()}

    def __repr__(self) -> str:
        written = "".join(f", {k}={v:.15g}" for k, v in self.parameters.items())
        return f'Prior("{self.distribution}"{written})'

    def __str__(self) -> str:
        written = ", ".join(f"{k}={v:.6g}" for k, v in self.parameters.items())
        return f"{self.distribution}({written})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prior) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, frozenset]:
        return self.distribution, frozenset(self.parameters.items())

    def __reduce__(self) -> tuple[Any, ...]:
        return _prior, (self.distribution, dict(self.parameters))

    def record(self) -> dict[str, str | float]:
        """Name and parameters, for JSON."""
        return {"name": self.distribution, **self.parameters}


def _prior(distribution: str, parameters: dict[str, float]) -> Prior:
    return Prior(distribution, **parameters)


def _distributions() -> list[str]:
    return [n for n, v in vars(pm).items() if isinstance(v, type) and issubclass(v, Distribution)]


@dataclass(frozen=True)
class Applied:
    """The priors of a model: one for each coefficient or one for all, and that of φ.

    beta: a `Prior` or a PyMC variable for each coefficient; None where `vector`, one PyMC variable
    of length p, stands for all. phi: None where φ is known.
    """

    labels: tuple[str, ...]
    beta: tuple[Prior | Variable, ...] | None
    vector: Variable | None
    phi: Prior | Variable | None
    specified: str | dict[str, str]

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
        return json.dumps({"specified": self.specified, "applied": applied}, ensure_ascii=False)


def describe(prior: Prior | Variable) -> Any:
    """A prior for the record: name and parameters, or PyMC's own text for a variable."""
    return prior.record() if isinstance(prior, Prior) else str_for_dist(prior)


def space_of(prior: Prior | Variable) -> str:
    """ "real", "positive" or "other": where the values of a prior live."""
    variable = prior.variable() if isinstance(prior, Prior) else prior
    transform = _default_transform(variable.owner.op, variable)
    if transform is None:
        return "real"
    return "positive" if getattr(transform, "name", "") == "log" else "other"


def centre_of(prior: Prior | Variable) -> float:
    """A representative value of a univariate prior."""
    variable = prior.variable() if isinstance(prior, Prior) else prior
    return float(support_point(variable).eval(mode="FAST_COMPILE"))


def apply(problem: Problem, priors: str | Mapping[str, Any]) -> Applied:
    """What `priors=` means for a problem.

    Parameters
    ----------
    problem : Problem
    priors : {"default", "flat"} or mapping
        Keys are labels of coefficients, "phi", or "beta" for all coefficients; values are `Prior`,
        a distribution of PyMC's, or one of the words. What is not named takes the default.

    Returns
    -------
    Applied

    Raises
    ------
    ArgumentError
        For unknown words and keys, and for values that are no prior of what they name.
    """
    family, labels = problem.family, problem.labels
    if family.shape:
        raise ArgumentError(f"give {', '.join(family.shape)} of {family.name!r} a value.")
    default = weakly_informative(problem)
    given: dict[str, Any] = {}
    if isinstance(priors, str):
        if priors not in WORDS:
            raise one_of("priors", priors, WORDS)
        given = {"beta": priors, "phi": priors}
    elif isinstance(priors, Mapping):
        given = dict(priors)
        _check_keys(given, problem)
    else:
        raise ArgumentError(f"priors={priors!r} must be 'default', 'flat' or a mapping.")
    base = given.get("beta", "default")
    vector = None
    if isinstance(base, Variable):
        vector = _vector(base, given, labels)
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
    written = priors if isinstance(priors, str) else {
        key: value if isinstance(value, str) else str(value if isinstance(value, Prior)
                                                      else str_for_dist(value))
        for key, value in priors.items()
    }  # fmt: skip
    return Applied(labels, beta, vector, phi, written)


def _check_keys(given: Mapping[str, Any], problem: Problem) -> None:
    known = [*problem.labels, "beta", *(["phi"] if problem.family.phi is None else [])]
    for key, value in given.items():
        if key == "phi" and "phi" not in known:
            raise ArgumentError(
                f"priors: the dispersion of {problem.family.name!r} is known to be "
                f"{problem.family.phi:g}, so 'phi' takes no prior."
            )
        if key in problem.labels and key in ("beta", "phi"):
            raise ArgumentError(
                f"priors: {key!r} is a column here and also the name of "
                f"{'all coefficients' if key == 'beta' else 'the dispersion'}; rename the column."
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


def _vector(variable: Variable, given: Mapping[str, Any], labels: tuple[str, ...]) -> Variable:
    others = [key for key in given if key not in ("beta", "phi")]
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
