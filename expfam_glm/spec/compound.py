"""The log-density of a Poisson sum of gamma variables at its own mean, as one operation.

A Tweedie response with 1 < ξ < 2 is the sum of N gamma variables of shape A = (2 − ξ)/(ξ − 1),
N Poisson with mean λ = μ^(2−ξ)/((2 − ξ)a). At y = μ > 0 its density is e^S/y with

    S(λ, A) = log Σ_{j≥1} exp{½ log A − log 2π − (1 + A) λ D(j/λ) − δ(j) − δ(jA)},

D(r) = r log r − r + 1 and δ(z) = lnΓ(z + 1) − (z + ½) log z + z − ½ log 2π. This is the series of
Dunn and Smyth with Stirling's approximation taken out of every term: the terms are positive and
of moderate size, so nothing cancels. Where they vary slowly from j to j + 1 the sum is an integral
to all digits, and so is the sum over wider steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from scipy import special

SMOOTH_SD = 5.0  # of the index j: from here on the sum is an integral
SMOOTH_PEAK = 80.0  # (1 + A)λ from which nothing is left at j = 0
STEPS_PER_SD = 2.0
NEGLIGIBLE = -44.0  # of the logarithm of a term, relative to the largest
SADDLE = np.log(1e8)  # log of λA/(1 + A) from which one correction to the normal density is enough
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
STIRLING_FROM = 16.0
NEAR = 0.1  # |j − λ|/(j + λ) below which D has a series
_BLOCK = 1024  # rows at a time
_STRETCH = 12  # terms at a time, in each direction
HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


class LogCompound(Op):
    """A partial derivative of S in (log λ, A), of order (0, 0) to two in all."""

    elementwise = True
    __props__ = ("order",)

    def __init__(self, order: tuple[int, int] = (0, 0)) -> None:
        self.order = order

    def __str__(self) -> str:
        return f"LogCompound{{{self.order[0]},{self.order[1]}}}"

    def make_node(self, *inputs: Any) -> Apply:
        log_rate, A = pt.broadcast_arrays(*(pt.as_tensor(v, dtype="float64") for v in inputs))
        out = pt.tensor(dtype="float64", shape=(None,) * log_rate.type.ndim)
        return Apply(self, [log_rate, A], [out])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        outputs[0][0] = np.asarray(self.evaluate(*inputs), dtype=float)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], cotangents: list[Variable]
    ) -> list[Variable]:
        m, n = self.order
        if m + n == 2:
            return [grad_not_implemented(self, k, v) for k, v in enumerate(inputs)]
        return [cotangents[0] * LogCompound(order)(*inputs) for order in ((m + 1, n), (m, n + 1))]

    def evaluate(self, log_rate: Any, A: Any) -> np.ndarray:
        """The derivative at numbers or arrays."""
        full = np.broadcast_arrays(np.asarray(log_rate, float), np.asarray(A, float))
        flat = [v.ravel() for v in full]
        with np.errstate(all="ignore"):
            result = _evaluate(self.order, *flat)
        return result.reshape(full[0].shape)


def _evaluate(order: tuple[int, int], log_rate: np.ndarray, A: np.ndarray) -> np.ndarray:
    """The derivative of each row of (log λ, A)."""
    result = np.full(log_rate.shape, np.nan)
    usable = ~np.isnan(log_rate) & (A > 0) & (A < np.inf) & (log_rate < np.inf)
    far = usable & (log_rate - np.log1p(1 / A) > SADDLE)
    result[far] = _saddle(order, log_rate[far], A[far])
    summed = np.flatnonzero(usable & ~far)
    for begin in range(0, summed.size, _BLOCK):
        rows = summed[begin : begin + _BLOCK]
        result[rows] = _summed(order, log_rate[rows], A[rows])
    return result


def _saddle(order: tuple[int, int], log_rate: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Derivatives of ½ log{Aλ/(2π(1 + A))} − {2 + 2/A + 1/(1 + A)}/(24λ), the saddlepoint form."""
    B, small = 1 + A, np.exp(-log_rate) / 24
    correction = -(2 + 2 / A + 1 / B) * small
    slope = (2 / A**2 + 1 / B**2) * small
    match order:
        case (0, 0):
            return 0.5 * (log_rate + np.log(A) - np.log1p(A)) - HALF_LOG_2PI + correction
        case (1, 0):
            return 0.5 - correction
        case (2, 0):
            return correction
        case (0, 1):
            return 0.5 / (A * B) + slope
        case (1, 1):
            return -slope
    return -0.5 * (1 / A**2 - 1 / B**2) - (4 / A**3 + 2 / B**3) * small


def _summed(order: tuple[int, int], log_rate: np.ndarray, A: np.ndarray) -> np.ndarray:
    """The derivative by the series, outwards from its middle."""
    rate, B = np.exp(log_rate), 1 + A
    sd = np.sqrt(rate / B)
    smooth = (sd > SMOOTH_SD) & (rate * B > SMOOTH_PEAK)
    step = np.where(smooth, sd / STEPS_PER_SD, 1.0)
    middle = np.where(smooth, 0.0, np.maximum(np.rint(rate), 1.0) - rate)  # of j − λ
    top = _terms((0, 0), middle, rate, log_rate, A)[0]
    sums = np.zeros((4, rate.size))
    for sign, first in ((1, 0), (-1, 1)):
        rows, k = np.arange(rate.size), sign * (first + np.arange(_STRETCH))
        while rows.size:
            x = middle[rows, None] + k * step[rows, None]
            exists = x + rate[rows, None] > 0.5
            x = np.where(exists, x, middle[rows, None])
            g, *slopes = _terms(order, x, *(v[rows, None] for v in (rate, log_rate, A)))
            height = np.where(exists, g - top[rows, None], -np.inf)
            W = np.exp(height)
            sums[0, rows] += W.sum(axis=1)
            for m, value in enumerate(_products(order, x, *slopes), start=1):
                sums[m, rows] += (W * value).sum(axis=1)
            rows, k = rows[height[:, -1] > NEGLIGIBLE], k + sign * _STRETCH
    total, means = sums[0], sums[1:] / sums[0]
    match order:
        case (0, 0):
            return top + np.log(total * step)
        case (1, 0):
            return B * means[0]
        case (0, 1):
            return means[0]
        case (2, 0):
            return B**2 * (means[1] - means[0] ** 2) - B * rate
        case (1, 1):
            return B * (means[2] - means[0] * means[1]) + means[0]
    return means[1] - means[0] ** 2 + means[2]


def _products(order: tuple[int, int], x: np.ndarray, *slopes: np.ndarray) -> tuple[np.ndarray, ...]:
    """What is averaged for a derivative: powers of x = j − λ and of ∂g/∂A, and ∂²g/∂A²."""
    match order:
        case (0, 0):
            return ()
        case (1, 0):
            return (x,)
        case (2, 0):
            return x, x**2
        case (0, 1):
            return (slopes[0],)
        case (1, 1):
            return x, slopes[0], x * slopes[0]
    return slopes[0], slopes[0] ** 2, slopes[1]


def _terms(
    order: tuple[int, int], x: np.ndarray, rate: np.ndarray, log_rate: np.ndarray, A: np.ndarray
) -> list[np.ndarray]:
    """g at j = λ + x and, as far as the order asks for them, ∂g/∂A and ∂²g/∂A²."""
    j = rate + x
    apart = np.where(
        np.abs(x) < NEAR * (j + rate), _near(x, j, rate), j * (np.log(j) - log_rate) - x
    )
    z = j * A
    result = [0.5 * np.log(A) - 2 * HALF_LOG_2PI - (1 + A) * apart - delta(j) - delta(z)]
    if order[1]:
        result.append(0.5 / A - apart - j * delta_slope(z))
    if order[1] == 2:
        result.append(-0.5 / A**2 - j**2 * delta_bend(z))
    return result


def _near(x: np.ndarray, j: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """λ D(j/λ) = j log(j/λ) − j + λ for j near λ (Loader's series in v = x/(j + λ))."""
    v = x / (j + rate)
    square = v * v
    series = np.zeros_like(v)
    for k in range(9, 0, -1):
        series = (series + 1 / (2 * k + 1)) * square
    return x * v + 2 * j * v * series


def delta(z: np.ndarray) -> np.ndarray:
    """lnΓ(z + 1) less Stirling's (z + ½) log z − z + ½ log 2π."""
    r = 1 / np.maximum(z, STIRLING_FROM)
    far = r * np.polynomial.polynomial.polyval(r * r, STIRLING)
    near = special.gammaln(z + 1) - (z + 0.5) * np.log(z) + z - HALF_LOG_2PI
    return np.where(z >= STIRLING_FROM, far, near)


def delta_slope(z: np.ndarray) -> np.ndarray:
    """δ′(z)."""
    r = 1 / np.maximum(z, STIRLING_FROM)
    odd = [-(2 * k + 1) * c for k, c in enumerate(STIRLING)]
    far = r * r * np.polynomial.polynomial.polyval(r * r, odd)
    return np.where(z >= STIRLING_FROM, far, special.digamma(z + 1) - np.log(z) - 0.5 / z)


def delta_bend(z: np.ndarray) -> np.ndarray:
    """δ″(z)."""
    r = 1 / np.maximum(z, STIRLING_FROM)
    even = [(2 * k + 1) * (2 * k + 2) * c for k, c in enumerate(STIRLING)]
    far = r**3 * np.polynomial.polynomial.polyval(r * r, even)
    return np.where(z >= STIRLING_FROM, far, special.polygamma(1, z + 1) - 1 / z + 0.5 / z**2)
