"""A declared family at many parameter values, and what the tables of its quantiles share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from expfam_glm.errors import DeclarationError
from expfam_glm.spec.family import Family

# Given rows of a block of distributions and probabilities, the quantiles.
type Search = Callable[[np.ndarray, np.ndarray], np.ndarray]

LOG_TAIL = -38.0  # e⁻³⁸ is below the rounding error of a probability
ENTRIES = 2**18  # entries of a table at a time: two megabytes stay in cache
_MASS_TOLERANCE = 1e-6  # cancellation in yθ − b(θ) for large means stays below this


@dataclass(frozen=True)
class Distributions:
    """A family at m parameter values: θ, effective dispersion a and shapes, each (m,)."""

    family: Family
    theta: np.ndarray
    a: np.ndarray
    shapes: Mapping[str, np.ndarray]

    def __getitem__(self, rows: np.ndarray | slice) -> Distributions:
        shapes = {name: values[rows] for name, values in self.shapes.items()}
        return Distributions(self.family, self.theta[rows], self.a[rows], shapes)

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """log f at y (m, k), one row a distribution."""
        shapes = {name: values[:, None] for name, values in self.shapes.items()}
        theta, a = self.theta[:, None], self.a[:, None]
        with np.errstate(all="ignore"):
            mu = np.asarray(self.family.mean(theta, **shapes))
            return np.asarray(self.family.logpdf_at(y, mu, theta, a, **shapes))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each distribution."""
        mean = np.asarray(self.family.mean(self.theta, **self.shapes))
        variance = np.asarray(self.family.variance_at(self.theta, **self.shapes))
        return mean, np.sqrt(variance * self.a)


def search_rows(table: np.ndarray, row: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The first column of the increasing table[row] that is ≥ u, or the last one."""
    low, high = np.zeros(row.shape, np.intp), np.full(row.shape, table.shape[1] - 1, np.intp)
    while np.any(low < high):
        middle = (low + high) // 2
        reached = table[row, middle] >= u
        low, high = (
            np.where(reached, low, np.minimum(middle + 1, high)),
            np.where(reached, middle, high),
        )
    return low


def refuse_mass(distributions: Distributions, mass: np.ndarray) -> None:
    """The error for a declaration whose probabilities do not add up to one."""
    wrong = ~(np.abs(mass - 1) <= _MASS_TOLERANCE)
    if np.any(wrong):
        k = np.flatnonzero(wrong)[0]
        raise DeclarationError(
            f"family {distributions.family.name!r}: the probabilities at θ = "
            f"{distributions.theta[k]:.6g} and effective dispersion a = {distributions.a[k]:.6g} "
            f"add up to {mass[k]:.6g}, not to 1; check b, c, the support, and whether c(y, a) "
            "holds for this a."
        )
