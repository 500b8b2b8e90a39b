"""The numerical inverse of a monotone scalar function, as one elementwise operation.

θ(μ) = (b′)⁻¹(μ) where no closed form is declared, and g⁻¹ where a link declares none. The value
comes from a safeguarded Newton iteration, the derivative from the implicit function theorem.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from expfam_glm.spec.domain import Domain, probe_points
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.lower import lower
from expfam_glm.spec.simplify import simplify

MAX_STEPS = 80
SMOOTH = 1e-2  # of a rise must be done half way, or seen at one of the points that follow
APPROACH = (0.9, 0.99, 0.999)  # parts of a stretch; a jump has no height between 0 and 1
SETTLED = 1e-9  # a Newton step so short (relative) has doubled its digits to all of them


class Inverse(Op):
    """x with f(x; shapes) = t, for f strictly monotone on a domain; NaN outside f's range."""

    elementwise = True
    inverts = True  # the algebra below this module knows it by this mark
    __props__ = ("function", "domain")

    def __init__(self, function: Expression, domain: Domain) -> None:
        self.function = function
        self.domain = domain
        slope = function.derivative(function.names[0])
        (stable,) = simplify([slope.output], slope.variables)
        self.slope = Expression(slope.variables, stable)

    def __str__(self) -> str:
        return f"Inverse{{{self.function.digest},{self.domain}}}"

    def make_node(self, *inputs: Any) -> Apply:
        symbols = [pt.as_tensor(v) for v in inputs]
        ndim = max(v.type.ndim for v in symbols)
        if ndim and len(symbols) > 1:  # so that a gradient has the shape of its argument
            symbols = list(pt.broadcast_arrays(*symbols))
        out = pt.tensor(dtype="float64", shape=(None,) * ndim)
        return Apply(self, symbols, [out])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        outputs[0][0] = np.asarray(self.evaluate(*inputs), dtype=float)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [pt.broadcast_shape(*shapes, arrays_are_shapes=True)]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], cotangents: list[Variable]
    ) -> list[Variable]:
        (x,) = outputs
        shapes = inputs[1:]
        slope = self.slope(x, *shapes)
        by_shape = [
            -cotangents[0] * self.function.derivative(name)(x, *shapes) / slope
            for name in self.function.names[1:]
        ]
        return [cotangents[0] / slope, *by_shape]

    def evaluate(self, target: Any, *shapes: Any) -> np.ndarray:
        """The inverse at numbers or arrays, to full precision."""
        values = [np.asarray(v, dtype=float) for v in (target, *shapes)]
        full = np.broadcast_arrays(*values)
        flat = [v.ravel() for v in full]
        result = np.empty(flat[0].shape)
        if not shapes:
            result = self._solve(flat[0], ())
        else:
            sets, which = np.unique(np.stack(flat[1:]), axis=1, return_inverse=True)
            for k in range(sets.shape[1]):
                rows = which.ravel() == k
                result[rows] = self._solve(flat[0][rows], tuple(sets[:, k]))
        return result.reshape(full[0].shape)

    def _solve(self, target: np.ndarray, shapes: tuple[float, ...]) -> np.ndarray:
        grid, height, sign = _table(self, shapes)
        if grid.size < 2:
            return np.full(target.shape, np.nan)
        function = _value_and_slope(self)
        aim = sign * target
        at = np.clip(np.searchsorted(height, aim), 1, grid.size - 1)
        left, right = grid[at - 1].copy(), grid[at].copy()
        reachable = (aim >= height[0]) & (aim <= height[-1])
        rise = height[at] - height[at - 1]
        x = left + (right - left) * np.clip((aim - height[at - 1]) / rise, 0.0, 1.0)
        active = np.flatnonzero(reachable)
        step = right - left
        ends = self.domain.low, self.domain.high
        for _ in range(MAX_STEPS):
            if active.size == 0:
                break
            here = x[active]
            value, slope = function(here, *shapes)
            gap = sign * value - aim[active]
            left[active] = np.where(gap <= 0, here, left[active])
            right[active] = np.where(gap >= 0, here, right[active])
            with np.errstate(all="ignore"):
                newton = here - gap / (sign * slope)
            low, high = left[active], right[active]
            inside = (newton >= low) & (newton <= high) & np.isfinite(newton)
            inside &= np.abs(newton - here) <= 0.5 * step[active]  # else it creeps
            new = np.where(inside, newton, 0.5 * (low + high))
            x[active], step[active] = new, np.abs(new - here)
            size = np.minimum(np.abs(new), np.minimum(new - ends[0], ends[1] - new))
            settled = inside & (np.abs(new - here) <= SETTLED * size)
            exact = np.abs(gap) <= np.spacing(np.abs(aim[active]))
            done = settled | exact | (high - low <= 4 * np.spacing(np.abs(new)))
            active = active[~done]
        return np.where(reachable, x, np.nan)


@lru_cache(maxsize=256)
def _value_and_slope(op: Inverse) -> Callable[..., tuple[np.ndarray, ...]]:
    """f and f′ in one NumPy function."""
    return lower(op.function.variables, [op.function.output, op.slope.output])


@lru_cache(maxsize=1024)
def _table(op: Inverse, shapes: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """Where f is finite and increases: points, heights sign·f and the sign of f′.

    The points are probe points, carried to the last finite number on both sides.
    """
    grid = probe_points(op.domain)
    finite = np.isfinite(op.function(grid, *shapes))
    for inner, outer in _borders(finite):
        grid[outer] = _last_finite(op, shapes, grid[inner], grid[outer])
        finite[outer] = True
    grid = grid[finite]
    height = np.asarray(op.function(grid, *shapes))
    grid, height = grid[np.isfinite(height)], height[np.isfinite(height)]
    sign = 1.0 if grid.size < 2 or height[-1] > height[0] else -1.0
    height = sign * height
    rising = np.diff(np.maximum.accumulate(height), prepend=-np.inf) > 0
    return grid[rising], height[rising], sign


def _last_finite(op: Inverse, shapes: tuple[float, ...], near: float, far: float) -> float:
    """The last point from `near` to `far` with finite f, unless f jumps there: an underflow."""
    first = near
    for _ in range(MAX_STEPS):
        middle = 0.5 * (near + far)
        if np.isfinite(op.function(middle, *shapes)):
            near = middle
        else:
            far = middle
    parts = np.array([0.0, 0.5, *APPROACH, 1.0])
    height = np.asarray(op.function(first + parts * (near - first), *shapes))
    rise = (height[1:-1] - height[0]) / (height[-1] - height[0] or 1.0)
    smooth = rise[0] >= SMOOTH or np.any((rise[1:] >= SMOOTH) & (rise[1:] <= APPROACH[-1]))
    return near if smooth else first


def _borders(finite: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (last finite, next point outwards) at both ends of the finite stretch."""
    where = np.flatnonzero(finite)
    if where.size == 0:
        return []
    first, last = int(where[0]), int(where[-1])
    pairs = [(first, first - 1)] if first > 0 else []
    return pairs + ([(last, last + 1)] if last + 1 < finite.size else [])


def inverse_of(function: Expression, domain: Domain, target: str) -> Expression:
    """The inverse of `function` in its first argument, as an expression of `target`."""
    op = Inverse(function, domain)
    variables = [pt.scalar(name, dtype="float64") for name in (target, *function.names[1:])]
    return Expression(variables, op(*variables))
