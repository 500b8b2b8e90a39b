"""One prior distribution as a value, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
from pymc.distributions.distribution import Distribution, support_point
from pymc.distributions.transforms import _default_transform
from pymc.printing import str_for_dist
from pytensor.graph.basic import Variable

from expfam_glm.data.frames import close_to
from expfam_glm.errors import ArgumentError
from expfam_glm.spec.domain import Domain


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


def has_density(prior: Prior | Variable, value: float) -> bool:
    """Whether the density of a prior is positive and finite at a value."""
    variable = prior.variable() if isinstance(prior, Prior) else prior
    return bool(np.isfinite(pm.logp(variable, np.float64(value)).eval(mode="FAST_COMPILE")))


def lives_in(prior: Prior | Variable, domain: Domain) -> bool:
    """Whether a prior has no density just outside an interval and far outside it."""
    outside = [
        end + sign * distance
        for end, sign in ((domain.low, -1.0), (domain.high, 1.0))
        if np.isfinite(end)
        for distance in (1e-6, 0.5, 10.0)
    ]
    return not any(has_density(prior, value) for value in outside)


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
