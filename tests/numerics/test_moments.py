"""Masses, means and variances of densities, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from expfam_glm.numerics.moments import moments
from expfam_glm.spec.domain import Integers, Interval, Positive, Real, UnitInterval

QUADRATURE = 1e-12  # each panel is halved until nothing changes; sums are cut at e⁻⁴²
ONE = np.ones(1)


@pytest.mark.parametrize("theta", [-0.999, -0.9, -0.1, 0.0, 0.541666, 0.96])
@pytest.mark.parametrize("centre", [-3.0, 0.0, 0.37, 40.0])
def test_a_kink_is_found_wherever_it_lies(theta: float, centre: float) -> None:
    """∫ exp(θy − |y|)/2 dy = 1/(1 − θ²)."""
    found = moments(
        lambda y, a: -np.abs(y) - np.log(2), Real, theta * ONE, ONE, centre * ONE, 3 * ONE
    )
    assert found.log_mass[0] == pytest.approx(-np.log1p(-(theta**2)), abs=QUADRATURE)
    assert found.mean[0] == pytest.approx(2 * theta / (1 - theta**2), abs=1e-10)


@pytest.mark.parametrize("shape", [0.3, 1.0, 40.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_half_lines_in_both_directions(shape: float, sign: float) -> None:
    support = Positive if sign > 0 else Interval(None, 0)
    found = moments(
        lambda y, a: (shape - 1) * np.log(sign * y) - gammaln(shape),
        support, -sign * 2 * ONE, ONE, sign * ONE, ONE,
    )  # fmt: skip
    assert found.log_mass[0] == pytest.approx(-shape * np.log(2), abs=1e-11)
    assert found.mean[0] == pytest.approx(sign * shape / 2, rel=1e-11)
    assert found.variance[0] == pytest.approx(shape / 4, rel=1e-11)


def test_bounded_intervals_and_the_distribution_function() -> None:
    law = stats.beta(2.5, 0.7)
    found = moments(lambda y, a: law.logpdf(y), UnitInterval, 0 * ONE, ONE, 0.5 * ONE, 0.2 * ONE)
    assert found.log_mass[0] == pytest.approx(0, abs=1e-10)
    assert found.mean[0] == pytest.approx(law.mean(), rel=1e-10)
    np.testing.assert_allclose(found.cumulative[0], law.cdf(found.points[0]), atol=1e-10)


def test_sums_reach_as_far_as_they_must() -> None:
    theta = np.log([1e-3, 0.5, 0.999])
    found = moments(
        lambda y, a: 0 * y, Integers(0, None), theta, np.ones(3), np.ones(3), np.ones(3)
    )
    np.testing.assert_allclose(found.log_mass, -np.log1p(-np.exp(theta)), rtol=1e-12, atol=1e-15)
    both = moments(lambda y, a: -np.abs(y), Integers(None, None), 0 * ONE, ONE, 3 * ONE, ONE)
    assert np.exp(both.log_mass[0]) == pytest.approx(2 / (1 - np.exp(-1)) - 1, rel=QUADRATURE)
    scaled = moments(
        lambda y, a: -gammaln(y / a + 1), Integers(0, None), 0 * ONE, 0.5 * ONE, ONE, ONE
    )
    assert scaled.log_mass[0] == pytest.approx(1.0, rel=QUADRATURE)
    assert scaled.mean[0] == pytest.approx(0.5, rel=QUADRATURE)


@pytest.mark.parametrize(
    ("c", "support"),
    [
        (lambda y, a: 0 * y, Integers(0, None)),
        (lambda y, a: y**2, Real),
        (lambda y, a: 0 * y, Real),
        (lambda y, a: -2 * np.log(y), Positive),
        (lambda y, a: np.where(y > 3, np.inf, -y), Integers(0, None)),
    ],
)
def test_what_does_not_converge_is_infinite(c, support) -> None:
    found = moments(c, support, 0 * ONE, ONE, ONE, ONE)
    assert np.isposinf(found.log_mass[0]) and np.isnan(found.mean[0])
