"""Random draws of a family: NumPy's own for the built-in ones, by inversion for any other."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, DataError, show_rows
from expfam_glm.numerics.inversion import quantiles
from expfam_glm.numerics.tables import Distributions
from expfam_glm.spec import families
from expfam_glm.spec.family import Family
from expfam_glm.spec.verify import check_parameters

type Sampler = Callable[..., np.ndarray]

_WHOLE = 2.0**53  # beyond this a float64 cannot hold every integer


def draw(
    family: Family,
    mu: ArrayLike | None,
    phi: ArrayLike | None,
    rng: np.random.Generator,
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
    rng : numpy.random.Generator
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
    A declared family is drawn by inversion of its distribution function, computed from b and c
    alone. Poisson and negative binomial counts with means beyond 2⁵³, where a float no longer
    holds every integer, are drawn from the normal distribution of the same mean and variance.

    Examples
    --------
    >>> from expfam_glm.spec.families import binomial
    >>> rng = np.random.default_rng(1)
    >>> draw(binomial, [0.2, 0.5, 0.9], None, rng, weights=10)
    array([0.2, 0.8, 1. ])
    """
    if family.is_quasi:
        raise ArgumentError(
            f"the quasi family {family.name!r} declares no density (c=None), so nothing can be "
            "drawn from it; use the family with the density that you have in mind."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.asarray(family.a(family._dispersion(phi))) / np.asarray(weights, dtype=float)
    return draw_at(family, mu, theta, a, rng, size, **shape)


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
    shapes = {name: np.asarray(values, dtype=float) for name, values in shape.items()}
    if mu is None:
        mu = family.mean(np.asarray(theta, dtype=float), **shapes)
    mean = np.asarray(mu, dtype=float)
    check_parameters(family, mean, a)
    common = np.broadcast_shapes(mean.shape, a.shape, *(v.shape for v in shapes.values()))
    full = _full_size(size, common)
    sampler = _sampler(family)
    if sampler is not None:
        return np.asarray(sampler(rng, mean, 1 / a, full, **shapes), dtype=float)
    if theta is None:
        theta = family.theta_of(mean, **shapes)
    return _by_inversion(family, np.asarray(theta, dtype=float), mean, a, shapes, full, rng)


def _full_size(size: int | tuple[int, ...] | None, common: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the result, which the parameters must fit."""
    if size is None:
        return common
    full = (size,) if isinstance(size, int | np.integer) else tuple(size)
    try:
        fits = np.broadcast_shapes(full, common) == full
    except ValueError:
        fits = False
    if not fits:
        raise ArgumentError(f"size={size!r} does not hold parameters of shape {common}.")
    return full


def _by_inversion(
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
    chosen = Distributions(family, flat[0], flat[1], dict(zip(shapes, flat[2:], strict=True)))
    y[inner] = quantiles(chosen, 1 - rng.random(flat[0].size))
    return y


# ---- NumPy's generators; r = 1/a ---------------------------------------------------------------


def _counts(rng: np.random.Generator, mean: np.ndarray, sd: Any, size: Any) -> np.ndarray:
    """Poisson counts, normal beyond the range in which floats hold every integer."""
    huge = mean > _WHOLE
    counts = rng.poisson(np.where(huge, 0.0, mean), size).astype(float)
    if np.any(huge):
        counts = np.where(huge, np.rint(rng.normal(mean, sd, size)), counts)
    return counts


def _poisson(rng: np.random.Generator, mu: Any, r: Any, size: Any) -> np.ndarray:
    return _counts(rng, mu * r, np.sqrt(mu * r), size) / r


def _binomial(rng: np.random.Generator, mu: Any, r: Any, size: Any) -> np.ndarray:
    trials = np.rint(r)
    bad = ~(np.abs(r - trials) <= 1e-9 * r)
    if np.any(bad):
        raise DataError(
            "weights of 'binomial' are numbers of trials and must be whole; found "
            f"{show_rows(np.ravel(r), np.ravel(bad))}."
        )
    return rng.binomial(trials.astype(np.int64), mu, size) / trials


def _negative_binomial(
    rng: np.random.Generator, mu: Any, r: Any, size: Any, alpha: Any
) -> np.ndarray:
    rates = rng.gamma(r / alpha, alpha * mu, size)
    return _counts(rng, rates, np.sqrt(rates), size) / r


def _tweedie(rng: np.random.Generator, mu: Any, r: Any, size: Any, power: Any) -> np.ndarray:
    p, q = 2 - power, power - 1
    rate = mu**p * r / p
    counts = _counts(rng, rate, np.sqrt(rate), size)
    return rng.gamma(counts * p / q, q * mu**q / r, size)


# By name: the attribute of `families` with the original declaration, and the sampler.
_BUILT_IN: dict[str, tuple[str, Sampler]] = {
    "normal": ("normal", lambda rng, mu, r, size: rng.normal(mu, 1 / np.sqrt(r), size)),
    "poisson": ("poisson", _poisson),
    "binomial": ("binomial", _binomial),
    "gamma": ("gamma", lambda rng, mu, r, size: rng.gamma(r, mu / r, size)),
    "inverse_gaussian": ("inverse_gaussian", lambda rng, mu, r, size: rng.wald(mu, r, size)),
    "negative_binomial": ("negative_binomial", _negative_binomial),
    "tweedie": ("tweedie", _tweedie),
}


@lru_cache(maxsize=256)
def _sampler(family: Family) -> Sampler | None:
    """NumPy's generator for a built-in family, known by its name and the graphs of b, c, a, θ."""
    if family.name not in _BUILT_IN:
        return None
    original, sampler = _BUILT_IN[family.name]
    declared = families.named(original).fix(**family.fixed)
    return partial(sampler, **family.fixed) if declared.digest == family.digest else None
