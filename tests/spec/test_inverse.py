"""θ(μ) by iteration, to the edges of the mean domain, against mpmath."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytensor.tensor as pt
import pytest

import expfam_glm as eg
from tests.declared import continuous_bernoulli, logarithmic, zero_truncated_poisson

EITHER = 1e-12  # relative error of θ, or of the mean of θ: whichever the conditioning allows

secant_without_theta = eg.Family(
    "secant_without_theta", b=lambda theta: -pt.log(pt.cos(theta)), c=None, support=eg.Real,
    theta_domain=eg.Interval(-np.pi / 2, np.pi / 2), link="identity",
)  # fmt: skip
ABOVE_ONE = 1 + np.concatenate([10.0 ** np.arange(-15, 0), 10.0 ** np.arange(0, 50, 7)])
NEAR_HALF = 0.5 + np.array([-1e-3, -1e-9, -1e-14, 0, 1e-15, 1e-12, 1e-6])
UNIT = np.concatenate([10.0 ** np.arange(-60, -16, 10), 10.0 ** np.arange(-16.0, 0), NEAR_HALF,
                       1 - 10.0 ** np.arange(-15.0, -1)])  # fmt: skip
LINE = np.concatenate([-(10.0 ** np.arange(-15, 16)), 10.0 ** np.arange(-300, 16.0, 20)])


def uniform_mean(t):
    return 1 / -mp.expm1(-t) - 1 / t if t else mp.mpf(1) / 2


CASES = {
    "zero_truncated_poisson": (
        zero_truncated_poisson, ABOVE_ONE, lambda t: mp.exp(t) / -mp.expm1(-mp.exp(t))
    ),
    "logarithmic": (
        logarithmic, ABOVE_ONE, lambda t: mp.exp(t) / (mp.expm1(t) * mp.log(-mp.expm1(t)))
    ),
    "continuous_bernoulli": (continuous_bernoulli, UNIT, uniform_mean),
    "a finite θ-domain": (secant_without_theta, LINE, mp.tan),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_theta_of_mu_at_the_edges(name: str) -> None:
    family, means, mean = CASES[name]
    with mp.workdps(150):
        for mu, theta in zip(means, family.theta_of(means), strict=True):
            t, m = mp.mpf(float(theta)), mp.mpf(float(mu))
            gap = abs(mean(t) - m)
            step = abs(t) * mp.mpf(10) ** -60 + mp.mpf(10) ** -90
            slope = (mean(t + step) - mean(t - step)) / (2 * step)
            assert min(gap / abs(m), gap / (slope * abs(t) or 1)) < EITHER, (mu, theta)


def test_the_variance_stays_finite_where_exp_overflows() -> None:
    """b″ holds e^λ/(e^λ − 1)², which is inf/inf above λ = 709."""
    rates = np.array([700.0, 720.0, 1e4, 1e100])
    np.testing.assert_allclose(zero_truncated_poisson.variance_at(np.log(rates)), rates, 1e-12)
    np.testing.assert_allclose(zero_truncated_poisson.variance(rates), rates, 1e-12)
