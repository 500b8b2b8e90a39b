"""The Tweedie sum for numba: the same terms as `expfam_glm.spec.compound`, one row at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key

from expfam_glm.spec.compound import (
    HALF_LOG_2PI,
    NEAR,
    NEGLIGIBLE,
    SADDLE,
    SMOOTH_PEAK,
    SMOOTH_SD,
    STEPS_PER_SD,
    STIRLING,
    STIRLING_FROM,
    LogCompound,
)

_VERSION = 2  # of the code below: compiled functions of other versions are not reused


@register_funcify_and_cache_key(LogCompound)
def _numba_compound(op: LogCompound, node: Any, **keywords: Any) -> tuple[Callable[..., Any], Any]:
    """`LogCompound.evaluate` compiled."""
    m, n = op.order
    series = np.array(STIRLING)

    @numba_njit(fastmath=False)
    def errors(z: Any) -> Any:
        """δ(z), δ′(z) and δ″(z): Stirling's series, after steps up to where it holds."""
        value = slope = bend = 0.0
        while z < STIRLING_FROM:
            both = z * (z + 1)
            rise = math.log1p(1 / z)
            value += (z + 0.5) * rise - 1
            slope += rise - (z + 0.5) / both
            bend += (both + 0.5) / both**2 - 1 / both
            z += 1
        r = 1 / z
        power = r
        for k in range(series.size):
            value += series[k] * power
            slope -= (2 * k + 1) * series[k] * power * r
            bend += (2 * k + 1) * (2 * k + 2) * series[k] * power * r * r
            power *= r * r
        return value, slope, bend

    @numba_njit(fastmath=False)
    def term(x: Any, rate: Any, log_rate: Any, A: Any) -> Any:
        """g, ∂g/∂A and ∂²g/∂A² at j = λ + x."""
        j = rate + x
        if abs(x) < NEAR * (j + rate):
            v = x / (j + rate)
            total = 0.0
            for k in range(9, 0, -1):
                total = (total + 1 / (2 * k + 1)) * v * v
            apart = x * v + 2 * j * v * total
        else:
            apart = j * (math.log(j) - log_rate) - x
        of_j = errors(j)[0]
        value, slope, bend = errors(j * A)
        g = 0.5 * math.log(A) - 2 * HALF_LOG_2PI - (1 + A) * apart - of_j - value
        return g, 0.5 / A - apart - j * slope, -0.5 / A**2 - j**2 * bend

    @numba_njit(fastmath=False)
    def saddle(log_rate: Any, A: Any) -> Any:
        B, small = 1 + A, math.exp(-log_rate) / 24
        correction = -(2 + 2 / A + 1 / B) * small
        slope = (2 / A**2 + 1 / B**2) * small
        if m == 0 and n == 0:
            return 0.5 * (log_rate + math.log(A) - math.log1p(A)) - HALF_LOG_2PI + correction
        if m + n == 1:
            return 0.5 - correction if m == 1 else 0.5 / (A * B) + slope
        if m > 0:
            return correction if m == 2 else -slope
        return -0.5 * (1 / A**2 - 1 / B**2) - (4 / A**3 + 2 / B**3) * small

    @numba_njit(fastmath=False)
    def one(log_rate: Any, A: Any) -> Any:
        if not (A > 0 and A < np.inf and log_rate < np.inf):
            return np.nan
        if log_rate - math.log1p(1 / A) > SADDLE:
            return saddle(log_rate, A)
        rate, B = math.exp(log_rate), 1 + A
        sd = math.sqrt(rate / B)
        smooth = sd > SMOOTH_SD and rate * B > SMOOTH_PEAK
        step = sd / STEPS_PER_SD if smooth else 1.0
        middle = 0.0 if smooth else max(round(rate), 1.0) - rate
        top = term(middle, rate, log_rate, A)[0]
        total = e_x = e_xx = e_g = e_gg = e_xg = e_bend = 0.0
        for sign in (1, -1):
            k = 0 if sign == 1 else -1
            while True:
                x = middle + k * step
                if x + rate <= 0.5:
                    break
                g, slope, bend = term(x, rate, log_rate, A)
                W = math.exp(g - top)
                total += W
                e_x += W * x
                e_xx += W * x * x
                e_g += W * slope
                e_gg += W * slope * slope
                e_xg += W * x * slope
                e_bend += W * bend
                if k != 0 and g - top <= NEGLIGIBLE:
                    break
                k += sign
        e_x, e_g = e_x / total, e_g / total
        if m == 0 and n == 0:
            return top + math.log(total * step)
        if m + n == 1:
            return B * e_x if m == 1 else e_g
        if m == 2:
            return B**2 * (e_xx / total - e_x**2) - B * rate
        if m == 1:
            return B * (e_xg / total - e_x * e_g) + e_x
        return e_gg / total - e_g**2 + e_bend / total

    @numba_njit(fastmath=False)
    def compound(log_rate: Any, A: Any) -> Any:
        rates, shapes = log_rate.copy().ravel(), A.copy().ravel()
        out = np.empty(rates.size)
        for k in range(out.size):
            out[k] = one(rates[k], shapes[k])
        return out.reshape(log_rate.shape)

    @numba_njit(fastmath=False)
    def compound_of_scalars(log_rate: Any, A: Any) -> Any:
        return np.asarray(one(log_rate.item(), A.item()))

    chosen = compound if node.outputs[0].type.ndim else compound_of_scalars
    key = f"{_VERSION} {op} {bool(node.outputs[0].type.ndim)}"
    return chosen, sha256(key.encode()).hexdigest()
