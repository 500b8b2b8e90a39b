"""A problem whose rows stay where they are: made again batch by batch in every pass.

A scan freezes the levels of factors and the statistics of `center` and `scale`; then every batch
gives a `Problem` of its own, by the same code as data in memory, and the sums over them are those
of the whole.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any, NoReturn

import numpy as np

from expfam_glm.data.census import Scan, census
from expfam_glm.data.design import Frame
from expfam_glm.data.frames import Table
from expfam_glm.data.plan import plan_of
from expfam_glm.data.progress import with_bar
from expfam_glm.data.recipe import Recipe
from expfam_glm.data.response import Problem, check_magnitudes
from expfam_glm.data.rows import given_roles
from expfam_glm.data.source import Source, lacks
from expfam_glm.errors import DataError, show_rows
from expfam_glm.kernels.coded import contiguous
from expfam_glm.kernels.threads import ahead
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link


@dataclass(frozen=True)
class Streamed(Problem):
    """A problem without rows of its own; X and y are empty."""

    source: Source | None = None
    recipe: Recipe | None = None
    scan: Scan | None = None
    held: dict[str, np.ndarray] = field(default_factory=dict)  # the last β, by the labels

    @property
    def reading(self) -> tuple[Source, Recipe, Scan]:
        """Where the rows come from."""
        assert self.source is not None and self.recipe is not None and self.scan is not None
        return self.source, self.recipe, self.scan

    @property
    def n(self) -> float:
        return self.reading[2].n

    @property
    def row_count(self) -> int:
        return self.reading[2].rows

    @property
    def described_rows(self) -> str:
        """How many rows there are and where, in words."""
        return f"{self.row_count} rows of {self.reading[0].name}"

    def batches(self, columns: Sequence[str] = ()) -> Iterator[tuple[Problem, Any]]:
        """The problem of each batch, and its table with some further columns, brought here."""
        source, wanted, batching = self._batching(columns)
        return batching(source.tables(wanted), 0)

    def total[T](
        self,
        function: Callable[[Problem, Any], T],
        add: Callable[[T, T], T],
        columns: Sequence[str] = (),
    ) -> T:
        """Sum of `function` of the problem of each batch and its table, on a cluster if one runs.

        `function` and `add` travel to the workers, so they must hold no rows.
        """
        source, wanted, batching = self._batching(columns)
        found = source.total(wanted, partial(_sum_over, batching, function, add), add)
        assert found is not None  # the scan found rows
        return found

    def _batching(self, columns: Sequence[str]) -> tuple[Source, tuple[str, ...], _Batching]:
        source, recipe, scan = self.reading
        recipe = replace(
            recipe, labels=self.labels, family=self.family, checked=True, finite=not scan.dropped
        )
        wanted = tuple(dict.fromkeys([*recipe.columns, *columns]))
        return source, wanted, _Batching(recipe, scan.n / scan.sampling, scan.seen)

    def constant(self) -> Streamed:
        """The same responses under the intercept alone, on the same rows.

        Only the columns it needs are read, unless the others decide which rows are left.
        """
        source, recipe, scan = self.reading
        left = recipe.formula.partition("~")[0]
        offsets = "".join(f" + {text}" for text in _offsets(recipe.formula))
        return _assemble(source, f"{left}~ 1{offsets}", recipe, self, scan)

    def lacks(self, columns: Sequence[str]) -> bool:
        """Whether a row of the data has no value in one of some columns."""
        return bool(self.reading[0].total(columns, _lacking, operator.or_))

    @property
    def constant_response(self) -> bool:
        """Whether all responses are the same."""
        return self.reading[2].low == self.reading[2].high

    @property
    def mean(self) -> float:
        """ȳ, weighted."""
        return self.reading[2].total / self.reading[2].weight

    @property
    def total_weight(self) -> float:
        """Σ f w."""
        scan = self.reading[2]
        return scan.weight * scan.n / scan.sampling

    @property
    def sample(self) -> Problem:
        """Some rows, taken evenly, in memory."""
        _, recipe, scan = self.reading
        if self.labels == recipe.labels:
            return scan.sample
        kept = [recipe.labels.index(label) for label in self.labels]
        frame = replace(scan.sample.frame, labels=self.labels)
        return replace(scan.sample, matrix=contiguous(scan.sample.matrix[:, kept]), frame=frame)

    def show(self, values: np.ndarray, bad: np.ndarray) -> str:
        """Offending values, with their numbers among the rows that are used."""
        return show_rows(values, bad)

    @property
    def obs_id(self) -> Sequence[int]:
        """The numbers of the rows that are used."""
        return range(self.row_count)

    def observed_data(self) -> dict[str, np.ndarray]:
        """Nothing: the tree says where the rows are."""
        return {}

    def constant_data(self) -> dict[str, np.ndarray]:
        """Nothing: the tree says where the rows are."""
        return {}

    def attrs(self) -> dict[str, str | float | int]:
        """Those of any problem, and the source."""
        source, recipe, scan = self.reading
        return {
            **super().attrs(), "rows_dropped": scan.dropped, "data_source": str(source.name),
            "data_columns": json.dumps(recipe.columns),
        }  # fmt: skip


@dataclass(frozen=True)
class _Batching:
    """How tables become problems in a pass over the rows."""

    recipe: Recipe
    share: float  # what sampling weights are multiplied by to have the mean one over all rows
    rows: int

    def __call__(self, tables: Iterator[Any], start: int) -> Iterator[tuple[Problem, Any]]:
        for table in with_bar(ahead(tables), self.rows, "pass over the rows"):
            found = self.recipe.problem(table, start)
            start += table.num_rows
            if found is not None:
                yield _scaled(found, self.share), table


def _sum_over[T](
    batching: _Batching,
    function: Callable[[Problem, Any], T],
    add: Callable[[T, T], T],
    tables: Iterator[Any],
    start: int,
) -> T | None:
    """The sum over some tables; None where no row of them is used."""
    values = (function(*batch) for batch in batching(tables, start))
    first = next(values, None)
    return None if first is None else reduce(add, values, first)


def _lacking(tables: Iterator[Any], start: int) -> bool:
    return any(map(lacks, tables))


def need_rows(problem: Problem, what: str, cells: bool = True) -> None:
    """Refuse what needs all rows at once where they are read in batches.

    `cells` says whether distinct rows with frequencies would do.
    """
    if isinstance(problem, Streamed):
        other = "; or, where many rows share their covariates, use the model's compress()"
        raise DataError(
            f"{what} needs all rows in memory, but those of this model are read in batches from "
            f"{problem.reading[0].name!r}. Read the data into a data frame first"
            f"{other if cells else ''}."
        )


def _scaled(problem: Problem, share: float) -> Problem:
    """A batch whose sampling weights have the mean one over all rows, not over its own."""
    raw = problem.frame.columns.get("sampling_weights")
    if raw is None or problem.sampling is None or problem.w is None:
        return problem
    sampling = problem.restrict(raw) * share
    return replace(problem, sampling=sampling, w=problem.w / problem.sampling * sampling)


def streamed(
    formula: str,
    source: Source,
    roles: Mapping[str, Any],
    family: Family,
    link: Link,
    missing: str = "raise",
    *,
    allow_code: bool = True,
    complete: Sequence[str] = (),
) -> Streamed:
    """The problem of a formula on data that are read in batches.

    Parameters
    ----------
    formula : str
    source : Source
    roles : mapping
        Names of columns.
    family, link
    missing : {"raise", "drop"}
    allow_code : bool
    complete : sequence of str
        Further columns, without whose values a row cannot be used: clusters and times.

    Raises
    ------
    DataError
        For bad rows, with their place in the data; for files that cannot be read.
    FormulaError
        If the formula cannot be read, or needs statistics of all rows that no scan takes.
    """
    given = given_roles(roles)
    for role, column in given.items():
        if not isinstance(column, str):
            raise DataError(
                f"{role} must name a column of {source.name!r}: data that are read in batches have "
                "no place for an array beside them."
            )
    from expfam_glm.data.scan import pilot

    first = pilot(formula, source, given, missing, allow_code, complete)
    state = json.loads(first.frame.design)
    recipe = Recipe(
        formula, given, missing, allow_code, state, first.columns, family, link,
        first.frame.labels, plan_of(state, allow_code), complete=tuple(complete),
    )  # fmt: skip
    empty = replace(first.frame, table=Table(source.names, _Unread(source.name)))
    scan = census(source, recipe, empty)
    check_magnitudes(scan.sample)
    return _problem(source, recipe, empty, scan)


def _assemble(source: Source, formula: str, recipe: Recipe, like: Streamed, scan: Scan) -> Streamed:
    """The problem of another formula on the rows of a known one."""
    from expfam_glm.data.scan import pilot

    first = pilot(formula, source, recipe.roles, recipe.missing, recipe.allow_code)
    whole = recipe.columns if recipe.missing == "drop" else ()
    state = json.loads(first.frame.design)
    other = replace(
        recipe, formula=formula, state=state, labels=first.frame.labels,
        plan=plan_of(state, recipe.allow_code), whole=whole,
        columns=tuple(dict.fromkeys([*first.columns, *whole])),
    )  # fmt: skip
    frame = replace(first.frame, table=like.frame.table)
    X = scan.sample.X[:, :1] * 0 + 1
    return _problem(source, other, frame, replace(scan, sample=replace(scan.sample, matrix=X)))


def _problem(source: Source, recipe: Recipe, frame: Frame, scan: Scan) -> Streamed:
    def empty(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[:0]

    rows = scan.sample
    return Streamed(
        family=recipe.family, link=recipe.link, frame=frame, y=np.empty(0),
        matrix=np.empty((0, len(frame.labels))), w=empty(rows.w), f=empty(rows.f),
        offset=empty(rows.offset), used=None, sampling=empty(rows.sampling),
        source=source, recipe=recipe, scan=scan,
    )  # fmt: skip


@dataclass(frozen=True)
class _Unread:
    """The columns of what is read in batches, for those who ask for one as a whole."""

    source: str

    def __call__(self, name: str) -> NoReturn:
        raise DataError(
            f"{name!r} is a column of {self.source!r}, which is read in batches and never held as "
            "a whole; this needs it in memory: read the data into a data frame."
        )


def _offsets(formula: str) -> list[str]:
    """The offset() terms of a formula as they are written."""
    from expfam_glm.data.formula import parse

    return [f"offset({part.written})" for part in parse(formula).offsets]
