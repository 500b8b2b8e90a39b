"""JAX computes θ(μ) by the same iteration, and differentiates it."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import expfam_glm.bayes.dispatch
from tests.bayes.test_dispatch import without_closed_form
from tests.declared import DECLARED

NEWTON = 1e-9  # as in test_dispatch

pytestmark = pytest.mark.slow  # JAX compiles for some seconds


@pytest.mark.parametrize("name", DECLARED)
def test_theta_of_mu_is_the_same_in_jax(name: str) -> None:
    assert expfam_glm.bayes.dispatch
    family = DECLARED[name]
    x = pt.vector("x")
    theta = family.theta_of(x)
    function = pytensor.function([x], [theta, pt.grad(theta.sum(), x)], mode="JAX")
    mu = family.mean_space.low + np.array([2e-3, 0.01, 0.3, 0.5, 0.9, 0.998])
    found, slope = function(mu)
    np.testing.assert_allclose(found, family.theta_of(mu), rtol=NEWTON, atol=1e-12)
    np.testing.assert_allclose(slope * family.variance(mu), 1.0, rtol=NEWTON)
    outside = function(np.array([family.mean_space.low - 1, np.nan]))[0]
    assert np.all(np.isnan(outside))


def test_theta_of_mu_with_a_shape_parameter_in_jax() -> None:
    mu, alpha = pt.matrix("mu"), pt.vector("alpha")
    theta = without_closed_form.theta_of(mu, alpha=alpha)
    outputs = [theta, *pt.grad(theta.sum(), [mu, alpha])]
    function = pytensor.function([mu, alpha], outputs, mode="JAX")
    m, a = np.arange(1.0, 7.0).reshape(2, 3), np.array([0.1, 0.5, 2.0])
    found, by_mu, by_alpha = function(m, a)
    np.testing.assert_allclose(found, -np.log1p(1 / (a * m)), rtol=NEWTON)
    np.testing.assert_allclose(by_mu, 1 / (m * (1 + a * m)), rtol=NEWTON)
    np.testing.assert_allclose(by_alpha, np.sum(1 / (a * (1 + a * m)), axis=0), rtol=NEWTON)
