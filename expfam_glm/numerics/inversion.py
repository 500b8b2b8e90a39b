"""Quantiles of a declared family, from b and c alone: what its random draws are made of.

Probabilities are exact to about 1e-12, as far as the declared yθ − b(θ) keeps its digits; tails
are cut where less than e⁻³⁸ of the mass lies beyond.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from expfam_glm.numerics.continuum import Continuum
from expfam_glm.numerics.lattice import Lattice
from expfam_glm.numerics.tables import Distributions

_EXACT = 1e-11  # of a probability
_HELD = 2**21  # entries of the tables that are held at a time
_ROWS = 2**12  # of them; more would take digits from their keys


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
    Discrete families: the cumulative sum of the probabilities between Chernoff's bounds,
    log P(Y ≥ b′(θ + t)) ≤ −{tb′(θ + t) − b(θ + t) + b(θ)}/a. Continuous families: Gauss-Legendre
    panels in a coordinate z that maps the support to the real line, and Newton's method on the
    integrated Legendre series of one panel.

    References
    ----------
    Devroye (1986), Non-Uniform Random Variate Generation, chapters II.2 and III.2.

    Examples
    --------
    >>> from expfam_glm.spec.families import poisson
    >>> ones = np.ones(3)
    >>> quantiles(Distributions.of(poisson, np.log(4) * ones, ones, {}), np.array([0.1, 0.5, 0.9]))
    array([2., 4., 7.])
    """
    y = np.empty(u.shape)
    if u.size == 0:
        return y
    order, which, first = distinct(distributions)
    planned = plan(distributions[order[first]], _EXACT)
    counts = np.searchsorted(which, np.arange(first.size + 1))
    for rows in chunks(planned.sizes, np.zeros(first.size, bool)):
        slots = slice(counts[rows.start], counts[rows.stop])
        table = planned.table(rows)
        y[order[slots]] = table.find(which[slots] - rows.start, u[order[slots]])
    return y


def plan(distributions: Distributions, tolerance: float) -> Lattice | Continuum:
    """How the distribution functions will be tabulated; discrete ones are exact anyway."""
    if distributions.family.support.discrete:
        return Lattice(distributions)
    return Continuum(distributions, tolerance)


def distinct(distributions: Distributions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order by a, shapes and θ; along it, the number of each distinct one and its first row."""
    keys = np.stack([distributions.a, *distributions.shapes.values(), distributions.theta])
    order = np.lexsort(keys[::-1])
    keys = keys[:, order]
    fresh = np.concatenate([[True], np.any(keys[:, 1:] != keys[:, :-1], axis=0)])
    return order, np.cumsum(fresh) - 1, np.flatnonzero(fresh)


def chunks(sizes: np.ndarray, glued: np.ndarray) -> Iterator[slice]:
    """Neighbouring rows whose tables are held together; a glued row goes with the one before."""
    reached = np.cumsum(sizes)
    begin = 0
    while begin < sizes.size:
        before = reached[begin] - sizes[begin]
        end = int(np.searchsorted(reached, before + _HELD, side="right"))
        end = min(max(end, begin + 1), begin + _ROWS, sizes.size)
        while end < sizes.size and glued[end]:
            end += 1
        yield slice(begin, end)
        begin = end
