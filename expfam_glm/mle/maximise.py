"""From a problem to its maximum: aliasing, a cheap start, and Fisher scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks, blocks_of
from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.data.stream import Streamed
from expfam_glm.data.thin import STEP, thinned
from expfam_glm.errors import ExpfamError
from expfam_glm.kernels.coded import Coded, Matrix
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.threads import one_blas
from expfam_glm.mle.irls import Doubtful, Guide, Scoring, Solution
from expfam_glm.mle.rank import aliased_in, plainly_aliased
from expfam_glm.mle.secants import Secants

# From this many rows on, a fit to a tenth of the rows gives the start (and so on downwards). It is
# about three standard errors off.
_SUBSAMPLE_FROM = 50_000
# How near to its own maximum the fit to a subsample goes, in its standard errors (each way).
_SUBSAMPLE_TOL = 0.05
_SUBSAMPLE_NEAR = 0.25
# Of a design of levels, all sums take as long as so many scores, and the tenth is to have so many
# rows for each column.
_CODED_SUMS, _CODED_ROWS = 4.0, 100
_MOST_STEPS = 20
# A step of this many times √n standard errors takes a hundredth off the deviance of a parabola.
_PARABOLA = 0.1


def maximise(
    problem: Problem,
    *,
    start: np.ndarray | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
    check_rank: Callable[[Matrix], np.ndarray],
    shapes: tuple[float, ...] = (),
    cheap: bool = True,
    measured: bool = True,
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
    shapes : tuple of float
        Values of the family's free shape parameters, held here.
    cheap : bool
        Whether a part of many rows may begin the fit.
    measured : bool
        Whether the last pass for all sums is to be made here: else there may be none.

    Returns
    -------
    Solution, ndarray of bool, shape (p,)
    """
    scoring = partial(Scoring, tol=tol, max_iterations=max_iterations, shapes=shapes)
    everything = np.zeros(problem.matrix.shape[1], bool)
    blocks = blocks_of(problem)
    try:
        known = start is not None or bool(shapes) or not cheap
        if known or problem.row_count < _fewest_rows(problem.matrix):
            return scoring(problem, blocks).solve(start), everything
        if _is_parabola(problem):  # one step leads to its top from anywhere, but for rounding
            near = _PARABOLA * np.sqrt(problem.row_count)
        elif measured or isinstance(problem, Streamed):
            # over so short a way the information of most data changes by less than the tolerance
            near = tol * np.sqrt(problem.row_count / problem.matrix.shape[1])
        else:
            near = tol
        with one_blas():
            first = _cheap_start(problem, near)
            if first.top is not None and not measured:
                return first.top, everything
            whole = scoring(problem, blocks, guide=first.guide)
            try:
                return whole.solve(first.beta, required=False, near=near), everything
            except ExpfamError:
                if first.beta is None:
                    raise
                return scoring(problem, blocks).solve(None), everything  # the part misled
    except Doubtful:
        plain = plainly_aliased(problem.matrix)
        if plain.any():  # without them there may be no doubt, and QR has dense rows
            solution, mask = maximise(
                restrict_columns(problem, ~plain), tol=tol, max_iterations=max_iterations,
                start=None if start is None else np.asarray(start)[~plain],
                check_rank=check_rank, shapes=shapes,
            )  # fmt: skip
            plain[~plain] = mask
            return solution, plain
        mask = aliased_in(blocks) if isinstance(problem, Streamed) else check_rank(problem.matrix)
    if mask.any():
        problem = restrict_columns(problem, ~mask)
        start = None if start is None else np.asarray(start)[~mask]
    return scoring(problem, blocks_of(problem), use_qr=True).solve(start), mask


class _Start(NamedTuple):
    """Where a fit begins."""

    beta: np.ndarray | None = None  # near the maximum, for few full passes
    guide: Guide | None = None  # where these take long
    top: Solution | None = None  # where β is the maximum itself, as far as scores can tell


def _cheap_start(problem: Problem, near: float) -> _Start:
    """β near the maximum, from some of the rows.

    β̂ of a tenth of the rows, led on by quasi-Newton steps with the score of all rows, whose first
    information is that of the tenth, until it is within `near` standard errors: a pass for the
    score alone costs an eighth to a half of a full one.
    """
    part = problem.sample if isinstance(problem, Streamed) else thinned(problem)
    near_part = _SUBSAMPLE_NEAR * np.sqrt(problem.matrix.shape[1])
    start = None
    if part.row_count >= _fewest_rows(part.matrix):
        start = _cheap_start(part, near_part).beta
    parabola = _is_parabola(problem)
    if parabola and start is not None:
        return _Start(start)
    small = Scoring(part, MemoryBlocks(part), tol=_SUBSAMPLE_TOL, max_iterations=25)
    try:
        solution = small.solve(start, required=False, near=near_part)
    except (ExpfamError, Doubtful):
        return _Start()
    share = part.row_count / problem.row_count
    if parabola or solution.perfect:
        return _Start(solution.beta)
    if isinstance(problem, Streamed):  # a pass for the score alone costs as much as a full one
        return _Start(solution.beta, Guide(small, share))
    scoring = replace(small, problem=problem, blocks=blocks_of(problem))
    assert solution.sums is not None
    spread = np.sqrt(small.dispersion(solution.sums) * share)
    most = 2 * _scores_of_sums(problem.matrix)  # two passes for all sums would take as long
    secants = Secants(lambda score: solution.factor.solve(score) * share)
    beta, length = solution.beta, np.inf
    for number in range(1, _MOST_STEPS + 1):
        score = scoring.score(beta)
        if score is None:
            return _Start()
        step = secants.step(beta, score)
        previous, length = length, solution.factor.length(step) / spread
        if not length <= previous / 2:
            break
        beta = beta + step
        ratio = length / previous
        if length * ratio < near and length * length < near:
            top = replace(
                solution, beta=beta, sums=None, iterations=number, decrement=np.nan, confirmed=False
            )
            return _Start(beta, top=top)
        if 0 < ratio and np.log(near / length) / np.log(ratio) > most:
            break
    return _Start(beta)


def _fewest_rows(X: Matrix) -> int:
    """From how many rows on a fit to a tenth of them pays."""
    if isinstance(X, Coded):
        return max(_SUBSAMPLE_FROM, STEP * _CODED_ROWS * X.shape[1])
    return _SUBSAMPLE_FROM


def _scores_of_sums(X: Matrix) -> float:
    """As many passes for the score alone take as long as one for all sums."""
    return _CODED_SUMS if isinstance(X, Coded) else 2.0 + X.shape[1] / 20


def _is_parabola(problem: Problem) -> bool:
    """Whether the likelihood is a parabola in β: η is θ, and every row has the same weight W."""
    family, link = problem.family, problem.link
    if not family.is_canonical(link):
        return False
    (W,) = row_kernel(family, link, ("weight",), True)(np.zeros(1), np.ones(1), 1.0)
    return np.ndim(W) == 0
