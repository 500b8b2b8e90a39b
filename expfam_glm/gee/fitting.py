"""From a problem to the solution of its estimating equations: where to begin, and what may fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import ConvergenceError, CorrelationError, DataError, ExpfamError
from expfam_glm.gee.arrangement import Arrangement
from expfam_glm.gee.equations import Equations
from expfam_glm.gee.solve import Ruler, Solution, solve
from expfam_glm.gee.streamed import equations
from expfam_glm.kernels.threads import one_blas
from expfam_glm.mle.linear import DOUBTFUL_PIVOT
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.maximum import find_maximum
from expfam_glm.mle.rank import aliased

# From this many rows on, a fit to a tenth of the clusters gives the start. It is about three
# standard errors off, from where a few more looks reach the tolerance.
_SAMPLE_FROM = 50_000
_SAMPLE_STEP = 10
_ROWS_A_COEFFICIENT = 20  # clusters of a sample for each coefficient
_SAMPLE_TOL = 0.01
# A fitted mean this near to an edge of the support asks whether a maximum exists.
_NEAR_EDGE = 1e-6


class Options(NamedTuple):
    """How the equations are set up and solved; see `GLM.gee`."""

    ddof: str
    dispersion: float | None
    alpha: ArrayLike | None
    start: ArrayLike | None
    tol: float
    max_iterations: int


@dataclass(frozen=True, eq=False)
class Fit:
    """A solution and what was found on the way to it."""

    problem: Problem  # restricted to the kept columns
    aliased: np.ndarray  # (all p,)
    options: Options
    equations: Equations
    solution: Solution
    notes: tuple[str, ...]


@one_blas()
def fitted(rows: Arrangement, options: Options) -> Fit:
    """Solve the estimating equations of a problem.

    Raises
    ------
    SeparationError
        If no finite estimate exists under independence.
    ConvergenceError, CorrelationError
        As `solve`.
    """
    problem = rows.problem
    structure = rows.whole
    parameter = None if options.alpha is None else structure.given_alpha(options.alpha)

    def all_of(inner: Problem) -> Equations:
        return equations(inner, rows, options.ddof, options.dispersion, parameter)

    in_memory = not isinstance(problem, Streamed)
    if in_memory and options.start is None and problem.row_count >= _SAMPLE_FROM:
        found = _by_sample(rows, all_of(problem), options)
        if found is not None:
            nothing = np.zeros(problem.matrix.shape[1], bool)
            return Fit(problem, nothing, options, found[0], found[1], ())
    maximum = find_maximum(problem, start=options.start)
    whole = all_of(maximum.problem)
    start = _last(problem, maximum.solution.beta) if options.start is None else None
    if start is None:
        start = maximum.solution.beta
    try:
        solution = solve(whole, start, tol=options.tol, max_iterations=options.max_iterations)
    except ExpfamError:
        if isinstance(problem, Streamed):  # from where it failed the next fit is not to begin
            problem.held.clear()
        raise
    return Fit(maximum.problem, maximum.aliased, options, whole, solution, tuple(maximum.notes))


def _last(problem: Problem, beta: np.ndarray) -> np.ndarray | None:
    """The last β of a fit that was interrupted, of as many coefficients."""
    held = problem.held.get("gee") if isinstance(problem, Streamed) else None
    return held if held is not None and held.size == beta.size else None


def _equations(
    inner: Problem,
    rows: Arrangement,
    options: Options,
    parameter: np.ndarray | None,
    kept: np.ndarray,
) -> Equations:
    """The equations of some rows of a problem."""
    w, offset = (None if v is None else v[kept] for v in (inner.w, inner.offset))
    return Equations(
        inner.family, inner.link, inner.y[kept], inner.matrix[kept], w, offset,
        rows.structure(kept), options.ddof, options.dispersion, parameter,
    )  # fmt: skip


def _by_sample(
    rows: Arrangement, whole: Equations, options: Options
) -> tuple[Equations, Solution] | None:
    """The solution from the start that a tenth of the clusters gives; None where in doubt.

    Doubtful are columns that may be collinear, data that may be separated, and whatever fails:
    the road by the fit under independence finds the reason.
    """
    try:
        start = _sampled(rows, options, whole.parameter)
        if start is None:
            return None
        beta, ruler = start
        # over so short a way moments and covariances change by about the tolerance
        near = options.tol * np.sqrt(whole.n / beta.size)
        found = solve(
            whole, beta, ruler=ruler, tol=options.tol, max_iterations=options.max_iterations,
            near=near,
        )  # fmt: skip
    except ExpfamError:
        return None
    state = found.state
    if state.bread.smallest_pivot < DOUBTFUL_PIVOT or _near_edge(rows.problem, state.sums.span):
        return None
    return whole, found


def _sampled(
    rows: Arrangement, options: Options, parameter: np.ndarray | None
) -> tuple[np.ndarray, Ruler] | None:
    """β̂ and bread of a tenth of the clusters; None if these are too few."""
    problem, clusters = rows.problem, rows.whole.clusters
    chosen = np.arange(0, clusters.count, _SAMPLE_STEP)
    if chosen.size < _ROWS_A_COEFFICIENT * problem.matrix.shape[1]:
        return None
    kept = np.zeros(problem.row_count, bool)
    inside = np.zeros(clusters.count, bool)
    inside[chosen] = True
    kept[clusters.order[clusters.spread(inside)]] = True
    sample = _equations(problem, rows, options, parameter, kept)
    part = replace(problem, y=sample.y, matrix=sample.X, w=sample.w, offset=sample.offset)
    start, mask = maximise(part, tol=_SAMPLE_TOL, check_rank=aliased)
    if mask.any():
        return None
    near = solve(sample, start.beta, tol=_SAMPLE_TOL).state
    return near.beta, Ruler(near, share=part.row_count / problem.row_count)


def _near_edge(problem: Problem, span: tuple[float, float]) -> bool:
    """Whether a fitted mean has all but reached an edge of the support."""
    space, support = problem.family.mean_space, problem.family.support
    edges = [e for e in (space.low, space.high) if np.isfinite(e) and support.contains(e)]
    means = np.asarray(problem.link.inverse(np.array(span)))
    return any(bool(np.any(np.abs(means - edge) < _NEAR_EDGE)) for edge in edges)


def leave_one_out(rows: Arrangement, fit: Fit) -> np.ndarray:
    """β̂ without each of the clusters (K, p): moments and β estimated again, from β̂ on.

    Raises
    ------
    CorrelationError, ConvergenceError, DataError
        If a fit without some cluster fails; the message names the cluster.
    """
    clusters, options = fit.equations.structure.clusters, fit.options
    beta = fit.solution.state.beta
    found = np.empty((clusters.count, beta.size))
    ends = np.append(clusters.starts, clusters.order.shape[0])
    for k in range(clusters.count):
        kept = np.ones(clusters.order.shape[0], bool)
        kept[clusters.order[ends[k] : ends[k + 1]]] = False
        try:
            part = _equations(fit.problem, rows, options, fit.equations.parameter, kept)
            found[k] = solve(
                part, beta, tol=options.tol, max_iterations=options.max_iterations
            ).state.beta
        except (CorrelationError, ConvergenceError, DataError) as failure:
            raise type(failure)(
                f"the jackknife cannot leave out cluster {clusters.labels[k]!s}: {failure}"
            ) from failure
    return found
