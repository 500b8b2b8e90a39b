"""β̂ of one problem: aliasing, existence and the edges looked after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.data.blocks import Blocks, blocks_of
from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import (
    ArgumentError,
    ExpfamError,
    FitWarning,
    SeparationError,
    is_number,
    warn,
)
from expfam_glm.mle.boundary import refuse_boundary
from expfam_glm.mle.fitness import Fitness, fitness
from expfam_glm.mle.irls import Solution
from expfam_glm.mle.linear import DOUBTFUL_PIVOT, factor_gram
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased, aliased_in, warn_aliased
from expfam_glm.mle.saturated import Saturated
from expfam_glm.mle.separation import (
    direction_in_batches,
    separating_direction,
    separation_message,
)
from expfam_glm.mle.shape import ShapeEstimates, estimate_shapes

# Newton's steps up to here (in standard errors) are taken with nothing seen but where they end, and
# so many looks are had.
_SHORT, _MOST_LOOKS = 1e-3, 3


@dataclass(frozen=True)
class Maximum:
    """β̂ with what was found on the way; arrays are over the columns that are not aliased."""

    problem: Problem  # restricted to the kept columns, estimated shapes given
    aliased: np.ndarray  # (all p,)
    solution: Solution
    blocks: Blocks
    measures: Fitness
    notes: tuple[str, ...]
    shapes: ShapeEstimates | None = None  # where the family leaves shapes free
    phi: float | None = None  # where a penalty has its own estimate of it

    @cached_property
    def saturated(self) -> Saturated:
        """The saturated log-likelihood of the rows."""
        return Saturated(self.problem.family, self.blocks, self.measures.parts)


def find_maximum(
    problem: Problem,
    *,
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
    phi: float | None = None,
    cheap: bool = True,
) -> Maximum:
    """β̂, after collinear columns are set apart and the existence of a maximum is known.

    Free shape parameters are estimated with it, at the dispersion `phi` if one is given. A part of
    many rows begins the fit unless that is forbidden by `cheap`.

    Raises
    ------
    SeparationError
        If no finite maximum exists.
    ConvergenceError
        If the iteration does not meet its rule.
    ArgumentError
        If there is no coefficient, or `start`, `tol` or `max_iterations` make no sense.
    """
    if not (isinstance(tol, Real) and 0 < tol < 1):
        raise ArgumentError(f"tol={tol!r} must be a number in (0, 1).")
    if not (is_number(max_iterations, Integral) and max_iterations >= 1):
        raise ArgumentError(f"max_iterations={max_iterations!r} must be a whole number from 1.")
    if problem.matrix.shape[1] == 0:
        raise ArgumentError("the model has no coefficient; add a term to the formula.")
    start = _last(problem) if start is None else checked_start(problem, start)
    shapes = None
    try:
        if problem.family.shape:
            shapes = estimate_shapes(
                problem, phi=phi, start=start, tol=tol, max_iterations=max_iterations
            )
            problem, start = shapes.problem, shapes.beta
        solution, mask = maximise(
            problem, start=start, tol=tol, max_iterations=max_iterations, check_rank=aliased,
            cheap=cheap, measured=False,
        )  # fmt: skip
    except ExpfamError as failure:
        kept = ~(aliased_in(blocks_of(problem)) if isinstance(problem, Streamed) else
                 aliased(problem.matrix))  # fmt: skip
        _refuse_separated(restrict_columns(problem, kept), cause=failure)
        raise
    notes = [shapes.note] if shapes is not None and shapes.note else []
    if mask.any():
        notes.append(warn_aliased(problem.labels, mask))
    kept_problem = restrict_columns(problem, ~mask)
    blocks = blocks_of(kept_problem)
    measured = _measured(kept_problem, blocks, solution, tol)
    if measured is None:
        return find_maximum(
            problem, start=None if solution.sums is None else solution.beta, tol=tol,
            max_iterations=max_iterations, phi=phi, cheap=False,
        )  # fmt: skip
    solution, measures = measured
    if measures.near_edge:
        _refuse_separated(kept_problem)
    if measures.near_edge or not np.isfinite(measures.deviance):
        refuse_boundary(kept_problem, blocks, solution.beta)
    if solution.perfect:
        notes.append(
            "the fit is perfect: the residuals are rounding errors, so the dispersion is zero and "
            "there are no standard errors."
        )
        warn(notes[-1], FitWarning)
    return Maximum(kept_problem, mask, solution, blocks, measures, tuple(notes), shapes)


def _measured(
    problem: Problem, blocks: Blocks, solution: Solution, tol: float
) -> tuple[Solution, Fitness] | None:
    """What the rows say at β̂; None where they do not confirm it.

    Where nothing but scores was seen so far, or the rows are read anew in each pass, with the
    information at β̂ itself: one row may rule a direction, so that no way is short for it.
    """
    if solution.confirmed:
        return solution, fitness(problem, blocks, solution.beta, solution.objective)
    informed = solution.sums is None or isinstance(problem, Streamed)
    for _ in range(_MOST_LOOKS):
        found = fitness(problem, blocks, solution.beta, solution.objective, informed)
        if found.information is not None:
            there = np.isfinite(found.information).all() and found.admissible
            factor = factor_gram(found.information) if there else None
            if factor is None or factor.smallest_pivot < DOUBTFUL_PIVOT:
                return None
            solution = replace(solution, factor=factor)
        family, step = problem.family, solution.factor.solve(found.score)
        known = family.phi is not None
        spread = float(family.a(family.phi)) if known else found.pearson / problem.n
        decrement = float(solution.factor.length(step) / np.sqrt(spread))
        if decrement < tol:
            return replace(solution, decrement=decrement), found
        if not (informed and decrement < _SHORT):
            return None
        solution = replace(solution, beta=solution.beta + step, sums=None)
    return None


def _last(problem: Problem) -> np.ndarray | None:
    """The last β of a fit that was interrupted."""
    held = problem.held.get("beta") if isinstance(problem, Streamed) else None
    return held if held is not None and held.size == problem.matrix.shape[1] else None


def checked_start(problem: Problem, start: ArrayLike) -> np.ndarray:
    """The given start as one finite number for each coefficient."""
    try:
        first = np.asarray(start, dtype=float)
    except (TypeError, ValueError):
        first = np.array(np.nan)
    p = problem.matrix.shape[1]
    if first.shape != (p,) or not np.all(np.isfinite(first)):
        raise ArgumentError(
            f"start={start!r} must be {p} finite number(s), one for each of "
            f"{', '.join(problem.labels)}."
        )
    return first


def _refuse_separated(problem: Problem, cause: Exception | None = None) -> None:
    if isinstance(problem, Streamed):
        direction = direction_in_batches(problem)
    else:
        direction = separating_direction(problem)
    if direction is not None:
        raise SeparationError(separation_message(problem, direction)) from cause
