"""Graphs walked by decimal numbers, against mpmath."""

from __future__ import annotations

from decimal import Decimal, localcontext

import mpmath as mp
import pytensor.tensor as pt
import pytest

from expfam_glm.numerics.precise import _CONTEXT, Precise
from expfam_glm.spec.expression import Expression

DIGITS = mp.mpf("1e-100")  # of the 120 that are carried
X = [0.3, 2.5, 17.25, 1e-12]
SIGNED = [-x for x in X] + X

FUNCTIONS = {
    "exp": (pt.exp, mp.exp, SIGNED), "expm1": (pt.expm1, mp.expm1, SIGNED),
    "log": (pt.log, mp.log, X), "log1p": (pt.log1p, mp.log1p, X),
    "log2": (pt.log2, lambda x: mp.log(x) / mp.log(2), X), "log10": (pt.log10, mp.log10, X),
    "exp2": (pt.exp2, lambda x: mp.mpf(2) ** x, SIGNED), "sqrt": (pt.sqrt, mp.sqrt, X),
    "log1mexp": (pt.log1mexp, lambda x: mp.log(-mp.expm1(x)), [-x for x in X]),
    "softplus": (pt.softplus, lambda x: mp.log1p(mp.exp(x)), SIGNED),
    "sigmoid": (pt.sigmoid, lambda x: 1 / (1 + mp.exp(-x)), SIGNED),
    "sin": (pt.sin, mp.sin, SIGNED), "cos": (pt.cos, mp.cos, SIGNED),
    "tan": (pt.tan, mp.tan, SIGNED), "arctan": (pt.arctan, mp.atan, SIGNED),
    "sinh": (pt.sinh, mp.sinh, SIGNED), "cosh": (pt.cosh, mp.cosh, SIGNED),
    "tanh": (pt.tanh, mp.tanh, SIGNED), "gammaln": (pt.gammaln, mp.loggamma, X),
    "powers": (lambda x: x**1.5 / (1 + x) ** 2, lambda x: x ** mp.mpf("1.5") / (1 + x) ** 2, X),
    "branches": (
        lambda x: pt.switch(pt.abs(x) < 1, pt.maximum(x, 0.0) - x, pt.sign(x) * x),
        lambda x: (max(x, 0) - x) if abs(x) < 1 else abs(x), SIGNED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_have_a_hundred_digits(name: str) -> None:
    function, reference, points = FUNCTIONS[name]
    precise = Precise(Expression.trace(function, ["x"], [], "f"))
    assert not precise.missing
    for x in points:
        with localcontext(_CONTEXT):
            value = str(precise(Decimal(x)))
        with mp.workdps(150):
            exact = reference(mp.mpf(x))
            assert abs(mp.mpf(value) - exact) <= DIGITS * max(1, 1e12 * abs(exact)), x


def test_differences_are_derivatives() -> None:
    precise = Precise(Expression.trace(lambda x: pt.log(pt.expm1(x) / x), ["x"], [], "f"))
    value, slope, curvature = precise.derivatives(1e-9, 1e-9)
    assert value == pytest.approx(5e-10, rel=1e-9) and slope == pytest.approx(0.5, rel=1e-9)
    assert curvature == pytest.approx(1 / 12, rel=1e-15)


def test_an_operation_without_a_decimal_form_is_named() -> None:
    assert Precise(Expression.trace(lambda x: x + pt.erf(x), ["x"], [], "f")).missing == "Erf"
