"""One pass over rows that are read in batches: each is checked and counted, and some are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from expfam_glm.data.design import Frame
from expfam_glm.data.progress import with_bar
from expfam_glm.data.recipe import Recipe
from expfam_glm.data.response import Problem
from expfam_glm.data.source import Source
from expfam_glm.errors import DataError

# Doubles of X in the part of the rows that is kept in memory for a start.
_SAMPLE_DOUBLES = 1 << 22
_SAMPLE_ROWS = 1 << 17
_ARRAYS = ("y", "matrix", "w", "f", "offset", "sampling")

type Rows = Mapping[str, np.ndarray]  # the arrays of some rows of a problem


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


@dataclass(frozen=True, eq=False)
class _Counted:
    """What the pass has found so far."""

    seen: int = 0
    rows: int = 0
    kept: int = 0
    sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # of f, f w, f w y, f v
    low: float = np.inf
    high: float = -np.inf
    parts: tuple[Rows, ...] = ()

    def __add__(self, other: _Counted) -> _Counted:
        return _Counted(
            self.seen + other.seen, self.rows + other.rows, self.kept + other.kept,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            min(self.low, other.low), max(self.high, other.high), (*self.parts, *other.parts),
        )  # fmt: skip

    def one(self, found: Problem | None, length: int, step: int) -> _Counted:
        """With one more batch of so many rows, of which every `step`-th used one is kept."""
        if found is None:
            return self + _Counted(length)
        raw = found.frame.columns.get("sampling_weights")
        v = None if raw is None else found.restrict(raw)
        every = slice(int(-self.rows % step), None, step)
        return self + _Counted(
            length, found.row_count,
            found.row_count if found.used is None else found.used.size,
            (
                _total(found, found.f),
                _total(found, found.f, found.precision, v),
                _total(found, found.f, found.precision, v, found.y),
                _total(found, found.f, v),
            ),
            float(found.y.min()), float(found.y.max()), (some_rows(found, every),),
        )  # fmt: skip


def _total(problem: Problem, *factors: np.ndarray | None) -> float:
    """The sum over the rows of a product, in which None is one."""
    given = [values for values in factors if values is not None]
    if not given:
        return float(problem.row_count)
    return float(reduce(np.multiply, given).sum())


def census(source: Source, recipe: Recipe, frame: Frame) -> Scan:
    """Check every row once, count, and keep some of them, under the frame of the whole."""
    wanted = max(1, min(_SAMPLE_ROWS, _SAMPLE_DOUBLES // max(1, len(recipe.labels))))
    step = max(1, -(-source.count // wanted))
    counting = partial(_count, recipe, step, source.count)
    found = source.total(recipe.columns, counting, _Counted.__add__)
    if found is None or not found.parts:
        weights = [name for name in recipe.roles if name.endswith("weights")]
        why = f"; {' and '.join(weights)} may be zero throughout" if weights else ""
        raise DataError(f"no row of {source.name!r} is left to fit{why}.")
    n, weight, total, sampling = found.sums
    nothing = Problem(
        recipe.family, recipe.link, frame, np.empty(0), np.empty((0, 0)), None, None, None, None
    )
    return Scan(
        seen=found.seen, rows=found.rows, dropped=found.seen - found.kept, n=n, weight=weight,
        total=total, sampling=sampling, low=found.low, high=found.high,
        sample=stack(nothing, found.parts),
    )  # fmt: skip


def _count(recipe: Recipe, step: int, total: int, tables: Iterator[Any], start: int) -> _Counted:
    """The census of some tables; `step` is counted from their first row."""
    counted = _Counted()
    for table in with_bar(tables, total, "scan of the rows"):
        found = recipe.problem(table, start + counted.seen)
        counted = counted.one(found, table.num_rows, step)
    return counted


def some_rows(problem: Problem, rows: slice | np.ndarray) -> Rows:
    """The arrays of some rows, without what holds the others."""
    return {
        name: values[rows].copy()
        for name in _ARRAYS
        if (values := getattr(problem, name)) is not None
    }


def stack(like: Problem, parts: Sequence[Rows]) -> Problem:
    """A problem like another of the rows of the parts below each other."""
    together: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    return replace(like, used=None, **together)
