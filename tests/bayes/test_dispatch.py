"""Numba compiles what only declared families have: θ(μ) by iteration, and their draws."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.bayes.scalars import scalar_graph
from tests.declared import DECLARED, counts_with_alpha, zero_truncated_poisson

# Newton stops when a step doubles its digits; f itself is flat near the edge of the mean space.
NEWTON = 1e-9


def test_a_graph_becomes_one_scalar_operation() -> None:
    x, y = pt.scalar("x"), pt.scalar("y")
    composite = scalar_graph([x, y], [pt.switch(x > 0, pt.log(x) * y, -1.0), x + y])
    a, b = pt.vector("a"), pt.vector("b")
    function = pytensor.function([a, b], Elemwise(composite)(a, b), mode="FAST_COMPILE")
    first, second = function(np.array([-1.0, 2.0]), np.array([3.0, 4.0]))
    np.testing.assert_allclose(first, [-1.0, 4 * np.log(2)])
    np.testing.assert_allclose(second, [2.0, 6.0])


def check_theta(name: str, mode: str) -> None:
    """θ(μ) and its slope in another compiler are those in NumPy."""
    family = DECLARED[name]
    x = pt.vector("x")
    theta = family.theta_of(x)
    function = pytensor.function([x], [theta, pt.grad(theta.sum(), x)], mode=mode)
    mu = family.mean_space.low + np.array([2e-3, 0.01, 0.3, 0.5, 0.9, 0.998])
    found, slope = function(mu)
    np.testing.assert_allclose(found, family.theta_of(mu), rtol=NEWTON, atol=1e-12)
    np.testing.assert_allclose(slope * family.variance(mu), 1.0, rtol=NEWTON)
    outside = function(np.array([family.mean_space.low - 1, np.nan]))[0]
    assert np.all(np.isnan(outside))


@pytest.mark.slow
@pytest.mark.parametrize("name", DECLARED)
def test_theta_of_mu_is_the_same_compiled(name: str) -> None:
    check_theta(name, "NUMBA")


@pytest.mark.slow
def test_theta_of_mu_of_a_scalar() -> None:
    x = pt.scalar("x")
    function = pytensor.function([x], zero_truncated_poisson.theta_of(x), mode="NUMBA")
    np.testing.assert_allclose(function(60.0), zero_truncated_poisson.theta_of(60.0), rtol=NEWTON)


@pytest.mark.parametrize("mode", ["FAST_COMPILE", pytest.param("NUMBA", marks=pytest.mark.slow)])
def test_theta_of_mu_with_a_shape_parameter_for_each_column(mode: str) -> None:
    mu, alpha = pt.matrix("mu"), pt.vector("alpha")
    theta = counts_with_alpha.theta_of(mu, alpha=alpha)
    outputs = [theta, *pt.grad(theta.sum(), [mu, alpha])]
    function = pytensor.function([mu, alpha], outputs, mode=mode)
    m, a = np.arange(1.0, 7.0).reshape(2, 3), np.array([0.1, 0.5, 2.0])
    found, by_mu, by_alpha = function(m, a)
    np.testing.assert_allclose(found, -np.log1p(1 / (a * m)), rtol=NEWTON)
    np.testing.assert_allclose(by_mu, 1 / (m * (1 + a * m)), rtol=NEWTON)
    np.testing.assert_allclose(by_alpha, np.sum(1 / (a * (1 + a * m)), axis=0), rtol=NEWTON)
