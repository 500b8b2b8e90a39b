"""Distribution functions of a family and their inverse, for any declaration."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import DataError, show_rows
from expfam_glm.numerics.arguments import Columns
from expfam_glm.numerics.closed import closed_form
from expfam_glm.numerics.continuum import continuous_tails
from expfam_glm.numerics.lattice import lattice_tails
from expfam_glm.numerics.tables import Distributions, refuse_mass
from expfam_glm.spec.family import Family

_ROWS = 2**13  # distributions at a time


def log_tails(
    family: Family,
    y: ArrayLike,
    mu: ArrayLike,
    phi: ArrayLike | None = None,
    *,
    weights: ArrayLike = 1.0,
    **shape: ArrayLike,
) -> tuple[np.ndarray, np.ndarray]:
    """log P(Y ≤ y) and log P(Y > y), each accurate in its own tail.

    Parameters
    ----------
    family : Family
    y, mu : array_like, response scale
    phi : array_like, optional
    weights : array_like
        Prior weights w; for the binomial the numbers of trials.
    **shape : array_like

    Returns
    -------
    ndarray, ndarray
        Broadcast over the arguments.

    Raises
    ------
    ArgumentError
        If the family has no density, or φ is free and not given.
    DataError
        If a mean, dispersion or weight is not one that the family can have, or y is not a number.
    DeclarationError
        If the probabilities of a declared family do not add up to one.

    Notes
    -----
    Sums (with y/a integer) or integrals of the declared density over both sides of y, divided by
    their total, so that rounding in b(θ) cancels. A mean at the edge of the mean space has all
    its mass there.
    """
    columns = Columns.of(family, y, mu, phi, weights, shape, "it has no distribution function")
    y, mean = columns.first, columns.mean
    bad = np.isnan(y)
    if np.any(bad):
        raise DataError(f"y must not be NaN; found {show_rows(y, bad)}.")
    with np.errstate(divide="ignore"):
        lower, upper = (np.log(side.astype(float)) for side in (y >= mean, y < mean))
    some = np.flatnonzero(columns.inner)
    for begin in range(0, some.size, _ROWS):
        rows = some[begin : begin + _ROWS]
        lower[rows], upper[rows] = tails_of(columns.distributions(rows), y[rows], mean[rows])
    return lower.reshape(columns.shape), upper.reshape(columns.shape)


def tails_of(
    distributions: Distributions, y: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two logarithms for distributions whose mean is inside the mean space."""
    family = distributions.family
    closed = closed_form(family)
    if closed is not None and closed.tails is not None:
        with np.errstate(all="ignore"):
            tails = closed.tails(y, mean, 1 / distributions.a, **distributions.shapes)
            return np.log(tails[0]), np.log(tails[1])
    solve = lattice_tails if family.support.discrete else continuous_tails
    lower, upper = solve(distributions, y)
    total = np.logaddexp(lower, upper)
    refuse_mass(distributions, np.exp(total))
    return lower - total, upper - total


def cdf(family: Family, y: ArrayLike, mu: ArrayLike, phi: ArrayLike | None = None, **keywords):
    """P(Y ≤ y); see `Family.cdf`."""
    return np.exp(log_tails(family, y, mu, phi, **keywords)[0])[()]


def sf(family: Family, y: ArrayLike, mu: ArrayLike, phi: ArrayLike | None = None, **keywords):
    """P(Y > y); see `Family.sf`."""
    return np.exp(log_tails(family, y, mu, phi, **keywords)[1])[()]
