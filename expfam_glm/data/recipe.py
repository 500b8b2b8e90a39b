"""How a batch of columns becomes a problem, by the same code as data in memory."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from expfam_glm.data.design import Frame, from_formula
from expfam_glm.data.frames import open_table
from expfam_glm.data.magnitude import square_sum
from expfam_glm.data.plan import Plan, is_plain
from expfam_glm.data.response import Problem, prepare
from expfam_glm.data.rows import NothingLeft
from expfam_glm.data.source import complete_rows, lacks
from expfam_glm.errors import DataError
from expfam_glm.kernels.coded import contiguous
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link


@dataclass(frozen=True)
class Recipe:
    """How a batch of columns becomes a problem."""

    formula: str
    roles: Mapping[str, str]
    missing: str
    allow_code: bool
    state: Mapping[str, Any]  # of the design: levels and statistics of the whole
    columns: tuple[str, ...]
    family: Family
    link: Link
    labels: tuple[str, ...]  # of the columns of X that are wanted
    plan: Plan | None = None  # what the columns of X are, where that is simple
    whole: tuple[str, ...] = ()  # columns without whose values a row is left out
    complete: tuple[str, ...] = ()  # the same of clusters and times, where rows may be dropped
    checked: bool = False  # whether the values were found to be admissible by a scan
    finite: bool = False  # whether it found all numbers to be there and finite

    def problem(self, table: Any, start: int = 0) -> Problem | None:
        """The problem of a batch that begins at a row; None where no row of it counts."""
        if self.whole:
            table = complete_rows(table.select(self.whole))
            if not table.num_rows:
                return None
        try:
            frame = self._plain(table) or from_formula(
                self.formula, table, self.roles, self.missing,
                allow_code=self.allow_code, state=self.state, complete=self.complete,
            )  # fmt: skip
            if any(
                not np.any(frame.columns[role] > 0) and not np.any(frame.columns[role] < 0)
                for role in ("weights", "freq_weights", "sampling_weights")
                if role in frame.columns
            ):
                return None
            found = prepare(frame, self.family, self.link, part=True, checked=self.checked)
        except NothingLeft:
            return None
        except DataError as error:
            stop = start + table.num_rows - 1
            raise DataError(f"in rows {start} to {stop} (here counted from 0): {error}") from error
        if found.labels == self.labels:
            return found
        kept = [found.labels.index(label) for label in self.labels]
        return replace(found, matrix=contiguous(found.matrix[:, kept]))

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._packed,)

    @cached_property
    def _packed(self) -> bytes:
        return pickle.dumps([getattr(self, field.name) for field in fields(self)])

    def _plain(self, table: Any) -> Frame | None:
        """The frame of a batch that goes by the plan."""
        if self.plan is None or lacks(table.select(self.complete)):
            return None
        read, response = open_table(table), self.plan.response
        names, finite = {response, *self.roles.values()}, self.finite
        columns = {name: read.column(name, finite=finite) for name in names}
        if not all(map(is_plain, columns.values())):
            return None
        # of X itself it is seen at once whether all of its numbers are there and finite
        X = self.plan.matrix(table, read, finite or self.plan.shows_all)
        bounded = X is not None and (finite or math.isfinite(square_sum(X)))
        if X is not None and not bounded:
            X = self.plan.matrix(table, read, False)
        if X is None:
            return None
        return Frame(
            columns[response].number(), X, tuple(self.state["labels"]), response,
            self.formula, {role: columns[name].number() for role, name in self.roles.items()},
            "", 0, None, read, bounded=bounded,
        )  # fmt: skip


@lru_cache(maxsize=16)
def _opened(packed: bytes) -> Recipe:
    """A recipe that was sent; one object in each process, since a family is slow to make again."""
    return Recipe(*pickle.loads(packed))
