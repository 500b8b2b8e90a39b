"""The clusters and times of a problem."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from expfam_glm.data.codes import code
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.clusters import positions
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
        """What the result tree keeps: with it the same clusters can be arranged again."""
        kept = {"groups": self.labels}
        lost = self.problem.used is not None  # rows, and with them their places in the clusters
        if self.time is not None and (self.given or lost):
            kept["time"] = self.time
        return kept | self.working.columns(self._column)

    def structure(self, kept: np.ndarray | slice = slice(None)) -> Structure:
        """The working correlation on the clusters, or on some of the rows."""

        def column(source: Any, role: str) -> np.ndarray:
            return self._column(source, role)[kept]

        time = None if self.time is None else self.time[kept]
        return self.working.on(self.labels[kept], time, self.given, column)

    def _column(self, source: Any, role: str) -> np.ndarray:
        """A further column at the used rows."""
        return self.problem.restrict(self.problem.frame.column(source, role))

    @cached_property
    def whole(self) -> Structure:
        """The working correlation on all clusters."""
        return self.structure()

    def occasions(self) -> np.ndarray:
        """Numbers of times, or positions within clusters, in the order of the clusters."""
        clusters = self.whole.clusters
        if self.time is None or not self.given:
            return clusters.position
        return code(self.time).codes[clusters.order]
