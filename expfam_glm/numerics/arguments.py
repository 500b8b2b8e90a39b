"""What draws and distribution functions ask of their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, DataError, show_rows
from expfam_glm.numerics.tables import Distributions
from expfam_glm.spec.family import Family
from expfam_glm.spec.verify import check_parameters, real_arrays


def refuse_quasi(family: Family, consequence: str) -> None:
    """The error for a family without a density."""
    if family.is_quasi:
        raise ArgumentError(
            f"the quasi family {family.name!r} declares no density (c=None), so {consequence}; "
            "use the family with the density that you have in mind."
        )


def effective_dispersion(family: Family, phi: ArrayLike | None, weights: ArrayLike) -> np.ndarray:
    """a(φ)/w."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(family.a(family._dispersion(phi))) / np.asarray(weights, dtype=float)


def given_shapes(family: Family, shape: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """The shape parameters by name, in the order of their declaration."""
    unknown = [name for name in shape if name not in family.shape]
    missing = [name for name in family.shape if name not in shape]
    if unknown or missing:
        fault = f"{unknown[0]!r} is no argument" if unknown else f"give {', '.join(missing)}="
        raise ArgumentError(
            f"family {family.name!r}: {fault}; its shape parameters are "
            f"{', '.join(family.shape) or 'none'}."
        )
    values = {name: np.asarray(shape[name], dtype=float) for name in family.shape}
    for name, array in values.items():
        bad = ~family.shape[name].contains(array)
        if np.any(bad):
            raise DataError(
                f"{name} of {family.name!r} must lie in {family.shape[name]}; found "
                f"{show_rows(np.ravel(array), np.ravel(bad))}."
            )
    return values


@dataclass(frozen=True)
class Columns:
    """The arguments of a distribution function, checked, broadcast and flat."""

    family: Family
    first: np.ndarray  # y or probabilities
    mean: np.ndarray
    theta: np.ndarray
    a: np.ndarray
    shapes: Mapping[str, np.ndarray]
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls,
        family: Family,
        first: ArrayLike,
        mu: ArrayLike,
        phi: ArrayLike | None,
        weights: ArrayLike,
        shape: Mapping[str, ArrayLike],
        consequence: str,
    ) -> Columns:
        """Read the arguments; `consequence` is what a quasi family lacks."""
        refuse_quasi(family, consequence)
        shapes = given_shapes(family, shape)
        phi = family._dispersion(phi)
        first, mean, phi, weights, *_ = real_arrays(
            **{"the first argument": first}, mu=mu, phi=phi, weights=weights, **shapes
        )
        a = effective_dispersion(family, phi, weights)
        check_parameters(family, mean, a)
        full = np.broadcast_arrays(first, mean, a, *shapes.values())
        y, mean, a, *values = (np.array(v.ravel()) for v in full)
        shapes = dict(zip(shapes, values, strict=True))
        theta = np.asarray(family.theta_of(mean, **shapes))
        return cls(family, y, mean, theta, a, shapes, full[0].shape)

    @property
    def inner(self) -> np.ndarray:
        """Where the mean is not at an edge, which would hold all the mass."""
        return np.isfinite(self.theta) & self.family.mean_space.contains(self.mean)

    def distributions(self, rows: np.ndarray) -> Distributions:
        """The distributions of some rows."""
        shapes = {name: values[rows] for name, values in self.shapes.items()}
        return Distributions.of(self.family, self.theta[rows], self.a[rows], shapes)
