"""Randomised quantile residuals: normal scores of the distribution function."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri_exp

from expfam_glm.numerics.cdf import log_tails
from expfam_glm.spec.family import Family


def quantile_residuals(
    family: Family,
    y: np.ndarray,
    mu: np.ndarray,
    phi: float,
    w: np.ndarray | float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Φ⁻¹ of a uniform point between P(Y < y) and P(Y ≤ y).

    Parameters
    ----------
    family : Family
        All shape parameters known.
    y, mu : ndarray (n,)
        Responses and means.
    phi : float
    w : ndarray (n,) or float
        Prior weights.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (n,)

    Notes
    -----
    For a continuous distribution the two probabilities are equal, except at an atom. Each tail is
    computed by itself, so that far responses have exact scores on both sides.

    References
    ----------
    Dunn and Smyth (1996), Randomized quantile residuals, JCGS 5, 236-244.

    Examples
    --------
    >>> from expfam_glm.spec.families import normal
    >>> rng = np.random.default_rng(0)
    >>> y = np.array([1.0, -30.0])
    >>> quantile_residuals(normal, y, np.zeros(2), 1.0, 1.0, rng).round(9).tolist()
    [1.0, -30.0]
    """
    lower, upper = log_tails(family, y, mu, phi, weights=w)
    u = 1 - rng.random(y.shape)  # never 0
    if family.support.discrete:  # half a step of the lattice below y
        less, more = log_tails(family, y - 0.5 * float(family.a(phi)) / w, mu, phi, weights=w)
    elif family.support.atom is not None:  # nothing lies below the atom
        at = y == family.support.atom
        less, more = np.where(at, -np.inf, lower), np.where(at, 0.0, upper)
    else:
        less, more = lower, upper
    with np.errstate(divide="ignore"):
        rest = np.log1p(-u)
    lower = np.logaddexp(less + rest, lower + np.log(u))
    upper = np.logaddexp(more + rest, upper + np.log(u))
    return np.where(lower < upper, ndtri_exp(lower), -ndtri_exp(upper))
