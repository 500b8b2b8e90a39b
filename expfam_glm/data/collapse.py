"""The distinct rows of data that are read in batches, with their frequencies, in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from expfam_glm.data.compress import distinct
from expfam_glm.data.design import Frame
from expfam_glm.data.response import Problem, prepare
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import DataError

# Doubles of the distinct rows that may be held.
_MOST_DOUBLES = 1 << 27


class _Rows(NamedTuple):
    """Response, design and roles side by side (m, k), and how often each row occurs (m,)."""

    values: np.ndarray
    counts: np.ndarray
    seen: int  # the rows that they stand for
    source: str

    def once(self) -> _Rows:
        """Rows alike once; refused if these are too many."""
        first, codes = distinct([self.values])
        if first.size * self.values.shape[1] > _MOST_DOUBLES:
            raise DataError(
                f"compress() found {first.size} distinct rows among {self.seen} of "
                f"{self.source!r}, too many to hold: it pays where covariates and responses take "
                "few values. fit() reads the rows in batches as they are."
            )
        return self._replace(values=self.values[first], counts=np.bincount(codes, self.counts))

    def joined(self, other: _Rows) -> _Rows:
        """Both, rows alike once."""
        values = np.vstack([self.values, other.values])
        counts = np.concatenate([self.counts, other.counts])
        return _Rows(values, counts, self.seen + other.seen, self.source).once()


def _rows(roles: Sequence[str], source: str, part: Problem, table: Any) -> _Rows:
    """The distinct rows of a batch."""
    own = part.frame
    left = [part.restrict(v) for v in (own.y, *(own.columns[role] for role in roles))]
    counts = np.ones(part.row_count) if part.f is None else part.f
    return _Rows(np.column_stack([*left, part.X]), counts, part.row_count, source).once()


def collapse(problem: Streamed) -> Problem:
    """The distinct rows (y, x, weights, offset) of a problem, each with its frequency.

    Parameters
    ----------
    problem : Streamed

    Returns
    -------
    Problem
        In memory; its frequency weights count the rows of the data.

    Raises
    ------
    DataError
        If so many rows are distinct that they would not fit into a gigabyte.
    """
    frame = problem.frame
    roles = [role for role in frame.columns if role != "freq_weights"]
    gathering = partial(_rows, roles, problem.reading[0].name)
    found = problem.total(gathering, _Rows.joined)
    y, *extra = found.values[:, : 1 + len(roles)].T
    columns = dict(zip(roles, map(np.ascontiguousarray, extra), strict=True))
    design = json.loads(frame.design)
    design["roles"] = design.get("roles", {}) | {"freq_weights": None}
    X = np.ascontiguousarray(found.values[:, 1 + len(roles) :])
    whole = Frame(
        y=np.ascontiguousarray(y), X=X, labels=frame.labels, response=frame.response,
        formula=frame.formula, columns={**columns, "freq_weights": found.counts},
        design=json.dumps(design, allow_nan=False), n_dropped=problem.reading[2].dropped, kept=None,
        table=replace(frame.table, length=None),
    )  # fmt: skip
    return prepare(whole, problem.family, problem.link)
