"""Draws for many means at once: rejection from mixtures of a few tabulated distributions.

With one a, the densities of an exponential family are geometric means of each other: for
θ = (1 − λ)θ₀ + λθ₁,

    f(y; θ) ∝ f(y; θ₀)^(1−λ) f(y; θ₁)^λ ≤ (1 − λ) f(y; θ₀) + λ f(y; θ₁),

whatever b and c are, so that the mixture on the right is a proposal for every θ between two
knots. With ρ = f(y; θ₁)/f(y; θ₀), where c cancels, a proposal is accepted with probability
ρ^λ/(1 − λ + λρ).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expfam_glm.numerics.inversion import chunks, distinct, plan, quantiles
from expfam_glm.numerics.tables import Distributions

type Find = Callable[[np.ndarray, np.ndarray], np.ndarray]

_APART = 0.7  # standard deviations from knot to knot: 19 in 20 proposals are accepted
_TOLERANCE = 1e-8  # of a probability; 10¹⁶ draws would be needed to see it
_ROUNDS = 100  # of rejection; more are needed only where b loses its digits


def draws(distributions: Distributions, rng: np.random.Generator) -> np.ndarray:
    """One draw of each distribution.

    Parameters
    ----------
    distributions : Distributions
        m of them, in any order; those with one a and one set of shapes share their work.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (m,)

    Raises
    ------
    DeclarationError
        If the probabilities do not add up to one.

    References
    ----------
    Devroye (1986), Non-Uniform Random Variate Generation, chapter II.3 (rejection).

    Examples
    --------
    >>> from expfam_glm.spec.families import poisson
    >>> many = Distributions.of(poisson, np.linspace(0, 3, 1000), np.ones(1000), {})
    >>> draws(many, np.random.default_rng(1)).shape
    (1000,)
    """
    y = np.empty(len(distributions))
    if y.size == 0:
        return y
    order, which, first = distinct(distributions)
    several = distributions[order[first]]
    knots, glued, left = _knots(several)
    planned = plan(several[knots], _TOLERANCE)
    ratio = _log_ratio_at_zero(several, knots)
    owner = left[which]  # of each row: the knot at it or before it
    cuts = np.searchsorted(owner, np.arange(knots.size + 1))
    for part in chunks(planned.sizes, glued):
        table = planned.table(part)
        slots = slice(cuts[part.start], cuts[part.stop])
        knot, member = owner[slots], which[slots]
        theta, begin = several.theta[member], several.theta[knots[knot]]
        after = np.minimum(knot + 1, knots.size - 1)
        gap = np.where(glued[after] & (after > knot), several.theta[knots[after]] - begin, 1.0)
        share = (theta - begin) / gap
        slope = gap / several.a[member]
        rise = ratio[knot]
        drawn, lost = _rejection(table.find, knot - part.start, share, slope, rise, rng)
        drawn[lost] = quantiles(several[member[lost]], 1 - rng.random(lost.size))
        y[order[slots]] = drawn
    return y


def _knots(several: Distributions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are tabulated, whether each goes with the one before it, and each row's own.

    The rows are cut into stretches with one a and one set of shapes, of length `_APART` in
    ∫ √(b″/a) dθ; the first and the last row of a stretch are knots.
    """
    _, sd = several.moments()
    rate = sd / several.a
    keys = np.stack([several.a, *several.shapes.values()])
    fresh = np.concatenate([[True], np.any(keys[:, 1:] != keys[:, :-1], axis=0)])
    step = np.diff(several.theta, prepend=several.theta[0])
    with np.errstate(all="ignore"):
        step = step * 0.5 * (rate + np.concatenate([rate[:1], rate[:-1]]))
    step = np.nan_to_num(np.minimum(step, 1e6), nan=1e6)
    walked = np.cumsum(np.where(fresh, 0.0, step))
    walked -= np.maximum.accumulate(np.where(fresh, walked, 0.0))
    stretch = np.floor(walked / _APART)
    begins = fresh | (np.diff(stretch, prepend=-1) != 0)
    ends = np.append(begins[1:], True)
    chosen = begins | ends
    knots = np.flatnonzero(chosen)
    return knots, ~begins[knots], np.cumsum(chosen) - 1


def _log_ratio_at_zero(several: Distributions, knots: np.ndarray) -> np.ndarray:
    """−{b(θ₁) − b(θ₀)}/a of each knot and the next one."""
    at = several[knots]
    value, _ = at.cumulant(at.theta)
    return -np.diff(value, append=value[-1]) / at.a


def _rejection(
    find: Find, knot: np.ndarray, share: np.ndarray, slope: np.ndarray, rise: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A proposal for each row, log ρ(y) = slope·y + rise, and the rows where none was accepted."""
    y = np.empty(knot.shape)
    active = np.arange(y.size)
    for _ in range(_ROUNDS):
        second = rng.random(active.size) < share[active]
        y[active] = find(knot[active] + second, 1 - rng.random(active.size))
        active = active[(share[active] > 0) & (share[active] < 1)]
        part = share[active]
        log_ratio = slope[active] * y[active] + rise[active]
        top = np.maximum(log_ratio, 0.0)
        mixture = (1 - part) * np.exp(-top) + part * np.exp(log_ratio - top)
        accepted = rng.random(active.size) * mixture <= np.exp(part * log_ratio - top)
        active = active[~accepted]
        if active.size == 0:
            break
    return y, active
