"""log|Γ(u + iv)| and its derivatives against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import special

from expfam_glm.spec.complex_gamma import ComplexGamma, log_abs_gamma
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.graph import derivative, scalar
from tests.tolerances import ROUNDING

U = np.array([1e-6, 1e-3, 0.1, 0.5, 1.0, 1.7, 2.0, 7.5, 10.0, 33.0, 1e3, 1e6])
V = np.array([0.0, 1e-9, -1e-3, 0.4, -1.0, 3.0, 11.0, -150.0, 1e4, 1e8])
GRID = [a.ravel() for a in np.meshgrid(U, V)]


def truth(order: int) -> np.ndarray:
    """ψ⁽ⁿ⁾(u + iv) to 40 digits, rounded once."""
    with mpmath.workdps(40):
        one = mpmath.loggamma if order == -1 else (lambda z: mpmath.psi(order, z))
        return np.array([complex(one(mpmath.mpc(u, v))) for u, v in zip(*GRID, strict=True)])


@pytest.mark.parametrize("order", [-1, 0, 1, 2, 3])
def test_parts_agree_with_mpmath(order):
    exact = truth(order)
    size = np.maximum(np.abs(exact), 1.0) if order < 1 else np.abs(exact)
    real = ComplexGamma(order, "real").evaluate(*GRID)
    assert np.max(np.abs(real - exact.real) / size) < ROUNDING
    if order >= 0:  # the imaginary part of log Γ is of no use
        imaginary = ComplexGamma(order, "imaginary").evaluate(*GRID)
        assert np.max(np.abs(imaginary - exact.imag) / size) < ROUNDING


def test_on_the_real_line_it_is_gammaln():
    np.testing.assert_allclose(
        ComplexGamma(-1, "real").evaluate(U, 0.0), special.gammaln(U), rtol=1e-13, atol=1e-13
    )


def test_derivatives_are_those_of_the_digamma():
    u, v = scalar("u"), scalar("v")
    exact = truth(0)
    by_u = Expression([u, v], derivative(log_abs_gamma(u, v), u))
    by_v = Expression([u, v], derivative(log_abs_gamma(u, v), v))
    np.testing.assert_allclose(by_u(*GRID), exact.real, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(by_v(*GRID), -exact.imag, rtol=ROUNDING, atol=ROUNDING)


def test_second_derivatives_are_those_of_the_trigamma():
    u, v = scalar("u"), scalar("v")
    exact = truth(1)
    twice = derivative(derivative(log_abs_gamma(u, v), v), v)
    got = np.asarray(Expression([u, v], twice)(*GRID))
    assert np.max(np.abs(got + exact.real) / np.abs(exact)) < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_compiled_value_and_gradient(mode):
    import expfam_glm.bayes.dispatch  # noqa: F401 - teaches numba

    u, v = pt.vector("u"), pt.vector("v")
    value = log_abs_gamma(u, v)
    function = pytensor.function([u, v], [value, pt.grad(value.sum(), v)], mode=mode)
    got, slope = function(*GRID)
    np.testing.assert_allclose(got, truth(-1).real, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(slope, -truth(0).imag, rtol=ROUNDING, atol=ROUNDING)
