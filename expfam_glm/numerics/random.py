"""Random draws of a family: NumPy's own for the built-in ones, from tables for any other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, DataError
from expfam_glm.numerics.arguments import (
    effective_dispersion,
    given_shapes,
    refuse_quasi,
)
from expfam_glm.numerics.closed import closed_form
from expfam_glm.numerics.tables import Distributions
from expfam_glm.numerics.tilting import draws
from expfam_glm.spec.family import Family
from expfam_glm.spec.verify import check_parameters, real_arrays


def draw(
    family: Family,
    mu: ArrayLike | None,
    phi: ArrayLike | None,
    rng: np.random.Generator | int | None = None,
    size: int | tuple[int, ...] | None = None,
    *,
    theta: ArrayLike | None = None,
    weights: ArrayLike = 1.0,
    **shape: ArrayLike,
) -> np.ndarray:
    """Draw responses of a family, broadcast over its parameters.

    Parameters
    ----------
    family : Family
    mu : array_like or None, response scale
        Means; None where `theta` is given.
    phi : array_like or None
        Dispersion; None takes the family's own.
    rng : numpy.random.Generator, int or None
        A generator, or the seed of one.
    size : int or tuple of int, optional
        Shape of the result; that of the broadcast parameters if not given.
    theta : array_like, optional
        Canonical parameters, where they are at hand; saves inverting b′.
    weights : array_like
        Prior weights w; for the binomial the numbers of trials.
    **shape : array_like
        Values of the shape parameters.

    Returns
    -------
    ndarray of float
        Responses on the scale of the mean: for the binomial, proportions.

    Raises
    ------
    ArgumentError
        If the family has no density, φ is free and not given, or `size` does not fit.
    DataError
        If a mean, dispersion or weight is not one that the family can have.
    DeclarationError
        If the probabilities of a declared family do not add up to one.

    Notes
    -----
    A declared family is drawn from tables of its distribution functions, computed from b and c
    alone; a few of them serve any number of means (see `expfam_glm.numerics.tilting`). Poisson
    and negative binomial counts with means beyond 2⁵³, where a float no longer holds every
    integer, are drawn from the normal distribution of the same mean and variance.

    Examples
    --------
    >>> from expfam_glm.spec.families import binomial
    >>> rng = np.random.default_rng(1)
    >>> draw(binomial, [0.2, 0.5, 0.9], None, rng, weights=10)
    array([0.2, 0.8, 1. ])
    """
    refuse_quasi(family, "nothing can be drawn from it")
    given = {"mu": mu, "theta": theta, "phi": family._dispersion(phi), "weights": weights} | shape
    real_arrays(**{name: value for name, value in given.items() if value is not None})
    a = effective_dispersion(family, phi, weights)
    return draw_at(family, mu, theta, a, generator(rng), size, **shape)


def generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """The generator itself, or one made from a seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"rng={rng!r} must be a numpy.random.Generator, or a seed: a whole number from 0 on."
        ) from error


def draw_at(
    family: Family,
    mu: ArrayLike | None,
    theta: ArrayLike | None,
    a: ArrayLike,
    rng: np.random.Generator,
    size: int | tuple[int, ...] | None = None,
    **shape: ArrayLike,
) -> np.ndarray:
    """Draw responses where the effective dispersion a(φ)/w and one or both of μ and θ are at hand.

    The arguments are those of `draw`.
    """
    a = np.asarray(a, dtype=float)
    shapes = given_shapes(family, shape)
    if mu is None:
        mu = family.mean(np.asarray(theta, dtype=float), **shapes)
    mean = np.asarray(mu, dtype=float)
    check_parameters(family, mean, a)
    common = np.broadcast_shapes(mean.shape, a.shape, *(v.shape for v in shapes.values()))
    full = _full_size(size, common)
    closed = closed_form(family)
    if closed is not None:
        return np.asarray(closed.sampler(rng, mean, 1 / a, full, **shapes), dtype=float)
    if theta is None:
        theta = family.theta_of(mean, **shapes)
    return _from_tables(family, np.asarray(theta, dtype=float), mean, a, shapes, full, rng)


def _full_size(size: int | tuple[int, ...] | None, common: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the result, which the parameters must fit."""
    if size is None:
        return common
    try:
        full = (size,) if isinstance(size, int | np.integer) else tuple(size)
        fits = np.broadcast_shapes(full, common) == full
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ArgumentError(f"size={size!r} does not hold parameters of shape {common}.")
    return full


def _from_tables(
    family: Family,
    theta: np.ndarray,
    mean: np.ndarray,
    a: np.ndarray,
    shapes: dict[str, np.ndarray],
    size: tuple[int, ...],
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws of a declared family; a mean at the edge of a discrete support is that point."""
    y = np.array(np.broadcast_to(mean, size))
    inner = np.broadcast_to(np.isfinite(theta) & family.mean_space.contains(mean), size)
    if not inner.all() and not family.support.discrete:
        raise DataError(f"means of {family.name!r} lie at the edge of {family.mean_space}.")
    flat = [np.broadcast_to(v, size)[inner] for v in (theta, a, *shapes.values())]
    chosen = Distributions.of(family, flat[0], flat[1], dict(zip(shapes, flat[2:], strict=True)))
    y[inner] = draws(chosen, rng)
    return y
