"""A problem whose rows stay where they are: made again batch by batch in every pass.

A scan freezes the levels of factors and the statistics of `center` and `scale`; then every batch
gives a `Problem` of its own, by the same code as data in memory, and the sums over them are those
of the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn

import numpy as np

from expfam_glm.data.design import Frame
from expfam_glm.data.frames import Table
from expfam_glm.data.progress import with_bar
from expfam_glm.data.recipe import Recipe
from expfam_glm.data.response import Problem, check_magnitudes
from expfam_glm.data.rows import given_roles
from expfam_glm.data.source import Source, ahead
from expfam_glm.errors import DataError, show_rows
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

# Doubles of X in the part of the rows that is kept in memory for a start.
_SAMPLE_DOUBLES = 1 << 22
_SAMPLE_ROWS = 1 << 17


@dataclass(frozen=True, eq=False)
class Scan:
    """What one pass over all rows tells."""

    seen: int  # rows of the data
    rows: int  # rows that are used
    dropped: int
    n: float  # Σ f
    weight: float  # Σ f w
    total: float  # Σ f w y
    low: float
    high: float
    sampling: float  # Σ f v of the sampling weights v as given
    sample: Problem  # some rows, taken evenly


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
        """The problem of each batch, and its table with some further columns."""
        source, recipe, scan = self.reading
        recipe = replace(recipe, labels=self.labels, family=self.family)

        def problems() -> Iterator[tuple[Problem, Any]]:
            start = 0
            wanted = dict.fromkeys([*recipe.columns, *columns])
            tables = source.tables(tuple(wanted))
            for table in with_bar(tables, scan.seen, "pass over the rows"):
                found = recipe.problem(table, start)
                start += table.num_rows
                if found is not None:
                    yield _scaled(found, scan), table

        return ahead(problems())

    def constant(self) -> Streamed:
        """The same responses under the intercept alone; only the columns it needs are read."""
        source, recipe, scan = self.reading
        left = recipe.formula.partition("~")[0]
        offsets = "".join(f" + {text}" for text in _offsets(recipe.formula))
        return _assemble(source, f"{left}~ 1{offsets}", recipe, self, scan)

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
        return replace(scan.sample, X=np.ascontiguousarray(scan.sample.X[:, kept]), frame=frame)

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
            **super().attrs(), "rows_dropped": scan.dropped, "data_source": source.name,
            "data_columns": json.dumps(recipe.columns),
        }  # fmt: skip


def need_rows(problem: Problem, what: str) -> None:
    """Refuse what needs all rows at once where they are read in batches."""
    if isinstance(problem, Streamed):
        raise DataError(
            f"{what} needs all rows in memory, but those of this model are read in batches from "
            f"{problem.reading[0].name!r}. Read the data into a data frame first; or, where many "
            "rows share their covariates, use the model's compress()."
        )


def _scaled(problem: Problem, scan: Scan) -> Problem:
    """A batch whose sampling weights have the mean one over all rows, not over its own."""
    raw = problem.frame.columns.get("sampling_weights")
    if raw is None or problem.sampling is None or problem.w is None:
        return problem
    sampling = problem.restrict(raw) * (scan.n / scan.sampling)
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

    first = pilot(formula, source, given, missing, allow_code)
    recipe = Recipe(
        formula, given, missing, allow_code, json.loads(first.frame.design), first.columns,
        family, link, first.frame.labels,
    )  # fmt: skip
    empty = replace(first.frame, table=Table(source.names, _unread(source)))
    scan = _scan(source, recipe)
    check_magnitudes(scan.sample)
    return _problem(source, recipe, empty, scan)


def _assemble(source: Source, formula: str, recipe: Recipe, like: Streamed, scan: Scan) -> Streamed:
    """The problem of another formula on the rows of a known one."""
    from expfam_glm.data.scan import pilot

    first = pilot(formula, source, recipe.roles, recipe.missing, recipe.allow_code)
    state, columns = json.loads(first.frame.design), first.columns
    labels = first.frame.labels
    other = replace(recipe, formula=formula, state=state, columns=columns, labels=labels)
    frame = replace(first.frame, table=like.frame.table)
    X = scan.sample.X[:, :1] * 0 + 1
    return _problem(source, other, frame, replace(scan, sample=replace(scan.sample, X=X)))


def _problem(source: Source, recipe: Recipe, frame: Frame, scan: Scan) -> Streamed:
    def empty(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[:0]

    rows = scan.sample
    return Streamed(
        family=recipe.family, link=recipe.link, frame=frame, y=np.empty(0),
        X=np.empty((0, len(frame.labels))), w=empty(rows.w), f=empty(rows.f),
        offset=empty(rows.offset), used=None, sampling=empty(rows.sampling),
        source=source, recipe=recipe, scan=scan,
    )  # fmt: skip


def _unread(source: Source) -> Any:
    def native(name: str) -> NoReturn:
        raise DataError(
            f"{name!r} is a column of {source.name!r}, which is read in batches and never held as "
            "a whole; this needs it in memory: read the data into a data frame."
        )

    return native


def _offsets(formula: str) -> list[str]:
    """The offset() terms of a formula as they are written."""
    from expfam_glm.data.formula import parse

    return [f"offset({part.written})" for part in parse(formula).offsets]


def _scan(source: Source, recipe: Recipe) -> Scan:
    """Check every row once, count, and keep some of them."""
    wanted = max(1, min(_SAMPLE_ROWS, _SAMPLE_DOUBLES // max(1, len(recipe.labels))))
    step = max(1, -(-source.count // wanted))
    seen = rows = 0
    kept = 0
    sums = np.zeros(4)
    low, high = np.inf, -np.inf
    parts: list[Problem] = []
    for table in with_bar(source.tables(recipe.columns), source.count, "scan of the rows"):
        found = recipe.problem(table, seen)
        seen += table.num_rows
        if found is None:
            continue
        rows += found.row_count
        kept += found.row_count if found.used is None else found.used.size
        ones = np.ones(found.row_count) if found.f is None else found.f
        raw = found.frame.columns.get("sampling_weights")
        share = ones if raw is None else ones * found.restrict(raw)
        w = ones if found.precision is None else ones * found.precision
        w = w if raw is None else w * found.restrict(raw)
        sums += [ones.sum(), w.sum(), w @ found.y, share.sum()]
        low, high = min(low, found.y.min()), max(high, found.y.max())
        every = slice(int(-rows % step), None, step)
        parts.append(found.each(partial(_some, every)))
    if not parts:
        raise DataError(f"no row of {source.name!r} is left to fit.")
    return Scan(
        seen=seen, rows=rows, dropped=seen - kept, n=float(sums[0]), weight=float(sums[1]),
        total=float(sums[2]), sampling=float(sums[3]), low=float(low), high=float(high),
        sample=stack(parts),
    )  # fmt: skip


def _some(rows: slice, values: np.ndarray) -> np.ndarray:
    return values[rows].copy()


def stack(parts: list[Problem]) -> Problem:
    """Problems of one design below each other."""
    together: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("y", "X", "w", "f", "offset", "sampling")
        if getattr(parts[0], name) is not None
    }
    return replace(parts[0], used=None, **together)
