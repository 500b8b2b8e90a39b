"""A prior as a value: a distribution of PyMC's by name, or one for all coefficients together."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pymc as pm
from pymc.distributions.distribution import Distribution, support_point
from pymc.distributions.shape_utils import change_dist_size
from pymc.distributions.transforms import _default_transform
from pymc.printing import str_for_dist
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable

from expfam_glm.data.frames import close_to
from expfam_glm.errors import ArgumentError
from expfam_glm.spec.domain import Domain

# Priors of all coefficients together: their numbers, and which of these must be given.
JOINT: dict[str, tuple[str, ...]] = {
    "Jeffreys": (),
    "Ridge": ("scale",),
    "Conjugate": ("kappa", "mean"),
    "Horseshoe": ("nonzero", "slab", "df"),
}
_NEEDED = {"Ridge": ("scale",), "Conjugate": ("kappa",), "Horseshoe": ("nonzero",)}
# For one evaluation of a small graph: nothing is rewritten or compiled.
QUICK = Mode(linker="py", optimizer=None)


class Prior:
    """A univariate prior distribution of PyMC's, by name, or a prior of all coefficients.

    Parameters
    ----------
    distribution : str
        Name of a continuous distribution of PyMC's, such as "Normal", "StudentT" or "HalfNormal";
        or, for all coefficients together, "Jeffreys", "Ridge", "Conjugate" or "Horseshoe".
    **parameters : float
        Its parameters, by PyMC's names. Ridge: `scale`, link scale. Conjugate: `kappa`, how many
        observations it is worth, and `mean`, their mean (that of the response if not given).
        Horseshoe: `nonzero`, how many coefficients are expected to matter; `slab`, the scale of
        those (2.5 units of η if not given) for one standard deviation of the covariate, and `df`
        of its t distribution (4).

    Raises
    ------
    ArgumentError
        If there is no such distribution, if it does not take the parameters, or if no distribution
        has these values of them.

    Notes
    -----
    With the design matrix X, the Fisher weights W and the cumulant b:

    - Jeffreys: π(β) ∝ det(XᵀWX)^½, W at φ = 1.
    - Ridge: Normal(0, scale²) for each coefficient, the intercept flat.
    - Conjugate: π(β) ∝ exp{(κ/n) Σ [m θᵢ(β) − b(θᵢ(β))]/a(φ)}, for known φ.
    - Horseshoe: β_j = z_j τ λ̃_j/sd(x_j), λ̃_j² = c²λ_j²/(c² + τ²λ_j²), z_j normal, λ_j half-Cauchy,
      τ half-Cauchy with scale p₀/(p − p₀)·σ̃/√n, c² inverse gamma (df/2, df·slab²/2); the intercept
      and coefficients with a prior of their own are not shrunk.

    References
    ----------
    Chen and Ibrahim (2003), Conjugate priors for generalized linear models, Statistica Sinica 13,
    461-476; Diaconis and Ylvisaker (1979), Annals of Statistics 7, 269-281; Piironen and Vehtari
    (2017), Electronic Journal of Statistics 11, 5018-5051.

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
        name = str(distribution)
        names = _parameters_of(name)
        for key, value in parameters.items():
            if key not in names:
                raise ArgumentError(
                    f'Prior("{name}") cannot be made: it has no parameter {key!r}; '
                    f"{close_to(key, names) if names else 'it takes none.'}"
                )
            if isinstance(value, bool) or not np.isscalar(value) or not np.isreal(value):
                raise ArgumentError(
                    f'Prior("{name}"): {key}={value!r} is not a number. For priors with '
                    f"parameters of their own give a distribution, pm.{name}.dist(…)."
                )
        self._set(name, parameters)
        if self.is_joint:
            self._check_joint()
            return
        try:
            variable = self.variable()
        except Exception as error:
            raise ArgumentError(f"{self!r} cannot be made: {error}") from error
        if variable.type.ndim or variable.type.dtype != "float64":
            raise ArgumentError(f"{self!r} is not a univariate continuous distribution.")
        if np.isnan(list(self.parameters.values())).any():
            raise ArgumentError(f"{self!r} is no distribution: a parameter is NaN.")
        refuse_impossible(variable, repr(self))

    @classmethod
    def known(cls, distribution: str, **parameters: float) -> Prior:
        """A prior whose parameters need no check."""
        prior = cls.__new__(cls)
        prior._set(distribution, parameters)
        return prior

    def _set(self, distribution: str, parameters: Mapping[str, float]) -> None:
        object.__setattr__(self, "distribution", distribution)
        object.__setattr__(self, "parameters", {k: float(v) for k, v in parameters.items()})

    @property
    def is_joint(self) -> bool:
        """Whether it is a prior of all coefficients together."""
        return self.distribution in JOINT

    def _check_joint(self) -> None:
        missing = [k for k in _NEEDED.get(self.distribution, ()) if k not in self.parameters]
        if missing:
            raise ArgumentError(f"{self!r} cannot be made: give {', '.join(missing)}.")
        for key, value in self.parameters.items():
            if not (np.isfinite(value) and (value > 0 or key == "mean")):
                raise ArgumentError(f"{self!r} is no prior: {key} must be a positive number.")

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


@cache
def _parameters_of(distribution: str) -> tuple[str, ...]:
    """The names of the parameters of a distribution."""
    if distribution in JOINT:
        return JOINT[distribution]
    known: Any = getattr(pm, distribution, None)
    if not _is_distribution(known):
        names = [name for name, value in vars(pm).items() if _is_distribution(value)]
        hint = close_to(distribution, [*JOINT, *names])
        raise ArgumentError(f"PyMC has no distribution {distribution!r}; {hint}")
    parameters = inspect.signature(known.dist).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _is_distribution(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Distribution)


def describe(prior: Prior | Variable) -> Any:
    """A prior for the record: name and parameters, or PyMC's own text for a variable."""
    return prior.record() if isinstance(prior, Prior) else str_for_dist(prior)


def recorded_density(record: Any, places: np.ndarray) -> np.ndarray | None:
    """The density of a prior at some places, by its record; None where the record has none.

    Flat and joint priors have no density of one coefficient, and the text of a PyMC variable does
    not give it back.
    """
    if not isinstance(record, Mapping) or record["name"] in (*JOINT, "Flat", "HalfFlat"):
        return None
    prior = Prior.known(str(record["name"]), **{k: v for k, v in record.items() if k != "name"})
    return np.exp(pm.logp(prior.variable(), places).eval(mode=QUICK))


def variable_of(prior: Prior | Variable) -> Variable:
    """An unregistered PyMC variable with the distribution of a prior."""
    return prior.variable() if isinstance(prior, Prior) else prior


def rounded(prior: Prior | Variable) -> Prior | Variable:
    """The normal prior of the same mean and variance, where a prior has a corner; else itself.

    Fisher scoring meets no end on a corner, and the curvature there says nothing of the width.
    """
    operation = variable_of(prior).owner.op
    if getattr(operation, "name", "") != "laplace":
        return prior
    mu, b = (float(v.eval(mode=QUICK)) for v in operation.dist_params(variable_of(prior).owner))
    return Prior("Normal", mu=mu, sigma=math.sqrt(2.0) * b)


def draw(prior: Prior | Variable, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (size,) of a univariate prior."""
    variable = change_dist_size(variable_of(prior), (size,))
    seed = int(rng.integers(2**31))
    return np.asarray(pm.draw(variable, random_seed=seed, mode=QUICK), dtype=float)


def space_of(prior: Prior | Variable) -> str:
    """ "real", "positive" or "other": where the values of a prior live."""
    variable = variable_of(prior)
    transform = _default_transform(variable.owner.op, variable)
    if transform is None:
        return "real"
    return "positive" if getattr(transform, "name", "") == "log" else "other"


def centre_of(prior: Prior | Variable) -> float:
    """A representative value of a univariate prior."""
    return float(support_point(variable_of(prior)).eval(mode=QUICK))


def has_density(prior: Prior | Variable, value: float) -> bool:
    """Whether the density of a prior is positive and finite at a value."""
    density = pm.logp(variable_of(prior), np.float64(value)).eval(mode=QUICK)
    return bool(np.isfinite(density))


def lives_in(prior: Prior | Variable, domain: Domain) -> bool:
    """Whether a prior is centred in an interval, without density just and far outside it."""
    outside = [
        end + sign * distance
        for end, sign in ((domain.low, -1.0), (domain.high, 1.0))
        if np.isfinite(end)
        for distance in (1e-6, 0.5, 10.0)
    ]
    inside = bool(domain.contains(np.asarray(centre_of(prior))))
    return inside and not any(has_density(prior, value) for value in outside)


def spans(prior: Prior | Variable, domain: Domain) -> bool:
    """Whether the values of a prior are the whole of an interval."""
    if np.isinf(domain.low) and np.isinf(domain.high):
        return space_of(prior) == "real"
    if (domain.low, domain.high) == (0.0, np.inf):
        return space_of(prior) == "positive"
    if not (np.isfinite(domain.low) and np.isfinite(domain.high)):
        return False
    reach = 1e-9 * (domain.high - domain.low)
    ends = (domain.low + reach, domain.high - reach)
    return lives_in(prior, domain) and all(has_density(prior, value) for value in ends)


def refuse_impossible(variable: Variable, written: str) -> None:
    """Refuse a prior whose parameters no distribution has (σ < 0, NaN, an empty interval)."""
    try:
        value = pm.logp(variable, support_point(variable)).eval(mode=QUICK)
    except Exception as error:
        raise ArgumentError(f"{written} is no distribution: it needs {error}.") from None
    if not np.all(np.isfinite(value)):
        raise ArgumentError(
            f"{written} is no distribution: its log-density at its centre is {np.min(value):g}."
        )
