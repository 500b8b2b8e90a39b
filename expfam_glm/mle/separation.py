"""Whether a finite maximum exists: separation found by linear programming."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import numpy as np

from expfam_glm.data.census import Rows, some_rows, stack
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.kernels.coded import largest

# Rows in one linear program; violated rows of the rest are added until none is left.
_ROWS_AT_ONCE = 4000
_TOLERANCE = 1e-7
# Of rows that are read in batches: passes, and rows that join the program in each.
_MOST_PASSES = 20
_ROWS_OF_A_BATCH = 200


def separating_direction(problem: Problem) -> np.ndarray | None:
    """A direction γ along which the likelihood never falls and somewhere rises.

    Parameters
    ----------
    problem : Problem
        Without aliased columns.

    Returns
    -------
    ndarray, shape (p,), or None
        γ with max |γⱼ|·‖xⱼ‖∞ = 1, or None where a finite maximum exists.

    Notes
    -----
    xᵀγ ≥ 0 on rows with y at an upper edge of the support that the link sends to an infinite η,
    ≤ 0 at such a lower edge, and = 0 on all other rows: a linear program in the null space of the
    other rows.

    References
    ----------
    Albert and Anderson (1984), Biometrika 71, 1-10; Konis (2007), Linear programming algorithms
    for detecting separated data in binary logistic regression models.
    """
    sign = _edge_signs(problem)
    edge = sign != 0
    if not edge.any():
        return None
    scale = np.max(np.abs(problem.X), axis=0)
    scale[scale == 0] = 1.0  # of some rows of a file, say
    basis = _null_space(problem.X[~edge] / scale)
    if basis.shape[1] == 0:
        return None
    rows = (problem.X[edge] / scale) @ basis * sign[edge][:, None]
    gamma = _program(rows)
    if gamma is None:
        return None
    direction = basis @ gamma / scale
    return direction / np.max(np.abs(direction * scale))


def direction_in_batches(problem: Streamed) -> np.ndarray | None:
    """`separating_direction` for rows that are read in batches.

    Notes
    -----
    A direction that separates all rows separates some of them, unless these say nothing of it. So
    one is sought for a sample, and the rows against it join the sample, until none is left. Rows of
    columns that are zero in the sample join it first.
    """
    sample = problem.sample
    unseen = np.flatnonzero(largest(sample.matrix) == 0)
    if unseen.size:
        seen = problem.total(partial(_having, unseen), operator.add)
        sample = stack(sample, [some_rows(sample, slice(None)), *seen])
    for _ in range(_MOST_PASSES):
        direction = separating_direction(sample)
        if direction is None:
            return None
        against = problem.total(partial(_against, direction), operator.add)
        if not against:
            return direction
        sample = stack(sample, [some_rows(sample, slice(None)), *against])
    return None


def _having(columns: np.ndarray, problem: Problem, table: Any) -> list[Rows]:
    """Some rows of a batch that are not zero in some columns."""
    size = np.abs(problem.X[:, columns])
    chosen = {
        int(row) for column in size.T for row in np.flatnonzero(column)[: _ROWS_OF_A_BATCH // 8]
    }
    return [some_rows(problem, np.array(sorted(chosen)))] if chosen else []


def _against(direction: np.ndarray, problem: Problem, table: Any) -> list[Rows]:
    """The rows of a batch that a direction does not separate, the worst of them."""
    sign, heights = _edge_signs(problem), problem.X @ direction
    broken = np.where(sign == 0, np.abs(heights), -sign * heights)
    worst = np.argsort(-broken)[:_ROWS_OF_A_BATCH]
    worst = worst[broken[worst] > _TOLERANCE]
    return [some_rows(problem, worst)] if worst.size else []


def _edge_signs(problem: Problem) -> np.ndarray:
    """+1 where more η always raises the likelihood of a row, −1 where less does, else 0."""
    space = problem.family.mean_space
    image = problem.link.image(space)
    rising = float(problem.link(_near(space.low, space.high, 0.75))) > float(
        problem.link(_near(space.low, space.high, 0.25))
    )
    sign = np.zeros(problem.row_count)
    for bound, way in ((space.low, -1.0), (space.high, 1.0)):
        toward = way if rising else -way
        end = image.high if toward > 0 else image.low
        if np.isfinite(bound) and np.isinf(end) and problem.family.support.contains(bound):
            sign[problem.y == bound] = toward
    return sign


def _near(low: float, high: float, part: float) -> float:
    if np.isfinite(low) and np.isfinite(high):
        return low + part * (high - low)
    if np.isfinite(low):
        return low + 1 + part
    return high - 2 + part if np.isfinite(high) else part


def _null_space(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the directions that are zero on all rows."""
    p = rows.shape[1]
    if rows.shape[0] == 0:
        return np.eye(p)
    _, sizes, right = np.linalg.svd(np.linalg.qr(rows, mode="r"), full_matrices=True)
    rank = int(np.sum(sizes > 1e-9 * sizes[0])) if sizes.size and sizes[0] > 0 else 0
    return right[rank:].T


def _program(rows: np.ndarray) -> np.ndarray | None:
    """γ in the unit box with rows·γ ≥ 0 and some row strictly positive; None if there is none."""
    from scipy.optimize import linprog

    target = rows.mean(axis=0)
    chosen = np.zeros(rows.shape[0], bool)
    chosen[:_ROWS_AT_ONCE] = True
    for _ in range(200):
        part = np.unique(rows[chosen], axis=0)
        answer = linprog(
            -target, A_ub=-part, b_ub=np.zeros(part.shape[0]),
            bounds=[(-1, 1)] * rows.shape[1], method="highs",
        )  # fmt: skip
        gamma = answer.x
        heights = rows @ gamma
        if target @ gamma <= _TOLERANCE / rows.shape[0] or heights.max() <= _TOLERANCE:
            return None
        broken = heights < -_TOLERANCE
        if not broken.any():
            return gamma
        worst = np.argsort(heights)[: min(int(broken.sum()), _ROWS_AT_ONCE)]
        chosen[worst] = True
    return None


def separation_message(problem: Problem, gamma: np.ndarray) -> str:
    """Which coefficients run off, which way, and what can be done."""
    scale = largest(problem.sample.matrix)
    involved = np.abs(gamma) * np.where(scale > 0, scale, 1.0) > 1e-6
    named = ", ".join(
        f"{label} → {'+' if g > 0 else '−'}∞"
        for label, g, shown in zip(problem.labels, gamma, involved, strict=True)
        if shown
    )
    first = "read the rows into memory and use" if isinstance(problem, Streamed) else "use"
    return (
        f"the responses are separated: along the direction with {named} the likelihood rises "
        f"without bound and no finite maximum exists. {first.capitalize()} penalty='firth' or "
        "'jeffreys', whose estimates are finite, leave out or merge the terms named, or give them "
        "a prior: sample() with the default priors has a proper posterior."
    )
