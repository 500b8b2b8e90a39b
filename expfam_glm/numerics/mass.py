"""The total mass of a declared density, without weights and with them."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from expfam_glm.spec.family import Family
from expfam_glm.spec.inverse import probe_points

_PRECISIONS = (2.0, 3.0)
MASS_TOLERANCE = 1e-6


@lru_cache(maxsize=128)
def takes_weights(family: Family) -> bool:
    """Whether f(y; μ, a/2) and f(y; μ, a/3) have total mass one.

    A base measure c(y, a) that ignores a, as is natural for a family that is meant for a = 1
    only, fails this; weights would then give a likelihood that is none.
    """
    if family.is_quasi:
        return True
    mean = _central_mean(family)
    phi = 1.0 if family.phi is None else family.phi
    return all(abs(_mass(family, mean, phi, w) - 1) < MASS_TOLERANCE for w in _PRECISIONS)


@lru_cache(maxsize=128)
def total_mass(family: Family) -> tuple[float, float]:
    """The mass of f(y; μ, a(φ)) over the support, and the mean at which it was added up."""
    mean = _central_mean(family)
    return _mass(family, mean, 1.0 if family.phi is None else family.phi, 1.0), mean


def _central_mean(family: Family) -> float:
    """A mean of middling size, where sums and integrals are easy."""
    theta = probe_points(family.theta_domain)
    means = np.asarray(family.mean(theta))
    usable = family.mean_space.contains(means)
    space = family.mean_space
    if np.isfinite(space.low) and np.isfinite(space.high):
        aim = space.low + 0.3 * (space.high - space.low)  # off the centre of symmetry
    else:
        aim = space.low + 1.5 if np.isfinite(space.low) else 0.0
    return float(means[usable][np.argmin(np.abs(means[usable] - aim))])


def _mass(family: Family, mean: float, phi: float, weight: float) -> float:
    """Σ or ∫ of the density over the support at prior weight `weight`."""
    precision = weight / float(family.a(phi))
    support = family.support
    if support.discrete:
        low = support.low if np.isfinite(support.low) else mean - 2000
        high = support.high if np.isfinite(support.high) else mean + 2000
        y = np.arange(np.ceil(low * precision), np.floor(high * precision) + 1) / precision
        with np.errstate(over="ignore"):  # an infinite mass is an answer
            return float(np.exp(family.logpdf(y, mean, phi, weights=weight)).sum())
    from scipy.integrate import quad

    sd = np.sqrt(float(family.variance(mean)) / precision)
    cuts = [support.low, mean - 4 * sd, mean, mean + 4 * sd, support.high]
    inside = sorted({min(max(cut, support.low), support.high) for cut in cuts})

    def density(y: float) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(family.logpdf(y, mean, phi, weights=weight)))

    return float(sum(quad(density, a, b, limit=200)[0] for a, b in pairwise(inside)))
