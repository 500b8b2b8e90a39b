"""Estimating equations of rows that are read in batches of whole clusters."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from expfam_glm.data.clustered import clustered
from expfam_glm.data.codes import code
from expfam_glm.data.frames import open_table
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import DataError
from expfam_glm.gee.arrangement import Arrangement, refuse_dropped
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.clusters import arrange
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.lags import refuse_many
from expfam_glm.gee.part import Part
from expfam_glm.gee.structures import Structure
from expfam_glm.gee.unusable import refuse_one
from expfam_glm.gee.whole import MANY, Counted, Distinct, Example, Whole


@contextmanager
def arranged(
    problem: Problem, working: Correlation, groups: Any, time: Any = None
) -> Iterator[Arrangement]:
    """The clusters of a problem; while the context lasts, where they are read in batches."""
    if not isinstance(problem, Streamed):
        yield Arrangement(problem, working, groups, time)
        return
    source, recipe, _ = problem.reading
    _refuse(problem, working, groups, time)
    columns = [name for name in (groups, time, *working.further()) if name is not None]
    _check_complete(problem, {"groups": groups, "time": time})
    with clustered(source, groups, [*recipe.columns, *columns]) as rows:
        yield StreamedArrangement(replace(problem, source=rows), working, groups, time, columns)


def _refuse(problem: Streamed, working: Correlation, groups: Any, time: Any) -> None:
    """What batches cannot serve."""
    source, _, scan = problem.reading
    given = {"groups": groups, "time": time}
    given |= {f"level {k}": level for k, level in enumerate(working.further(), 1)}
    table = problem.frame.table
    for role, name in given.items():
        if name is None and role == "time":
            continue
        if not isinstance(name, str):
            raise DataError(
                f"{role} must name a column of {source.name!r}: data that are read in batches have "
                "no place for an array beside them."
            )
        if name not in source.names:
            table.column(name, role)  # says which names are near
    if not working.additive:
        raise DataError(
            f"a {working.name!r} working correlation takes all residuals at once, but the rows of "
            f"this model are read in batches from {source.name!r}: its alpha is not made of sums "
            "over clusters. Use a plain one, or read the data into a data frame."
        )
    if working.needs_time and time is None and scan.dropped:
        refuse_dropped(scan.dropped, working)


def _check_complete(problem: Streamed, named: dict[str, str | None]) -> None:
    """Refuse columns that are none, or lack a value, while the rows have the numbers of the data.

    A copy in the order of the clusters has lost these.
    """
    source, recipe, _ = problem.reading
    roles = {role: name for role, name in named.items() if name is not None}
    if all(_is_complete(table) for table in source.tables(list(dict.fromkeys(roles.values())))):
        return
    seen = 0
    for table in source.tables(list(dict.fromkeys([*recipe.columns, *roles.values()]))):
        if not _is_complete(table.select(list(dict.fromkeys(roles.values())))):
            part = recipe.problem(table, seen)
            frame = None if part is None else part.frame
            for role, name in roles.items() if frame is not None else ():
                try:
                    assert frame is not None
                    frame.column(name, role)
                except DataError as error:
                    stop = seen + table.num_rows - 1
                    raise DataError(
                        f"in rows {seen} to {stop} (here counted from 0): {error}"
                    ) from error
        seen += table.num_rows


def _is_complete(table: Any) -> bool:
    """Whether every column has a plain value in each row."""
    columns = [open_table(table).column(name) for name in table.column_names]
    return all(column.missing is None and column.infinite is None for column in columns)


class StreamedArrangement(Arrangement):
    """The same of a problem whose batches are of whole clusters.

    Parameters
    ----------
    problem : Streamed
    working : Correlation
    groups, time : str
    columns : sequence of str
        These and what else is read beside the columns of the design.
    """

    problem: Streamed
    of: Whole

    def __init__(
        self, problem: Streamed, working: Correlation, groups: str, time: str | None,
        columns: Sequence[str],
    ) -> None:  # fmt: skip
        self.problem = problem
        self.working = working
        self.names = (groups, time)
        self.columns = columns
        self.given = time is not None
        self.of = self._census()

    @property
    def counted(self) -> bool:
        return self.working.needs_time and not self.given

    def total[T](
        self, problem: Streamed, function: Callable[[Problem, Arrangement], T],
        add: Callable[[T, T], T], of: Whole | None = None,
    ) -> T:  # fmt: skip
        """The sum of a function of each batch of the problem and its clusters."""
        whole = self.of if of is None else of
        one = partial(_of_batch, function, self.working, self.names, whole)
        return problem.total(one, add, self.columns)

    def constant_data(self) -> dict[str, np.ndarray]:
        """Nothing: the tree names the columns."""
        return {}

    @cached_property
    def whole(self) -> Structure:
        """The working correlation on the largest cluster, which knows of all the others."""
        return self._example(self.of)

    def _example(self, of: Whole) -> Structure:
        example = of.example
        assert example is not None
        labels, time = example.labels, example.time
        columns = dict(zip(self.working.further(), example.further, strict=True))
        when = time if self.working.needs_time else None
        return self.working.on(labels, when, self.given, lambda name, role: columns[name], of)

    def _census(self) -> Whole:
        """What is known of all clusters, from one pass over the rows, or two."""
        start = Whole(first=self._first_date())
        found = self.total(self.problem, lambda _, rows: _seen(rows), operator.add, start)
        if found.totals.clusters < 2:
            assert found.example is not None
            refuse_one(found.example.label, found.totals.rows)
        if self._example(found).counted() is None:
            return found
        counted = self.total(self.problem, lambda _, rows: rows.whole.counted(), _merged, found)
        return replace(found, counted=_merged(counted, None))

    def _first_date(self) -> np.ndarray | None:
        """The earliest time (1,), where distances are counted from dates."""
        name, source = self.names[1], self.problem.reading[0]
        if name is None or not self.working.metric:
            return None
        first: np.ndarray | None = None
        for table in source.tables([name]):
            times = open_table(table).column(name, "time").array()
            if times.dtype.kind not in "Mm":
                return None
            times = times[~np.isnat(times)]
            found = [v for v in (first, times) if v is not None and v.size]
            first = np.concatenate(found).min(keepdims=True) if found else None
        return first


def _of_batch[T](
    function: Callable[[Problem, Arrangement], T],
    working: Correlation,
    names: tuple[str, str | None],
    whole: Whole,
    part: Problem,
    table: Any,
) -> T:
    """A function of a batch and its clusters, which are columns of its table."""
    try:
        rows = Arrangement(part, working, *names, whole)
    except DataError as error:
        raise DataError(f"in a batch of {table.num_rows} rows: {error}") from error
    return function(part, rows)


def _seen(rows: Arrangement) -> Whole:
    """What is known of the clusters of a batch."""
    working, of = rows.working, rows.of
    when = rows.time if working.needs_time else None
    clusters = arrange(rows.labels, when, metric=working.metric, of=of)
    own = clusters.order[: clusters.largest]
    example = Example(
        clusters.labels[0], clusters.largest, rows.labels[own],
        None if rows.time is None else rows.time[own],
        tuple(column[own] for column in working.columns(rows.column).values()),
    )  # fmt: skip
    assert of is not None
    times = of.times if rows.time is None else Distinct(code(rows.time).levels)
    spans = Distinct(np.unique(clusters.own_steps)) if working.metric else of.spans
    return Whole(clusters.own_totals, example, times, spans, first=of.first)


def _merged(one: Counted | None, other: Counted | None) -> Counted:
    """Counts of pairs added, while there are few distances."""
    assert one is not None
    both = one if other is None else one + other
    if both.keys.size > MANY:
        refuse_many()
    return both


@dataclass(frozen=True, eq=False)
class StreamedEquations(Equations):
    """The same as sums over batches; y and X are empty."""

    problem: Streamed | None = None
    rows_of: StreamedArrangement | None = None

    @property
    def streamed(self) -> Streamed:
        """Where the rows come from."""
        assert self.problem is not None
        return self.problem

    @property
    def n(self) -> int:
        return self.streamed.row_count

    @property
    def always_full(self) -> bool:
        return True  # reading the rows takes longer than either

    def total[T](self, function: Callable[[Part], T], add: Callable[[T, T], T] = operator.add) -> T:
        assert self.rows_of is not None
        return self.rows_of.total(self.streamed, partial(_of_clusters, function), add)

    def evaluate(self, beta: np.ndarray) -> State | None:
        state = super().evaluate(beta)
        if state is not None:
            self.streamed.held["gee"] = beta  # where an interrupted fit goes on
        return state


def _of_clusters[T](function: Callable[[Part], T], part: Problem, rows: Arrangement) -> T:
    """A function of the clusters of a batch."""
    of = part.family, part.link, part.y, part.matrix, part.w, part.offset, rows.whole
    return function(Part(*of, occasions=rows.occasions))


def equations(
    problem: Problem,
    rows: Arrangement,
    ddof: str,
    dispersion: float | None,
    parameter: np.ndarray | None,
) -> Equations:
    """The equations of a problem, in memory or read in batches."""
    of = (
        problem.family,
        problem.link,
        problem.y,
        problem.matrix,
        problem.w,
        problem.offset,
        rows.whole,
    )
    options = (ddof, dispersion, parameter)
    if isinstance(rows, StreamedArrangement):
        assert isinstance(problem, Streamed)
        return StreamedEquations(*of, *options, problem, rows)
    return Equations(*of, *options, occasions=rows.occasions)
