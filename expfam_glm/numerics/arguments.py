"""What draws and distribution functions ask of their arguments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, DataError, show_rows
from expfam_glm.spec.family import Family


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
