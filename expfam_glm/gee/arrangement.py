"""The clusters and times of a problem."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from expfam_glm.data.codes import code
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.clusters import positions
from expfam_glm.gee.structures import Structure
from expfam_glm.gee.whole import Whole


class Arrangement:
    """Which rows of a problem share a cluster, and when they were observed.

    Parameters
    ----------
    problem : Problem
    working : Correlation
    groups, time
        As for `GLM.gee`.
    of : Whole, optional
        What these clusters are a part of, where the rows are read in batches.
    """

    def __init__(
        self, problem: Problem, working: Correlation, groups: Any, time: Any = None,
        of: Whole | None = None,
    ) -> None:  # fmt: skip
        self.problem = problem
        self.working = working
        self.of = of
        self.given = time is not None
        every = problem.frame.column(groups, "groups")
        self.labels = problem.restrict(every)
        when = self._times(every, time)
        self.time = None if when is None else problem.restrict(when)

    @property
    def counted(self) -> bool:
        """Whether the order of the rows stands for their times."""
        return self.time is not None and not self.given

    def _times(self, labels: np.ndarray, time: Any) -> np.ndarray | None:
        """Times of the rows of the frame: given, or the order of rows within clusters."""
        if time is not None:
            return self.problem.frame.column(time, "time")
        if not self.working.needs_time:
            return None
        if self.problem.frame.n_dropped:
            refuse_dropped(self.problem.frame.n_dropped, self.working)
        return positions(labels)

    def constant_data(self) -> dict[str, np.ndarray]:
        """What the result tree keeps: with it the same clusters can be arranged again."""
        kept = {"groups": self.labels}
        lost = self.problem.used is not None  # rows, and with them their places in the clusters
        if self.time is not None and (self.given or lost):
            kept["time"] = self.time
        return kept | self.working.columns(self.column)

    def structure(self, kept: np.ndarray | slice = slice(None)) -> Structure:
        """The working correlation on the clusters, or on some of the rows."""

        def column(source: Any, role: str) -> np.ndarray:
            return self.column(source, role)[kept]

        time = None if self.time is None else self.time[kept]
        return self.working.on(self.labels[kept], time, self.given, column, self.of)

    def column(self, source: Any, role: str) -> np.ndarray:
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
        if self.of is None:
            return code(self.time).codes[clusters.order]
        return self.of.numbered(self.time).codes[clusters.order]


def check_grouping(groups: Any, names: Sequence[str]) -> None:
    """Refuse several grouping variables."""
    if isinstance(groups, list | tuple) and len(groups) > 1 and set(map(str, groups)) <= {*names}:
        raise ArgumentError(
            f"gee takes one grouping, not groups={list(groups)!r}: name the one whose clusters are "
            f"independent. Groups inside of it are for the correlation: with groups={groups[0]!r}, "
            f"correlation=expfam_glm.correlations.Nested({groups[1]!r}). Several ways of "
            "clustering that cross are for fit(cov='CR1S', groups=[…])."
        )


def refuse_dropped(count: int, working: Correlation) -> NoReturn:
    """Without its dropped rows a cluster does not tell the times of the others."""
    raise ArgumentError(
        f"{count} row(s) with missing values were dropped, so the order of the rows that are left "
        f"does not tell their times; give time= for correlation={working.name!r}."
    )
