"""From a problem to its maximum: aliasing, a cheap start, and Fisher scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ExpfamError
from expfam_glm.mle.irls import Doubtful, Scoring, Solution

# From this many rows on, a fit to a subsample of about so many rows gives the start.
_SUBSAMPLE_FROM = 100_000
_SUBSAMPLE_ROWS = 20_000


def maximise(
    problem: Problem,
    *,
    start: np.ndarray | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
    check_rank: Callable[[np.ndarray], np.ndarray],
) -> tuple[Solution, np.ndarray]:
    """β̂ of the columns that are not aliased, and the mask of those that are.

    Parameters
    ----------
    problem : Problem
    start : ndarray, shape (p,), optional
        Where to begin; the fit to g((y + ȳ)/2) if not given.
    tol : float
        Bound on the relative change of the deviance and on √(UᵀI⁻¹U).
    max_iterations : int
    check_rank : callable
        X → mask of aliased columns; asked only where the Gram matrix is in doubt.

    Returns
    -------
    Solution, ndarray of bool, shape (p,)
    """
    scoring = partial(Scoring, tol=tol, max_iterations=max_iterations)
    everything = np.zeros(problem.X.shape[1], bool)
    blocks = MemoryBlocks(problem)
    try:
        first = start
        if start is None and problem.row_count >= _SUBSAMPLE_FROM:
            first = _subsample_fit(problem)
        return scoring(problem, blocks).solve(first, start is not None), everything
    except Doubtful:
        mask = check_rank(problem.X)
    if mask.any():
        problem = replace(problem, X=np.ascontiguousarray(problem.X[:, ~mask]))
        start = None if start is None else np.asarray(start)[~mask]
    return scoring(problem, MemoryBlocks(problem), use_qr=True).solve(start), mask


def _subsample_fit(problem: Problem) -> np.ndarray | None:
    """β̂ of every k-th row, a start that saves full passes; None where it cannot be had."""
    step = max(2, problem.row_count // max(_SUBSAMPLE_ROWS, 50 * problem.X.shape[1]))
    w, f, offset = (
        None if v is None else v[::step] for v in (problem.w, problem.f, problem.offset)
    )
    part = replace(
        problem, y=problem.y[::step], X=np.ascontiguousarray(problem.X[::step]), w=w, f=f,
        offset=offset,
    )  # fmt: skip
    scoring = Scoring(part, MemoryBlocks(part), tol=1e-2, max_iterations=25)
    try:
        return scoring.solve().beta
    except (ExpfamError, Doubtful):
        return None
