"""The definite integral of a scalar function, as one elementwise operation.

θ(μ) = ∫ dμ/V and b = ∫ μ dμ/V where a quasi family declares its variance function alone. The value
comes from adaptive Gauss-Kronrod quadrature, the derivative from the fundamental theorem.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from expfam_glm.spec.domain import Domain
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.lower import lower

# The 21-point Kronrod rule on (−1, 1), its positive half from the edge to the centre, and the
# weights of the 10-point Gauss rule that it contains (every second point).
_NODES = np.array([
    0.9956571630258081, 0.9739065285171717, 0.9301574913557082, 0.8650633666889845,
    0.7808177265864169, 0.6794095682990244, 0.5627571346686047, 0.4333953941292472,
    0.2943928627014602, 0.1488743389816312, 0.0,
])  # fmt: skip
_KRONROD = np.array([
    0.011694638867371874, 0.03255816230796473, 0.054755896574351996, 0.07503967481091995,
    0.0931254545836976, 0.10938715880229764, 0.12349197626206585, 0.13470921731147333,
    0.14277593857706008, 0.14773910490133849, 0.1494455540029169,
])  # fmt: skip
_GAUSS = np.array([
    0.06667134430868814, 0.1494513491505806, 0.21908636251598204, 0.26926671930999635,
    0.29552422471475287,
])  # fmt: skip
_X = np.concatenate([-_NODES, _NODES[-2::-1]])
_K = np.concatenate([_KRONROD, _KRONROD[-2::-1]])
_G = np.zeros(21)
_G[1::2] = np.concatenate([_GAUSS, _GAUSS[::-1]])

# The two rules may differ by so much of ∫|f|; the Kronrod rule itself is then far nearer.
_AGREED = 1e-12
_EPS = np.finfo(float).eps
_MOST_HALVINGS = 60
_CHUNK = 1 << 14  # integrals at a time
_FAR = 100 * np.log(10)
# A tail that falls by less than this factor in one e-fold has no finite integral.
_DECAY = 1e-6


class Integral(Op):
    """∫ f(t, parameters) dt from `lower` to `upper`, for f smooth on the inside of a domain.

    An end of the domain may be a bound; the integral to it is ±∞ where it diverges.
    """

    elementwise = True
    __props__ = ("function", "domain")

    def __init__(self, function: Expression, domain: Domain) -> None:
        self.function = function
        self.domain = domain

    def __str__(self) -> str:
        return f"Integral{{{self.function.digest},{self.domain}}}"

    def make_node(self, *inputs: Any) -> Apply:
        symbols = [pt.as_tensor(v, dtype=None if isinstance(v, Variable) else "float64")
                   for v in inputs]  # fmt: skip
        ndim = max(v.type.ndim for v in symbols)
        if ndim:  # so that a gradient has the shape of its argument
            symbols = list(pt.broadcast_arrays(*symbols))
        return Apply(self, symbols, [pt.tensor(dtype="float64", shape=(None,) * ndim)])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        outputs[0][0] = np.asarray(self.evaluate(*inputs), dtype=float)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [pt.broadcast_shape(*shapes, arrays_are_shapes=True)]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], cotangents: list[Variable]
    ) -> list[Variable]:
        low, high, *parameters = inputs
        by_parameter = [
            Integral(self.function.derivative(name), self.domain)(*inputs)
            for name in self.function.names[1:]
        ]
        slopes = [-self.function(low, *parameters), self.function(high, *parameters)]
        return [cotangents[0] * slope for slope in (*slopes, *by_parameter)]

    def evaluate(self, low: Any, high: Any, *parameters: Any) -> np.ndarray:
        """The integral at numbers or arrays; NaN for bounds outside the domain."""
        full = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (low, high, *parameters)))
        flat = [v.ravel() for v in full]
        result = np.empty(flat[0].size)
        for start in range(0, result.size, _CHUNK):
            rows = slice(start, start + _CHUNK)
            result[rows] = self._integrate(*(v[rows] for v in flat))
        return result.reshape(full[0].shape)

    def _integrate(self, low: np.ndarray, high: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
        """∫ f(t(s)) t′(s) ds over the whole line of s that the domain is mapped to."""
        function = _lowered(self.function)
        edges = _reach(self.domain)

        def integrand(s: np.ndarray, rows: Any) -> np.ndarray:
            t, slope = _onto(self.domain, s)
            column = (slice(None),) + (None,) * (s.ndim - 1)
            (value,) = function(t, *(p[rows][column] for p in parameters))
            return value * slope

        total = np.zeros(low.size)
        ends = []
        with np.errstate(all="ignore"):
            for bound, sign in ((low, -1.0), (high, 1.0)):
                s = _from(self.domain, bound)
                for edge, inward, meant in zip(edges, (1.0, -1.0), (-np.inf, np.inf), strict=True):
                    at = np.flatnonzero(s == meant)
                    if at.size:
                        outside = sign if meant > 0 else -sign
                        total[at] += outside * _tail(integrand, edge, inward, at)
                        s[at] = edge
                ends.append(s)
            proper = np.isfinite(ends[0]) & np.isfinite(ends[1])
            total[~proper] = np.nan
            rows = np.flatnonzero(proper & np.isfinite(total) & (ends[0] != ends[1]))
            total[rows] += _adaptive(
                integrand, ends[0][rows], ends[1][rows], rows, lambda s: _grain(self.domain, s)
            )
        return total


@lru_cache(maxsize=256)
def _lowered(function: Expression) -> Callable[..., tuple[np.ndarray, ...]]:
    return lower(function.variables, [function.output])


# ---- the domain on the real line ---------------------------------------------------------------


def _onto(domain: Domain, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t(s) and t′(s): the domain in a variable that reaches its ends exponentially."""
    low, high = domain.low, domain.high
    if np.isfinite(low) and np.isfinite(high):
        odds = np.exp(-np.abs(s))
        near, width = odds / (1 + odds), high - low
        t = np.where(s < 0, low + width * near, high - width * near)
        return t, width * near / (1 + odds)
    if np.isfinite(low):
        return low + np.exp(s), np.exp(s)
    if np.isfinite(high):
        return high - np.exp(-s), np.exp(-s)
    return np.sinh(s), np.cosh(s)


def _from(domain: Domain, t: np.ndarray) -> np.ndarray:
    """s(t); ±∞ at the ends of the domain, NaN outside."""
    low, high = domain.low, domain.high
    if np.isfinite(low) and np.isfinite(high):
        return np.log(t - low) - np.log(high - t)
    if np.isfinite(low):
        return np.log(t - low)
    if np.isfinite(high):
        return -np.log(high - t)
    return np.arcsinh(t)


def _grain(domain: Domain, s: np.ndarray) -> np.ndarray | float:
    """The relative rounding error of the distance of t(s) from a finite end that is not zero."""
    low, high = domain.low, domain.high
    if np.isfinite(low) and np.isfinite(high):
        distance = (high - low) * np.exp(-np.abs(s))
        return _EPS * np.abs(np.where(s < 0, low, high)) / distance
    if np.isfinite(low):
        return _EPS * abs(low) * np.exp(-s)
    return _EPS * abs(high) * np.exp(s) if np.isfinite(high) else 0.0


def _reach(domain: Domain) -> tuple[float, float]:
    """How far s goes: powers of t neither overflow nor lose the distance from an end."""

    def finite(end: float) -> float:
        return -_FAR if end == 0 else np.log(1e-8 * abs(end))

    low, high = domain.low, domain.high
    if np.isfinite(low) and np.isfinite(high):
        width = np.log(high - low)
        return finite(low) - width, width - finite(high)
    return (
        finite(low) if np.isfinite(low) else -_FAR,
        -finite(high) if np.isfinite(high) else _FAR,
    )


def _tail(
    integrand: Callable[..., np.ndarray], edge: float, inward: float, rows: np.ndarray
) -> np.ndarray:
    """The integral beyond the reach, where the integrand falls as an exponential of s, or ±∞."""
    at_edge = integrand(np.full(rows.size, edge), rows)
    before = integrand(np.full(rows.size, edge + inward), rows)
    rate = np.log(np.abs(before / at_edge))
    tail = np.where(rate > _DECAY, at_edge / rate, np.copysign(np.inf, at_edge))
    return np.where((at_edge == 0) & np.isfinite(before), 0.0, tail)


# ---- quadrature --------------------------------------------------------------------------------


def _adaptive(
    integrand: Callable[..., np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    rows: np.ndarray,
    grain: Callable[[np.ndarray], np.ndarray | float],
) -> np.ndarray:
    """Integrals of many rows at once: intervals on which the rules disagree are halved.

    They may disagree by the rounding error of the integrand, which no halving takes away.
    """
    total, size = np.zeros(left.size), np.zeros(left.size)
    which = np.arange(left.size)
    for _ in range(_MOST_HALVINGS):
        half, middle = 0.5 * (right - left), 0.5 * (right + left)
        s = middle[:, None] + half[:, None] * _X
        values = integrand(s, rows[which])
        kronrod = half * (values @ _K)
        error = np.abs(kronrod - half * (values @ _G))
        magnitude = np.abs(half) * (np.abs(values) @ _K)
        pending = np.bincount(which, magnitude, minlength=total.size)
        noise = np.abs(half) * ((np.abs(values) * grain(s)) @ _K)
        done = ~(error > _AGREED * (size + pending)[which] + noise)  # NaN is done too
        total += np.bincount(which[done], kronrod[done], minlength=total.size)
        size += np.bincount(which[done], magnitude[done], minlength=total.size)
        if done.all():
            return total
        left, right = (
            np.concatenate([left[~done], middle[~done]]),
            np.concatenate([middle[~done], right[~done]]),
        )
        which = np.tile(which[~done], 2)
    return total + np.bincount(which, kronrod[~done].repeat(2) / 2, minlength=total.size)
