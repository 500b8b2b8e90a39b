"""What numba must know of declared families, and when JAX is taught; importing this does both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytensor.scalar as ps
from numba.np.unsafe.ndarray import to_fixed_tuple
from pytensor.compile.mode import optdb
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.graph.traversal import toposort
from pytensor.link.numba.dispatch.basic import (
    generate_fallback_impl,
    numba_funcify,
    numba_funcify_and_cache_key,
    numba_njit,
    register_funcify_and_cache_key,
)
from pytensor.link.numba.dispatch.scalar import register_scalar_funcify, scalar_op_cache_key

from expfam_glm.bayes.draws import FamilyDraw
from expfam_glm.bayes.scalars import scalar_graph
from expfam_glm.spec.complex_gamma import ComplexGamma
from expfam_glm.spec.domain import probe_points
from expfam_glm.spec.integral import Integral
from expfam_glm.spec.inverse import APPROACH, MAX_STEPS, SETTLED, SMOOTH, Inverse

_VERSION = 7  # of the code of `_numba_inverse`: compiled functions of other versions are not reused


@numba_funcify.register(FamilyDraw)
@numba_funcify.register(Integral)
def _by_numpy(op: Any, node: Any, **keywords: Any) -> Callable[..., Any]:
    """Draws and quadrature are NumPy's work: numba calls back, and need not warn that it does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Numba will use object mode", UserWarning)
        return generate_fallback_impl(op, node, **keywords)


@register_scalar_funcify(ComplexGamma)
def _numba_complex_gamma(op: ComplexGamma, node: Any, **keywords: Any) -> tuple[Any, str]:
    """The lines that NumPy runs, compiled."""
    function = numba_njit(op.function)
    real = op.part == "real"

    @numba_njit
    def complex_gamma(u: Any, v: Any) -> Any:
        value = function(complex(u, v))
        return value.real if real else value.imag

    return complex_gamma, scalar_op_cache_key(op, version=1, order=op.order, part=op.part)


class _TeachJAX(GraphRewriter):
    """Imports what JAX must know when a graph is first made ready for JAX, and changes nothing."""

    def add_requirements(self, fgraph: FunctionGraph) -> None:
        """None."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Register the JAX form of θ(μ)."""
        from expfam_glm.bayes import dispatch_jax  # noqa: F401


optdb.register("expfam_glm_teach_jax", _TeachJAX(), "jax", position=99)


@register_funcify_and_cache_key(Inverse)
def _numba_inverse(op: Inverse, node: Any, **keywords: Any) -> tuple[Callable[..., Any], Any]:
    """`Inverse.evaluate` compiled: the same probe points, the same safeguarded Newton."""
    function = op.function
    if any(isinstance(inner.op, Integral) for inner in toposort([function.output])):
        return _by_numpy(op, node, **keywords), None
    both = scalar_graph(function.variables, [function.output, op.slope.output])
    call = both.make_node(*(ps.float64() for _ in function.variables))
    value_and_slope, key = numba_funcify_and_cache_key(both, call)
    n_shapes = len(function.names) - 1
    domain_low, domain_high = op.domain.low, op.domain.high
    probes = np.ascontiguousarray(probe_points(op.domain))

    @numba_njit(fastmath=False)  # with fast mathematics NaN would count as finite
    def last_finite(near: Any, far: Any, shapes: Any) -> Any:
        first = near
        for _ in range(MAX_STEPS):
            middle = 0.5 * (near + far)
            if np.isfinite(value_and_slope(middle, *shapes)[0]):
                near = middle
            else:
                far = middle
        start = value_and_slope(first, *shapes)[0]
        end = value_and_slope(near, *shapes)[0]
        whole = end - start if end != start else 1.0
        smooth = (value_and_slope(0.5 * (first + near), *shapes)[0] - start) / whole >= SMOOTH
        for part in APPROACH:
            rise = (value_and_slope(first + part * (near - first), *shapes)[0] - start) / whole
            smooth = smooth or SMOOTH <= rise <= APPROACH[-1]
        return (near, end) if smooth else (first, start)

    @numba_njit(fastmath=False)
    def heights(shapes: Any) -> Any:
        """The probe points at which f is finite and increases, f there, and the sign of f′."""
        grid, height = np.empty(probes.size + 2), np.empty(probes.size + 2)
        n = 0
        for k in range(probes.size):
            value = value_and_slope(probes[k], *shapes)[0]
            if not np.isfinite(value):
                continue
            if n == 0 and k > 0:
                grid[0], height[0] = last_finite(probes[k], probes[k - 1], shapes)
                n = 1
            grid[n], height[n] = probes[k], value
            n += 1
            if k + 1 < probes.size and not np.isfinite(value_and_slope(probes[k + 1], *shapes)[0]):
                grid[n], height[n] = last_finite(probes[k], probes[k + 1], shapes)
                n += 1
        sign = 1.0 if n < 2 or height[n - 1] > height[0] else -1.0
        kept = 0
        for k in range(n):
            if kept == 0 or sign * height[k] > height[kept - 1]:
                grid[kept], height[kept] = grid[k], sign * height[k]
                kept += 1
        return grid[:kept], height[:kept], sign

    @numba_njit(fastmath=False)
    def solve(target: Any, grid: Any, height: Any, sign: Any, shapes: Any) -> Any:
        aim = sign * target
        if grid.size < 2 or not (height[0] <= aim <= height[-1]):
            return np.nan
        at = min(max(np.searchsorted(height, aim), 1), grid.size - 1)
        left, right = grid[at - 1], grid[at]
        x = left + (right - left) * (aim - height[at - 1]) / (height[at] - height[at - 1])
        step = right - left
        for _ in range(MAX_STEPS):
            value, slope = value_and_slope(x, *shapes)
            gap = sign * value - aim
            if gap <= 0:
                left = x
            if gap >= 0:
                right = x
            new = x - gap / (sign * slope)
            inside = left <= new <= right and abs(new - x) <= 0.5 * step
            if not inside:
                new = 0.5 * (left + right)
            step = abs(new - x)
            settled = inside and step <= SETTLED * min(
                abs(new), new - domain_low, domain_high - new
            )
            exact = abs(gap) <= np.spacing(abs(aim))
            done = settled or exact or right - left <= 4 * np.spacing(abs(new))
            x = new
            if done:
                break
        return x

    @numba_njit(fastmath=False)
    def solve_all(spread: Any) -> Any:
        rows = np.empty((n_shapes + 1, spread[0].size))
        for j, values in enumerate(spread):
            rows[j] = values.copy().ravel()
        out = np.empty(rows.shape[1])
        for k in range(out.size):
            shapes = to_fixed_tuple(rows[1:, k].copy(), n_shapes)
            if k == 0 or not np.array_equal(rows[1:, k], rows[1:, k - 1]):
                grid, height, sign = heights(shapes)
            out[k] = solve(rows[0, k], grid, height, sign, shapes)
        return out

    @numba_njit(fastmath=False)
    def inverse(target: Any, *shapes: Any) -> Any:
        spread = np.broadcast_arrays(target, *shapes)
        return solve_all(spread).reshape(spread[0].shape)

    @numba_njit(fastmath=False)
    def inverse_of_scalar(target: Any, *shapes: Any) -> Any:
        return np.asarray(solve_all(np.broadcast_arrays(np.atleast_1d(target), *shapes))[0])

    ndim = node.outputs[0].type.ndim
    chosen = inverse if ndim else inverse_of_scalar
    if key is None:
        return chosen, None
    return chosen, sha256(f"{_VERSION} {op} {key} {bool(ndim)}".encode()).hexdigest()
