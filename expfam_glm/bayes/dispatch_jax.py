"""What JAX must know: θ(μ) by iteration, log Γ(u + iv), sums over rows.

Imported only where JAX is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pytensor.graph.fg import FunctionGraph
from pytensor.link.jax.dispatch import jax_funcify

from expfam_glm.bayes.fused_sum import RowSum
from expfam_glm.spec.complex_gamma import ComplexGamma
from expfam_glm.spec.domain import probe_points
from expfam_glm.spec.inverse import APPROACH, MAX_STEPS, SETTLED, SMOOTH, Inverse


@jax_funcify.register(Inverse)
def jax_inverse(op: Inverse, node: Any = None, **keywords: Any) -> Callable[..., Any]:
    """`Inverse.evaluate` in JAX, differentiable by the implicit function theorem."""
    variables = list(op.function.variables)
    graph = FunctionGraph(variables, [op.function.output, op.slope.output], clone=True)
    value_and_slope = jax_funcify(graph)
    probes = np.asarray(probe_points(op.domain))
    ends = op.domain.low, op.domain.high

    def last_finite(near: Any, far: Any, shapes: Any) -> Any:
        """The last point from `near` to `far` with finite f, unless f jumps there."""

        def halve(_: Any, pair: Any) -> Any:
            middle = 0.5 * (pair[0] + pair[1])
            finite = jnp.isfinite(value_and_slope(middle, *shapes)[0])
            return jnp.where(finite, middle, pair[0]), jnp.where(finite, pair[1], middle)

        last, _ = jax.lax.fori_loop(0, MAX_STEPS, halve, (near, far))
        parts = jnp.array([0.0, 0.5, *APPROACH, 1.0])
        height = jax.vmap(lambda x: value_and_slope(x, *shapes)[0])(near + parts * (last - near))
        rise = (height[1:-1] - height[0]) / (height[-1] - height[0])
        between = (rise[1:] >= SMOOTH) & (rise[1:] <= APPROACH[-1])
        return jnp.where((rise[0] >= SMOOTH) | jnp.any(between), last, near)

    def table(shapes: Any) -> Any:
        """Points with finite f, the borders included, heights sign·f and the sign of f′."""
        height = jax.vmap(lambda x: value_and_slope(x, *shapes)[0])(probes)
        finite = jnp.isfinite(height)
        first, last = jnp.argmax(finite), probes.size - 1 - jnp.argmax(finite[::-1])
        grid = jnp.asarray(probes)
        before, after = jnp.maximum(first - 1, 0), jnp.minimum(last + 1, probes.size - 1)
        left = last_finite(grid[first], grid[before], shapes)
        right = last_finite(grid[last], grid[after], shapes)
        border = jnp.stack([left, right])
        at_ends = jax.vmap(lambda x: value_and_slope(x, *shapes)[0])(border)
        grid = jnp.concatenate([border[:1], jnp.where(finite, grid, left), border[1:]])
        height = jnp.concatenate([at_ends[:1], jnp.where(finite, height, at_ends[0]), at_ends[1:]])
        sign = jnp.where(at_ends[1] >= at_ends[0], 1.0, -1.0)
        return grid, sign * height, sign

    def solve(target: Any, shapes: Any) -> Any:
        grid, height, sign = table(shapes)
        aim = sign * target
        below, above = height <= aim, height >= aim
        low = jnp.max(jnp.where(below, grid, -jnp.inf))
        high = jnp.min(jnp.where(above, grid, jnp.inf))
        reachable = jnp.isfinite(low) & jnp.isfinite(high)
        low, high = jnp.minimum(low, high), jnp.maximum(low, high)
        under = jnp.max(jnp.where(below, height, -jnp.inf))
        rise = jnp.min(jnp.where(above, height, jnp.inf)) - under
        begin = low + (high - low) * jnp.where(rise > 0, (aim - under) / rise, 0.5)

        def step(state: Any) -> Any:
            count, x, low, high, before, _ = state
            value, slope = value_and_slope(x, *shapes)
            gap = sign * value - aim
            low, high = jnp.where(gap <= 0, x, low), jnp.where(gap >= 0, x, high)
            newton = x - gap / (sign * slope)
            inside = (newton >= low) & (newton <= high) & (jnp.abs(newton - x) <= 0.5 * before)
            new = jnp.where(inside, newton, 0.5 * (low + high))
            moved = jnp.abs(new - x)
            size = jnp.minimum(jnp.abs(new), jnp.minimum(new - ends[0], ends[1] - new))
            settled = inside & (moved <= SETTLED * size)
            narrow = high - low <= 4 * jnp.finfo(float).eps * jnp.abs(new)
            exact = jnp.abs(gap) <= jnp.finfo(float).eps * jnp.abs(aim)
            return count + 1, new, low, high, moved, settled | exact | narrow

        def go(state: Any) -> Any:
            return (state[0] < MAX_STEPS) & ~state[-1]

        start = (0, begin, low, high, high - low, ~reachable)
        return jnp.where(reachable, jax.lax.while_loop(go, step, start)[1], jnp.nan)

    @jax.custom_jvp
    def inverse_of_one(target: Any, shapes: Any) -> Any:
        return solve(target, shapes)

    @inverse_of_one.defjvp
    def slope_of_inverse(primals: Any, tangents: Any) -> Any:
        target, shapes = primals
        x = inverse_of_one(target, shapes)
        moved = jnp.zeros_like(target)
        if shapes:
            _, moved = jax.jvp(lambda *s: value_and_slope(x, *s)[0], shapes, tangents[1])
        return x, (tangents[0] - moved) / value_and_slope(x, *shapes)[1]

    def inverse(target: Any, *shapes: Any) -> Any:
        spread = jnp.broadcast_arrays(jnp.asarray(target, float), *shapes)
        flat = [jnp.ravel(v) for v in spread]
        found = jax.vmap(inverse_of_one)(flat[0], tuple(flat[1:]))
        return jnp.reshape(found, spread[0].shape)

    return inverse


@jax_funcify.register(ComplexGamma)
def jax_complex_gamma(op: ComplexGamma, node: Any = None, **keywords: Any) -> Callable[..., Any]:
    """The lines that NumPy runs, with JAX's logarithm."""
    function = op.written_with(jnp.log)
    part = jnp.real if op.part == "real" else jnp.imag
    return lambda u, v: part(function(u + 1j * v))


@jax_funcify.register(RowSum)
def jax_row_sum(op: RowSum, node: Any, **keywords: Any) -> Callable[..., Any]:
    """The ordinary graph, which JAX fuses itself; what is not used it leaves out."""
    inputs = [v.type() for v in node.inputs]
    function = jax_funcify(FunctionGraph(inputs, op.written_out(inputs), clone=False))
    return function if op.slopes else lambda *values: function(*values)[0]
