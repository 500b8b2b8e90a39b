"""What c and the support of a family add up to, without weights and with them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from expfam_glm.numerics.moments import Moments, moments
from expfam_glm.spec.domain import probe_points
from expfam_glm.spec.family import Family

PRECISIONS = (2.0, 3.0)  # weights at which c(y, a) has to hold as well
FREE_DISPERSIONS = (1.0, 0.5)  # at which a density with φ free is tried
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
    return all(abs(_mass(family, mean, phi, w) - 1) < MASS_TOLERANCE for w in PRECISIONS)


@lru_cache(maxsize=128)
def total_masses(family: Family) -> tuple[float, dict[float, float]]:
    """The mean at which f(y; μ, a(φ)) was added up over the support, and the mass for each φ.

    These are φ as declared, or 1 and others where it is free.
    """
    mean = _central_mean(family)
    dispersions = FREE_DISPERSIONS if family.phi is None else (family.phi,)
    return mean, {phi: _mass(family, mean, phi, 1.0) for phi in dispersions}


def implied(family: Family, theta: np.ndarray, a: np.ndarray) -> Moments:
    """The moments of exp{yθ/a + c(y, a)} over the support, whatever b may be; θ and a (m,)."""
    spread = np.sqrt(np.asarray(family.variance_at(theta)) * a)
    return moments(family.base_measure, family.support, theta, a, family.mean(theta), spread)


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
    theta = np.atleast_1d(family.theta_of(mean))
    a = np.atleast_1d(family.a(phi)) / weight
    with np.errstate(over="ignore"):  # an infinite mass is an answer
        return float(
            np.exp(implied(family, theta, a).log_mass - np.asarray(family.cumulant(theta)) / a)[0]
        )
