"""The value of a traced function with many digits: its graph walked by decimal numbers.

What doubles lose by cancellation, and whether derivatives are those of the function, shows
against differences of it taken with 120 digits.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.spec.expression import Expression

DIGITS = 120
_STEP = Decimal("1e-25")  # of differences, relative to the room around a point
_CONTEXT = Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])

type Number = Decimal | bool


class Precise:
    """A traced function of one argument for decimal numbers.

    `missing` names an operation that has no decimal form; then there is nothing to call.
    """

    def __init__(self, expression: Expression) -> None:
        self.variable, *_ = expression.variables
        self.output = expression.output
        self.steps: list[tuple[Callable[..., Number], list[Any], Any]] = []
        self.missing = ""
        for node in toposort([self.output], blockers=[self.variable]):
            op = node.op.scalar_op if isinstance(node.op, Elemwise) else node.op
            function = _OPERATIONS.get(type(op).__name__)
            if function is None:
                self.missing = type(op).__name__
                return
            self.steps.append((function, node.inputs, node.outputs[0]))

    def __call__(self, x: Decimal) -> Decimal:
        """The value at x in the context of the caller."""
        known: dict[Any, Number] = {self.variable: x}
        for function, inputs, out in self.steps:
            known[out] = function(*(self._number(v, known) for v in inputs))
        return Decimal(self._number(self.output, known))

    @staticmethod
    def _number(v: Any, known: dict[Any, Number]) -> Number:
        if isinstance(v, Constant):
            value = np.asarray(v.data).item()
            return value if isinstance(value, bool) else Decimal(value)
        return known[v]

    def derivatives(self, x: float, room: float) -> tuple[float, float, float]:
        """The value, slope and curvature at x, by central differences inside `room` around it."""
        with localcontext(_CONTEXT):
            step = _STEP * Decimal(room)
            at = Decimal(x)
            below, here, above = (self(at + k * step) for k in (-1, 0, 1))
            slope = (above - below) / (2 * step)
            curvature = (above - 2 * here + below) / (step * step)
            return float(here), float(slope), float(curvature)


def _closer(x: Decimal) -> Any:
    """A context with as many digits more as x has zeros behind the point."""
    extra = max(0, -x.adjusted()) if x.is_finite() and x else 0
    return localcontext(Context(DIGITS + extra + 5, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[]))


def _expm1(x: Decimal) -> Decimal:
    with _closer(x):
        return x.exp() - 1


def _log1p(x: Decimal) -> Decimal:
    with _closer(x):
        return (1 + x).ln()


def _softplus(x: Decimal) -> Decimal:
    return max(x, Decimal(0)) + _log1p((-abs(x)).exp())


def _taylor(x: Decimal, first: Decimal, second: int) -> Decimal:
    """Σ (−1)ᵏ xⁿ/n! over n = second, second + 2, …, whose first term is `first`."""
    with localcontext(Context(DIGITS + 40, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])):
        total, term, n = first, first, second
        while term and abs(term) > abs(total) * Decimal(10) ** -(DIGITS + 30):
            term = -term * x * x / ((n + 1) * (n + 2))
            total, n = total + term, n + 2
        return total


def _cos(x: Decimal) -> Decimal:
    return _taylor(x, Decimal(1), 0)


def _sin(x: Decimal) -> Decimal:
    return _taylor(x, x, 1)


def _arctan(x: Decimal) -> Decimal:
    """Halved until the argument is small, then by its series."""
    halvings = 0
    while abs(x) > Decimal("0.05"):
        x, halvings = x / (1 + (1 + x * x).sqrt()), halvings + 1
    total, power, n = x, x, 1
    while power and abs(power) > abs(total) * Decimal(10) ** -(DIGITS + 5):
        power, n = -power * x * x, n + 2
        total += power / n
    return total * 2**halvings


@cache
def _bernoulli(n: int) -> Fraction:
    """Bernoulli numbers by their recursion."""
    if n == 0:
        return Fraction(1)
    total, binomial = Fraction(0), 1
    for k in range(n):
        total += binomial * _bernoulli(k)
        binomial = binomial * (n + 1 - k) // (k + 1)
    return -total / (n + 1)


def _gammaln(x: Decimal) -> Decimal:
    """Stirling's series beyond 120, and the recursion down from there."""
    if not x > 0:
        return Decimal("Infinity") if x == x.to_integral_value() else Decimal("NaN")
    product = Decimal(1)
    while x < 120:
        product, x = product * x, x + 1
    tau = 8 * _arctan(Decimal(1))
    total = (x - Decimal("0.5")) * x.ln() - x + tau.ln() / 2
    for n in range(2, 122, 2):
        number = _bernoulli(n)
        total += Decimal(number.numerator) / number.denominator / (n * (n - 1)) / x ** (n - 1)
    return total - product.ln()


def _product(*factors: Decimal) -> Decimal:
    total = Decimal(1)
    for factor in factors:
        total *= factor
    return total


_OPERATIONS: dict[str, Callable[..., Number]] = {
    "Add": lambda *terms: sum(terms, Decimal(0)),
    "Mul": _product,
    "Sub": lambda x, y: x - y,
    "TrueDiv": lambda x, y: x / y,
    "Neg": lambda x: -x,
    "Abs": abs,
    "Sqr": lambda x: x * x,
    "Sqrt": lambda x: x.sqrt(),
    "Reciprocal": lambda x: 1 / x,
    "Pow": lambda x, y: x**y,
    "Exp": lambda x: x.exp(),
    "Exp2": lambda x: Decimal(2) ** x,
    "Expm1": _expm1,
    "Log": lambda x: x.ln(),
    "Log2": lambda x: x.ln() / Decimal(2).ln(),
    "Log10": lambda x: x.log10(),
    "Log1p": _log1p,
    "Log1mexp": lambda x: (-_expm1(x)).ln(),
    "Softplus": _softplus,
    "Sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "Sin": _sin,
    "Cos": _cos,
    "Tan": lambda x: _sin(x) / _cos(x),
    "ArcTan": _arctan,
    "Sinh": lambda x: (_expm1(x) - _expm1(-x)) / 2,
    "Cosh": lambda x: (x.exp() + (-x).exp()) / 2,
    "Tanh": lambda x: -_expm1(-2 * x) / (1 + (-2 * x).exp()),
    "GammaLn": _gammaln,
    "Sign": lambda x: Decimal((x > 0) - (x < 0)),
    "Maximum": max,
    "Minimum": min,
    "ScalarMaximum": max,
    "ScalarMinimum": min,
    "Switch": lambda condition, x, y: x if condition else y,
    "GT": lambda x, y: x > y,
    "GE": lambda x, y: x >= y,
    "LT": lambda x, y: x < y,
    "LE": lambda x, y: x <= y,
    "EQ": lambda x, y: x == y,
    "NEQ": lambda x, y: x != y,
    "AND": lambda x, y: bool(x) and bool(y),
    "OR": lambda x, y: bool(x) or bool(y),
    "Invert": lambda x: not x,
    "Identity": lambda x: x,
    "Cast": lambda x: x,
    "Second": lambda x, y: y,
}
