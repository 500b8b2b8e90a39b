"""A tenth of the rows of a problem in memory, spread over all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from expfam_glm.data.response import Problem
from expfam_glm.kernels.coded import Coded
from expfam_glm.kernels.scratch import scratch

STEP = 10
_RUN = 32
# Doubles up to which rows are copied for good: the system gives pages for more of them slowly.
_COPIED = 1 << 17


def thinned(problem: Problem) -> Problem:
    """The first rows of every run of `STEP` times as many.

    Its design may be `Runs`, for loops over blocks alone.
    """
    X = problem.matrix
    some: dict[str, Any] = {"matrix": X.each(_thin) if isinstance(X, Coded) else _thin_design(X)}
    for name in ("y", "w", "f", "offset", "sampling", "scatter"):
        values = getattr(problem, name)
        if values is not None:
            some[name] = _thin(values)
    return replace(problem, **some)


class Runs:
    """Rows of a dense design that lie apart, brought together for each block in turn.

    Parameters
    ----------
    runs : ndarray, shape (m, _RUN, p)
    """

    def __init__(self, runs: np.ndarray) -> None:
        self.runs = runs
        self.shape = (runs.shape[0] * _RUN, runs.shape[2])
        self.size = runs.size

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Consecutive rows, which the thread's next call writes over."""
        start, stop, _ = rows.indices(self.shape[0])
        first, last = start // _RUN, -(-stop // _RUN)
        together = scratch("runs", (last - first, *self.runs.shape[1:]))
        np.copyto(together, self.runs[first:last])
        return together.reshape(-1, self.shape[1])[start - first * _RUN : stop - first * _RUN]


def _thin(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(_runs(rows)).reshape(-1, *rows.shape[1:])


def _thin_design(X: np.ndarray | Runs) -> np.ndarray | Runs:
    if isinstance(X, Runs):
        runs = X.runs[: X.runs.shape[0] // STEP * STEP : STEP]
    else:
        runs = _runs(X)
    return Runs(runs) if runs.size > _COPIED else runs.reshape(-1, X.shape[1])


def _runs(rows: np.ndarray) -> np.ndarray:
    """The first rows of every run, (m, _RUN, ...)."""
    length = _RUN * STEP
    whole = rows.shape[0] // length
    return rows[: whole * length].reshape(whole, length, *rows.shape[1:])[:, :_RUN]
