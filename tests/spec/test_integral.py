"""Definite integrals and their derivatives against closed forms and mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from expfam_glm.spec.domain import Interval, Positive, Real, UnitInterval
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.graph import derivative, scalar
from expfam_glm.spec.integral import Integral
from tests.tolerances import ROUNDING


def integral(function, domain, *names):
    return Integral(Expression.trace(function, ["t", *names], [], "test"), domain)


def power(p):
    """∫ (y − t) t⁻ᵖ dt on the positive numbers."""
    return integral(lambda t, y: (y - t) * t**-p, Positive, "y")


def exact_power(p, mu, y):
    with mpmath.workdps(40):
        p, mu, y = mpmath.mpf(p), mpmath.mpf(mu), mpmath.mpf(y)

        def whole(t):
            first = y * mpmath.log(t) if p == 1 else y * t ** (1 - p) / (1 - p)
            return first - (mpmath.log(t) if p == 2 else t ** (2 - p) / (2 - p))

        return float((whole(y) if y else 0) - whole(mu))


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 2.5, 3.0])
@pytest.mark.parametrize(("mu", "y"), [(3.0, 2.0), (1e-3, 40.0), (500.0, 1e-8), (1e4, 1e7)])
def test_powers(p, mu, y):
    assert power(p).evaluate(mu, y, y) == pytest.approx(exact_power(p, mu, y), rel=ROUNDING)


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 1.9, 1.99])
def test_to_an_end_of_the_domain(p):
    assert power(p).evaluate(2.0, 0.0, 0.0) == pytest.approx(exact_power(p, 2, 0), rel=ROUNDING)


@pytest.mark.parametrize("p", [2.0, 2.5, 3.0])
def test_a_divergent_integral_is_infinite(p):
    assert power(p).evaluate(2.0, 0.0, 0.0) == np.inf
    assert power(p).evaluate(2.0, 0.0, 0.5) == -np.inf


def test_between_two_finite_ends():
    bernoulli = integral(lambda t, y: (y - t) / (t * (1 - t)), UnitInterval, "y")
    np.testing.assert_allclose(
        bernoulli.evaluate(0.3, [0.0, 1.0], [0.0, 1.0]), [-np.log(0.7), -np.log(0.3)], rtol=ROUNDING
    )
    shifted = integral(lambda t: 1 / pt.sqrt((t - 2) * (5 - t)), Interval(2, 5))
    assert shifted.evaluate(2.0, 5.0) == pytest.approx(np.pi, rel=1e-11)  # the ends are not zero
    steep = integral(lambda t, y: (y - t) / (t * (1 - t)) ** 2, UnitInterval, "y")
    assert np.array_equal(steep.evaluate(0.3, [0.0, 1.0], [0.0, 1.0]), [np.inf, np.inf])


def test_on_the_whole_line_and_below_an_upper_end():
    arc = integral(lambda t: 1 / (1 + t**2), Real)
    np.testing.assert_allclose(
        arc.evaluate([0, -np.inf, 0, 0], [1e9, np.inf, 1e-9, -3]),
        [np.arctan(1e9), np.pi, 1e-9, -np.arctan(3)],
        rtol=ROUNDING,
    )
    below = integral(lambda t: 1 / (4 - t) ** 2, Interval(None, 4))
    assert below.evaluate(-np.inf, 3.0) == pytest.approx(1.0, rel=ROUNDING)


def test_a_kink_inside_and_a_narrow_peak():
    broken = integral(lambda t: pt.switch(t < 2, t, 2 + 3 * (t - 2)), Positive)
    assert broken.evaluate(1.0, 5.0) == pytest.approx(1.5 + 19.5, rel=1e-11)
    peak = integral(lambda t: 1 / ((t - 3) ** 2 + 1e-8), Real)
    expected = (np.arctan(2e4) + np.arctan(3e4)) * 1e4
    assert peak.evaluate(0.0, 5.0) == pytest.approx(expected, rel=1e-10)


def test_bounds_outside_the_domain_give_nan_and_equal_bounds_zero():
    assert np.isnan(power(1.5).evaluate(-1.0, 2.0, 2.0))
    assert power(1.5).evaluate(2.0, 2.0, 2.0) == 0
    assert power(1.5).evaluate(np.ones((2, 1)), np.array([1.0, 4.0, 9.0]), 1.0).shape == (2, 3)


def test_derivatives_follow_the_fundamental_theorem():
    low, high, y = scalar("low"), scalar("high"), scalar("y")
    whole = power(1.5)(low, high, y)
    values = np.array([0.7, 2.0]), np.array([3.0, 0.4]), np.array([5.0, 1.5])
    slopes = [
        np.asarray(Expression([low, high, y], derivative(whole, v))(*values))
        for v in (low, high, y)
    ]
    a, b, c = values
    np.testing.assert_allclose(slopes[0], -(c - a) * a**-1.5, rtol=ROUNDING)
    np.testing.assert_allclose(slopes[1], (c - b) * b**-1.5, rtol=ROUNDING)
    np.testing.assert_allclose(slopes[2], 2 * (a**-0.5 - b**-0.5), rtol=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_compiled_value_and_gradient(mode):
    import expfam_glm.bayes.dispatch  # noqa: F401 - teaches numba

    mu, y = pt.vector("mu"), np.array([2.0, 0.0, 5.0])
    value = power(1.5)(mu, y, y)
    function = pytensor.function([mu], [value, pt.grad(value.sum(), mu)], mode=mode)
    m = np.array([1.0, 2.0, 0.1])
    got, slope = function(m)
    np.testing.assert_allclose(got, [exact_power(1.5, a, b) for a, b in zip(m, y, strict=True)],
                               rtol=ROUNDING)  # fmt: skip
    np.testing.assert_allclose(slope, -(y - m) * m**-1.5, rtol=ROUNDING)
