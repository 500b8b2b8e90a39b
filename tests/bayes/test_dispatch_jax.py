"""JAX computes θ(μ) by the same iteration, and differentiates it."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import expfam_glm.bayes.dispatch
from tests.bayes.test_dispatch import NEWTON, check_theta
from tests.declared import DECLARED, counts_with_alpha

pytestmark = pytest.mark.slow  # JAX compiles for some seconds


@pytest.mark.parametrize("name", DECLARED)
def test_theta_of_mu_is_the_same_in_jax(name: str) -> None:
    assert expfam_glm.bayes.dispatch
    check_theta(name, "JAX")


def test_theta_of_mu_with_a_shape_parameter_in_jax() -> None:
    mu, alpha = pt.matrix("mu"), pt.vector("alpha")
    theta = counts_with_alpha.theta_of(mu, alpha=alpha)
    outputs = [theta, *pt.grad(theta.sum(), [mu, alpha])]
    function = pytensor.function([mu, alpha], outputs, mode="JAX")
    m, a = np.arange(1.0, 7.0).reshape(2, 3), np.array([0.1, 0.5, 2.0])
    found, by_mu, by_alpha = function(m, a)
    np.testing.assert_allclose(found, -np.log1p(1 / (a * m)), rtol=NEWTON)
    np.testing.assert_allclose(by_mu, 1 / (m * (1 + a * m)), rtol=NEWTON)
    np.testing.assert_allclose(by_alpha, np.sum(1 / (a * (1 + a * m)), axis=0), rtol=NEWTON)
