"""A family at many parameter values, and what the tables of its probabilities share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import toposort

from expfam_glm.errors import DataError, DeclarationError
from expfam_glm.spec.families import is_built_in
from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import scalar, substitute
from expfam_glm.spec.lower import lower

LOG_TAIL = -38.0  # e⁻³⁸ is below the rounding error of a probability
ENTRIES = 2**18  # entries of a table at a time: two megabytes stay in cache
_NEAR = 1e-9  # a count is an integer to within this, as in Family.contains
_ROUNDING = 4 * np.finfo(float).eps  # of a count y/a, relative
_MASS_TOLERANCE = 1e-6  # cancellation in yθ − b(θ) for large means stays below this


@dataclass(frozen=True)
class Distributions:
    """A family at m parameter values: θ, effective dispersion a and shapes, each (m,).

    Made by `Distributions.of`.
    """

    family: Family
    theta: np.ndarray
    a: np.ndarray
    shapes: Mapping[str, np.ndarray]
    constants: tuple[np.ndarray, ...]  # what of log f does not depend on y

    @classmethod
    def of(
        cls, family: Family, theta: np.ndarray, a: np.ndarray, shapes: Mapping[str, np.ndarray]
    ) -> Distributions:
        """The distributions with the constants of their log-densities."""
        constants = _density(family)[0](theta, a, *shapes.values())
        constants = tuple(np.broadcast_to(v, theta.shape) for v in constants)
        return cls(family, theta, a, shapes, constants)

    def __len__(self) -> int:
        return self.theta.size

    def __getitem__(self, rows: np.ndarray | slice) -> Distributions:
        shapes = {name: values[rows] for name, values in self.shapes.items()}
        constants = tuple(values[rows] for values in self.constants)
        return Distributions(self.family, self.theta[rows], self.a[rows], shapes, constants)

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """log f at y (…, m), one column a distribution."""
        density = _density(self.family)[1]
        (value,) = density(y, self.theta, self.a, *self.shapes.values(), *self.constants)
        return np.broadcast_to(value, y.shape)

    def cumulant(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """b and b′ at other θ (…, m), with the shapes of each distribution."""
        value, slope = _cumulant(self.family)(theta, *self.shapes.values())
        return np.broadcast_to(value, theta.shape), np.broadcast_to(slope, theta.shape)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each distribution."""
        mean = np.asarray(self.family.mean(self.theta, **self.shapes))
        with np.errstate(all="ignore"):
            variance = np.asarray(self.family.variance_at(self.theta, **self.shapes))
        # b″ may have lost its digits; 1e-7 of the mean is what its terms leave of the root
        return mean, np.sqrt(np.maximum(np.nan_to_num(variance), 1e-14 * mean**2) * self.a)

    def atom_mass(self) -> np.ndarray:
        """The probability of the support's atom, zero where it has none."""
        atom = self.family.support.atom
        if atom is None:
            return np.zeros(len(self))
        return np.exp(self.log_density(np.full(len(self), atom)))

    @property
    def noise(self) -> np.ndarray:
        """Rounding errors of log f near its mean, absolute: those of yθ/a and b(θ)/a."""
        eps = np.finfo(float).eps
        if self.family.closed_deviance is not None and self.family.closed_conjugate is not None:
            return np.full(self.theta.shape, 8 * eps)
        value, slope = self.cumulant(self.theta)
        return 8 * eps * (1 + (np.abs(self.theta * slope) + np.abs(value)) / self.a)


@lru_cache(maxsize=256)
def _density(family: Family) -> tuple[Callable[..., tuple[Any, ...]], ...]:
    """NumPy functions: constants of (θ, a, shapes), and log f of (y, θ, a, shapes, constants)."""
    y, theta, a = scalar("y"), scalar("theta"), scalar("a")
    shapes = {name: scalar(name) for name in family.shape}
    parameters = [theta, a, *shapes.values()]
    mu = family.mean_function(theta, **shapes)
    density = family.logpdf_at(y, mu, theta, a, **shapes)
    of_y: set[Variable] = {y}
    constants: dict[Variable, Variable] = {}
    for node in toposort([density], blockers=[y, *parameters]):
        if of_y.isdisjoint(node.inputs):
            continue
        of_y.update(node.outputs)
        for v in node.inputs:
            if v.owner is not None and v not in of_y and v not in constants:
                constants[v] = v.type()
    remaining = substitute(density, constants)
    prepare = lower(parameters, list(constants))
    return prepare, lower([y, *parameters, *constants.values()], [remaining])


@lru_cache(maxsize=256)
def _cumulant(family: Family) -> Callable[..., tuple[Any, ...]]:
    """b and b′ in one NumPy function of (θ, shapes)."""
    return lower(family.cumulant.variables, [family.cumulant.output, family.mean_function.output])


def blocks(spans: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of similar span together, each time no more than fit a table of `ENTRIES`."""
    order = np.argsort(spans, kind="stable")
    begin = 0
    while begin < order.size:
        least = max(1.0, float(spans[order[begin]]))
        near = order[begin : begin + max(1, int(ENTRIES / least))]
        fits = (spans[near] <= 2 * least) & (np.arange(1, near.size + 1) * spans[near] <= ENTRIES)
        fits[0] = True
        size = near.size if fits.all() else int(np.argmin(fits))
        yield near[:size]
        begin += size


def refuse_mass(distributions: Distributions, mass: np.ndarray) -> None:
    """The error for a declaration whose probabilities do not add up to one."""
    wrong = ~(np.abs(mass - 1) <= _MASS_TOLERANCE)
    if np.any(wrong):
        k = np.flatnonzero(wrong)[0]
        if is_built_in(distributions.family):  # its declaration is right
            raise DataError(
                f"family {distributions.family.name!r}: at θ = {distributions.theta[k]:.6g} and "
                f"effective dispersion a = {distributions.a[k]:.6g} the numbers leave too few "
                f"digits: the probabilities add up to {mass[k]:.6g} after rounding. Use means and "
                "dispersions of moderate size."
            )
        raise DeclarationError(
            f"family {distributions.family.name!r}: the probabilities at θ = "
            f"{distributions.theta[k]:.6g} and effective dispersion a = {distributions.a[k]:.6g} "
            f"add up to {mass[k]:.6g}, not to 1; check b, c, the support, and whether c(y, a) "
            "holds for this a."
        )


def whole_count(count: np.ndarray) -> np.ndarray:
    """The last integer up to y/a, which rounding may have put just below one."""
    return np.floor(count + np.maximum(_NEAR, _ROUNDING * np.abs(count)))
