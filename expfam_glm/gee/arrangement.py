"""The clusters and times of a problem, and the estimating equations on them or on some of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, ConvergenceError, CorrelationError, DataError
from expfam_glm.gee.clusters import code, positions
from expfam_glm.gee.correlation import Correlation
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.solve import solve
from expfam_glm.gee.structures import Structure


class Arrangement:
    """Which rows of a problem share a cluster, and when they were observed.

    Parameters
    ----------
    problem : Problem
    working : Correlation
    groups, time
        As for `GLM.gee`.
    """

    def __init__(
        self, problem: Problem, working: Correlation, groups: Any, time: Any = None
    ) -> None:
        self.problem = problem
        self.working = working
        self.given = time is not None
        every = problem.frame.column(groups, "groups")
        self.labels = problem.restrict(every)
        when = self._times(every, time)
        self.time = None if when is None else problem.restrict(when)

    def _times(self, labels: np.ndarray, time: Any) -> np.ndarray | None:
        """Times of the rows of the frame: given, or the order of rows within clusters."""
        if time is not None:
            return self.problem.frame.column(time, "time")
        if not self.working.needs_time:
            return None
        if self.problem.frame.n_dropped:
            raise ArgumentError(
                f"{self.problem.frame.n_dropped} row(s) with missing values were dropped, so the "
                "order of the rows that are left does not tell their times; give time= for "
                f"correlation={self.working.name!r}."
            )
        return positions(labels)

    def constant_data(self) -> dict[str, np.ndarray]:
        """What the result tree keeps."""
        kept = {"groups": self.labels}
        if self.given and self.time is not None:
            kept["time"] = self.time
        return kept

    def structure(self, kept: np.ndarray | slice = slice(None)) -> Structure:
        """The working correlation on the clusters, or on some of the rows."""
        problem = self.problem

        def column(source: Any, role: str) -> np.ndarray:
            return problem.restrict(problem.frame.column(source, role))[kept]

        time = None if self.time is None else self.time[kept]
        return self.working.on(self.labels[kept], time, self.given, column)

    @cached_property
    def whole(self) -> Structure:
        """The working correlation on all clusters."""
        return self.structure()

    def equations(
        self, inner: Problem, ddof: str, dispersion: float | None, alpha: ArrayLike | None
    ) -> Equations:
        """The estimating equations of the problem without its aliased columns."""
        structure = self.whole
        parameter = None if alpha is None else structure.given_alpha(alpha)
        return Equations(
            inner.family, inner.link, inner.y, inner.X, inner.w, inner.offset, structure, ddof,
            dispersion, parameter,
        )  # fmt: skip

    def occasions(self, equations: Equations) -> np.ndarray:
        """Numbers of times, or positions within clusters, in the order of the clusters."""
        clusters = equations.structure.clusters
        if self.time is None or not self.given:
            return clusters.position
        return code(self.time).codes[clusters.order]


def leave_one_out(
    rows: Arrangement,
    inner: Problem,
    equations: Equations,
    state: State,
    tol: float,
    max_iterations: int,
) -> np.ndarray:
    """β̂ without each of the clusters (K, p): moments and β estimated again, from β̂ on.

    Raises
    ------
    CorrelationError, ConvergenceError
        If a fit without some cluster fails; the message names the cluster.
    """
    clusters = equations.structure.clusters
    found = np.empty((clusters.count, state.beta.size))
    ends = np.append(clusters.starts, clusters.order.shape[0])
    for k in range(clusters.count):
        kept = np.ones(clusters.order.shape[0], bool)
        kept[clusters.order[ends[k] : ends[k + 1]]] = False
        w, offset = (None if v is None else v[kept] for v in (inner.w, inner.offset))
        try:
            part = Equations(
                inner.family, inner.link, inner.y[kept], inner.X[kept], w, offset,
                rows.structure(kept), equations.ddof, equations.dispersion, equations.parameter,
            )  # fmt: skip
            found[k] = solve(part, state.beta, tol=tol, max_iterations=max_iterations).state.beta
        except (CorrelationError, ConvergenceError, DataError) as failure:
            raise type(failure)(
                f"the jackknife cannot leave out cluster {clusters.labels[k]!s}: {failure}"
            ) from failure
    return found
