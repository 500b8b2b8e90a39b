"""Quantiles of a declared family, from b and c alone: what its random draws are made of.

Probabilities are exact to about 1e-12, as far as the declared yθ − b(θ) keeps its digits; tails
are cut where less than e⁻³⁸ of the mass lies beyond.
"""

from __future__ import annotations

import numpy as np

from expfam_glm.numerics.continuum import continuum
from expfam_glm.numerics.lattice import lattice
from expfam_glm.numerics.tables import Distributions


def quantiles(distributions: Distributions, u: np.ndarray) -> np.ndarray:
    """The smallest y with F(y) ≥ u, for one probability a distribution.

    Parameters
    ----------
    distributions : Distributions
        m of them; equal ones share their work.
    u : ndarray, shape (m,)
        Probabilities inside (0, 1).

    Returns
    -------
    ndarray, shape (m,)
        On the scale of y; inside the open support for a continuous family.

    Raises
    ------
    DeclarationError
        If the probabilities do not add up to one.

    Notes
    -----
    Discrete families: the cumulative sum of the probabilities between the Chernoff bounds
    log P(Y ≥ y) ≤ min over t > 0 of {b(θ + t) − b(θ) − ty}/a. Continuous families: Gauss-Legendre
    panels in a coordinate z that maps the support to the real line, and Newton's method in z.

    References
    ----------
    Devroye (1986), Non-Uniform Random Variate Generation, chapters II.2 and III.2.

    Examples
    --------
    >>> from expfam_glm.spec.families import poisson
    >>> ones = np.ones(3)
    >>> quantiles(Distributions(poisson, np.log(4) * ones, ones, {}), np.array([0.1, 0.5, 0.9]))
    array([2., 4., 7.])
    """
    if u.size == 0:
        return np.empty(0)
    keys = np.stack([distributions.a, *distributions.shapes.values(), distributions.theta])
    order = np.lexsort(keys[::-1])
    keys = keys[:, order]
    fresh = np.concatenate([[True], np.any(keys[:, 1:] != keys[:, :-1], axis=0)])
    which = np.cumsum(fresh) - 1
    starts = np.append(np.flatnonzero(fresh), u.size)
    solve = lattice if distributions.family.support.discrete else continuum
    y = np.empty(u.shape)
    for rows, find in solve(distributions[order[fresh]]):
        slots = slice(starts[rows.start], starts[rows.stop])
        y[order[slots]] = find(which[slots] - rows.start, u[order[slots]])
    return y
