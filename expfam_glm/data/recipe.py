"""How a batch of columns becomes a problem, by the same code as data in memory."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from expfam_glm.data.design import Frame, from_formula
from expfam_glm.data.frames import assemble, open_table
from expfam_glm.data.response import Problem, prepare
from expfam_glm.data.rows import NothingLeft
from expfam_glm.data.source import complete_rows
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
    whole: tuple[str, ...] = ()  # columns without whose values a row is left out

    def problem(self, table: Any, start: int = 0) -> Problem | None:
        """The problem of a batch that begins at a row; None where no row of it counts."""
        if self.whole:
            table = complete_rows(table.select(self.whole))
            if not table.num_rows:
                return None
        try:
            frame = self._plain(table) or from_formula(
                self.formula, table, self.roles, self.missing,
                allow_code=self.allow_code, state=self.state,
            )  # fmt: skip
            if any(
                not np.any(frame.columns[role] > 0) and not np.any(frame.columns[role] < 0)
                for role in ("weights", "freq_weights", "sampling_weights")
                if role in frame.columns
            ):
                return None
            found = prepare(frame, self.family, self.link, part=True)
        except NothingLeft:
            return None
        except DataError as error:
            stop = start + table.num_rows - 1
            raise DataError(f"in rows {start} to {stop} (here counted from 0): {error}") from error
        if found.labels == self.labels:
            return found
        kept = [found.labels.index(label) for label in self.labels]
        return replace(found, matrix=contiguous(found.matrix[:, kept]))

    @cached_property
    def _simple(self) -> bool:
        """Whether every column of X is one of the data, or the intercept."""
        known = dict(self.state["variables"])
        named = [label for label in self.state["labels"] if label != "Intercept"]
        plain = all(known.get(name) == "number" for name in [*named, self.state["response"]])
        return plain and not (self.state["factors"] or self.state["transforms"]) and (
            [t for t, _ in self.state["terms"]] == [
                "1" if label == "Intercept" else label for label in self.state["labels"]
            ]
        ) and "offset(" not in self.formula  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._packed,)

    @cached_property
    def _packed(self) -> bytes:
        return pickle.dumps([getattr(self, field.name) for field in fields(self)])

    def _plain(self, table: Any) -> Frame | None:
        """The frame of numeric columns without missing values, with nothing to evaluate."""
        if not self._simple:
            return None
        read = open_table(table)
        labels = self.state["labels"]
        names = {*labels, self.state["response"], *self.roles.values()} - {"Intercept"}
        columns = {name: read.column(name) for name in names}
        if any(c.kind != "number" or c.missing is not None or c.infinite is not None
               for c in columns.values()):  # fmt: skip
            return None
        ones = np.ones(table.num_rows)
        X = assemble([ones if name == "Intercept" else columns[name].values for name in labels])
        return Frame(
            columns[self.state["response"]].number(), X, tuple(labels), self.state["response"],
            self.formula, {role: columns[name].number() for role, name in self.roles.items()},
            "", 0, None, read,
        )  # fmt: skip


@lru_cache(maxsize=16)
def _opened(packed: bytes) -> Recipe:
    """A recipe that was sent; one object in each process, since a family is slow to make again."""
    return Recipe(*pickle.loads(packed))
