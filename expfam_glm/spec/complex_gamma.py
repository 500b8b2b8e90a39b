"""log|Γ(u + iv)| and the derivatives of log Γ at complex points, as scalar operations.

Both NumPy and numba run the same few lines: the recurrence carries u + iv to the right, where
Stirling's series holds to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor.scalar as ps
from pytensor.tensor.elemwise import Elemwise

_SHIFT = 10  # Γ(z) is taken from Γ(z + 10)
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798,
    -174611 / 330, 854513 / 138,
)  # fmt: skip
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class ComplexGamma(ps.ScalarOp):
    """The real or imaginary part of ψ⁽ⁿ⁾(u + iv), u > 0; n = −1 is log Γ, n = 0 the digamma.

    Notes
    -----
    log Γ(z) = (z − ½) log z − z + ½ log 2π + Σ B₂ₖ/{2k(2k − 1) z^(2k−1)} and its derivatives, at
    z + 10, less Σ log(z + k) over k < 10 and its derivatives.

    References
    ----------
    Abramowitz and Stegun (1964), 6.1.40, 6.3.18 and 6.4.11.
    """

    __props__ = ("order", "part")
    nin = 2
    elementwise = True  # `evaluate` takes arrays

    def __init__(self, order: int, part: str) -> None:
        self.order = order
        self.part = part
        super().__init__(ps.upgrade_to_float, name=f"ComplexGamma{{{order},{part}}}")

    def evaluate(self, u: Any, v: Any) -> Any:
        """The value at numbers or arrays."""
        part = np.real if self.part == "real" else np.imag
        return part(self.function(u + 1j * v))

    def impl(self, u: Any, v: Any) -> Any:
        return self.evaluate(u, v)

    @property
    def function(self) -> Callable[[Any], Any]:
        """z → ψ⁽ⁿ⁾(z), in operations that NumPy and numba share."""
        return self.written_with(np.log)

    def written_with(self, log: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """z → ψ⁽ⁿ⁾(z) with the complex logarithm of another library."""
        return _function(self.order, log)

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        real = ComplexGamma(self.order + 1, "real")(*inputs)
        imaginary = ComplexGamma(self.order + 1, "imaginary")(*inputs)
        slopes = (real, -imaginary) if self.part == "real" else (imaginary, real)
        return [cotangents[0] * slope for slope in slopes]


@lru_cache(maxsize=16)
def _function(order: int, log: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return _log_gamma(log) if order == -1 else _polygamma(order, log)


def _log_gamma(log: Callable[[Any], Any]) -> Callable[[Any], Any]:
    terms = tuple(
        (2 * k - 1, bernoulli / (2 * k * (2 * k - 1)))
        for k, bernoulli in enumerate(_BERNOULLI, start=1)
    )

    def log_gamma(z):
        far = z + _SHIFT
        total = (far - 0.5) * log(far) - far + _HALF_LOG_2PI
        for power, factor in terms:
            total = total + factor * (1 / far) ** power
        for k in range(_SHIFT):
            total = total - log(z + k)
        return total

    return log_gamma


def _polygamma(n: int, log: Callable[[Any], Any]) -> Callable[[Any], Any]:
    sign = -1.0 if n % 2 == 0 else 1.0  # (−1)ⁿ⁺¹
    near = sign * math.factorial(n)
    terms = tuple(
        (2 * k + n, sign * bernoulli * math.factorial(2 * k + n - 1) / math.factorial(2 * k))
        for k, bernoulli in enumerate(_BERNOULLI, start=1)
    )
    first = sign * math.factorial(max(n - 1, 0))

    def polygamma(z):
        far = 1 / (z + _SHIFT)
        leading = log(z + _SHIFT) if n == 0 else first * far**n
        total = leading + 0.5 * near * far ** (n + 1)
        for power, factor in terms:
            total = total + factor * far**power
        for k in range(_SHIFT):
            total = total + near * (1 / (z + k)) ** (n + 1)
        return total

    return polygamma


log_abs_gamma = Elemwise(ComplexGamma(-1, "real"))
