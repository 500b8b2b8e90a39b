"""Rows that share covariates, offset and weights collapse to one: a cell, exact for every sum.

A cell stands for Σf rows of one x, offset and weight w by the mean response ȳ and the scatter
Σ f w (y − ȳ)², from which Pearson's χ² and the meat of robust covariances are those of the rows.
The base measure c(y, a) and the conjugate b*(y) are never evaluated at a mean: their sums come from
the distinct responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from expfam_glm.data.response import EXACT, Problem
from expfam_glm.errors import ArgumentError
from expfam_glm.kernels.coded import Coded

# Rows hashed or compared at once: they stay in cache.
_CHUNK = 1 << 12
# Cells that make up more of the rows than this save too little to be worth it.
_WORTHWHILE = 0.25
# Fewer rows than this are fast anyway.
_FEW = 1000
# Whole numbers up to so many times the rows are numbered by a table.
_SPARSEST = 4


class Distinct(NamedTuple):
    """Distinct rows numbered in the order of appearance."""

    first: np.ndarray  # (m,) a row of each
    codes: np.ndarray  # (n,) the number of each row


@dataclass(frozen=True, eq=False)
class Cells:
    """The rows of a problem, the cell of each, and what the cells' means do not tell."""

    source: Problem
    codes: np.ndarray  # (n,) the cell of each row
    first: np.ndarray  # (m,) a row of each cell
    mean: np.ndarray  # (m,)

    @cached_property
    def responses(self) -> Problem:
        """Distinct (y, w) with their frequencies and no covariate: what c and b* need."""
        source = self.source
        nothing = np.empty((source.row_count, 0))
        bare = replace(source, matrix=nothing, offset=None, sampling=None, used=None)
        if not source.family.support.discrete:
            return bare
        return _collapse(bare, distinct([source.y, *_given(source.w)]), means=False)

    @cached_property
    def _by_response(self) -> Distinct:
        return distinct([self.codes, self.source.y])

    @cached_property
    def by_response(self) -> Compressed:
        """The rows of one cell and one response collapsed: exact for whatever a row can say."""
        return _compressed(self.source, self._by_response, means=False)

    @cached_property
    def within_deviance(self) -> float:
        """Σ f w d(y, ȳ), the part of the deviance that no β explains."""
        source, (first, codes) = self.source, self._by_response
        y, mean = source.y[first], self.mean[self.codes[first]]
        f = np.bincount(codes, source.f, first.size)
        f = f if source.w is None else f * source.w[first]
        apart = y != mean
        if not apart.any():
            return 0.0
        return float(np.sum(f[apart] * np.asarray(source.family.deviance(y[apart], mean[apart]))))


@dataclass(frozen=True)
class Compressed(Problem):
    """A problem whose rows are cells; without scatter, cells of equal responses."""

    cells: Cells | None = None

    @property
    def origin(self) -> Cells:
        """The rows that the cells come from."""
        assert self.cells is not None
        return self.cells

    @property
    def described_rows(self) -> str:
        """How many rows and cells there are, in words."""
        return f"{self.origin.source.row_count} rows in {self.row_count} cells"

    @property
    def obs_id(self) -> Sequence[int]:
        """The numbers of the rows behind the cells."""
        return self.origin.source.obs_id

    def observed_data(self) -> dict[str, np.ndarray]:
        """The responses of all rows."""
        return self.origin.source.observed_data()

    def constant_data(self) -> dict[str, np.ndarray]:
        """Design and columns of all rows."""
        return self.origin.source.constant_data()

    def show(self, values: np.ndarray, bad: np.ndarray) -> str:
        """Offending values, with the rows of the data as given."""
        codes = self.origin.codes
        return self.origin.source.show(values[codes], bad[codes])

    def attrs(self) -> dict[str, str | float | int]:
        """Those of the problem, and the number of cells."""
        return {**self.origin.source.attrs(), **cells_of(self)}


def compress(problem: Problem, clusters: np.ndarray | None = None) -> Compressed:
    """Collapse the rows that share x, offset, weights and cluster.

    Parameters
    ----------
    problem : Problem
        Compressed or not.
    clusters : ndarray of int, shape (n,), optional
        Numbers that keep rows apart.

    Raises
    ------
    ArgumentError
        If the model has group effects.

    Returns
    -------
    Compressed
        Its frequency weights are the numbers of rows, each row counted as its own frequency says.
    """
    source = uncompressed(problem)
    if source.frame.effects:
        raise ArgumentError(
            "rows of a model with group effects are told apart by their groups; compress() is for "
            "models without."
        )
    X = source.matrix
    own = X.keys() if isinstance(X, Coded) else [X]
    keys = [*own, *_given(source.offset, source.w, source.sampling, clusters)]
    return _compressed(source, distinct(keys))


def worth_compressing(problem: Problem) -> Problem:
    """The problem compressed if it has many rows in few cells, else as it is."""
    if problem.row_count < _FEW or isinstance(problem, Compressed) or problem.frame.effects:
        return problem
    found = compress(problem)
    return found if _pays(found.origin, problem) else problem


def cheaply_compressed(problem: Problem) -> Problem:
    """The problem compressed where nothing but the levels of its factors tells many rows apart.

    Other columns would first have to be compared, which takes as long as it saves.
    """
    X = problem.matrix
    if isinstance(problem, Compressed) or not isinstance(X, Coded) or problem.frame.effects:
        return problem
    keys = [*X.keys(), *_given(problem.offset, problem.w, problem.sampling)]
    if len(keys) > 1 or not _whole(keys[0])[1] < _SPARSEST * problem.row_count:
        return problem
    found = distinct(keys)
    return _compressed(problem, found) if _pays(found, problem) else problem


def _pays(found: Distinct | Cells, problem: Problem) -> bool:
    """Whether there are few enough cells."""
    return found.first.size <= _WORTHWHILE * problem.row_count


def cells_of(problem: Problem) -> dict[str, int]:
    """The number of cells as an attribute of a result tree, where there are some."""
    return {"cells": problem.row_count} if isinstance(problem, Compressed) else {}


def uncompressed(problem: Problem) -> Problem:
    """The problem on its own rows."""
    return problem.origin.source if isinstance(problem, Compressed) else problem


def by_response(problem: Problem) -> Problem:
    """A problem each of whose rows stands for equal responses."""
    return problem.origin.by_response if isinstance(problem, Compressed) else problem


def _given(*columns: np.ndarray | None) -> list[np.ndarray]:
    return [values for values in columns if values is not None]


def _compressed(source: Problem, found: Distinct, means: bool = True) -> Compressed:
    inner = _collapse(source, found, means)
    parts = {field.name: getattr(inner, field.name) for field in fields(Problem)}
    return Compressed(**parts, cells=Cells(source, found.codes, found.first, inner.y))


def _collapse(source: Problem, found: Distinct, means: bool = True) -> Problem:
    """One row for each of the distinct ones: its frequency and, of `means`, response and scatter.

    Differences from the first response are averaged, so that equal ones stay to the last bit.
    """
    first, codes = found
    f = np.bincount(codes, source.f, first.size).astype(float)
    y, scatter = source.y[first], None
    if means:
        y, scatter = _counted_means(source, codes, f) or _means(source, codes, f, y)
    w, offset, sampling = (
        None if values is None else values[first]
        for values in (source.w, source.offset, source.sampling)
    )
    return replace(
        source, y=y, matrix=source.matrix[first], w=w, f=f, offset=offset, sampling=sampling,
        scatter=scatter,
    )  # fmt: skip


def _counted_means(
    source: Problem, codes: np.ndarray, f: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and scatter of counts by sums that hold every digit; None where they would not."""
    y = source.y
    if not source.family.support.discrete or source.w is not None or source.f is not None:
        return None
    largest = max(float(y.max()), -float(y.min()))
    if not float(f.max()) * float(f.max()) * largest * largest < EXACT or (y != np.floor(y)).any():
        return None
    total = np.bincount(codes, y)
    squares = total if largest <= 1 and y.min() >= 0 else np.bincount(codes, y * y)
    return total / f, (f * squares - total * total) / f


def _means(
    source: Problem, codes: np.ndarray, f: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter by differences from some response of each number."""
    own = source.y - y[codes]
    y = y + np.bincount(codes, own if source.f is None else own * source.f) / f
    squares = (source.y - y[codes]) ** 2
    for values in _given(source.w, source.f):
        squares = squares * values
    return y, np.bincount(codes, squares)


def distinct(columns: list[np.ndarray]) -> Distinct:
    """Number the distinct rows of some columns or matrices side by side.

    Notes
    -----
    By 64-bit hashes, which are then proven: every row is compared with the first of its number.
    """
    import pandas as pd

    n = columns[0].shape[0]
    together, others = np.zeros(n, np.intp), []
    count = 1.0
    for column in columns:
        codes, size = _whole(column)
        if count * size < _SPARSEST * n:
            together, count = codes if count == 1 else together * size + codes, count * size
        else:
            others.append(column)
    if count > 1 or not others:
        numbers = _numbered(together)
        if not others:
            return numbers
        others = [numbers.codes, *others]
    columns = others
    matrices = [values.reshape(n, -1) for values in columns]
    hashes = np.zeros(n, np.uint64)
    rng = np.random.default_rng(0)
    for values in matrices:
        factors = rng.integers(0, 2**63, values.shape[1], dtype=np.uint64) * np.uint64(2) + (
            np.uint64(1)
        )
        for start in range(0, n, _CHUNK):
            rows = slice(start, start + _CHUNK)
            hashes[rows] += _mixed(values[rows]) @ factors
    codes, _ = pd.factorize(hashes)
    found = Distinct(_first(codes), codes)
    if all(_equal(values, found) for values in matrices):
        return found
    whole = np.hstack([values.astype(float) for values in matrices])
    codes = np.unique(whole, axis=0, return_inverse=True)[1].reshape(-1)
    return Distinct(_first(codes), codes)


def _whole(column: np.ndarray) -> tuple[np.ndarray, float]:
    """Whole numbers from 0, equal where the values of a column are, and how many; else infinity."""
    if column.ndim == 1 and column.dtype.kind in "if":
        low, high = column.min(initial=0), column.max(initial=0)
        if float(high) - float(low) < _SPARSEST * len(column):
            codes = (column if low == 0 else column - low).astype(np.intp, copy=False)
            if column.dtype.kind == "i" or np.array_equal(codes + low, column):
                return codes, int(high - low) + 1
    return column, np.inf


def _numbered(codes: np.ndarray) -> Distinct:
    """Whole numbers from 0 anew, in the order of appearance and without gaps."""
    first = np.full(int(codes.max()) + 1, -1, np.intp)
    first[codes[::-1]] = np.arange(codes.size - 1, -1, -1)
    rows = np.sort(first[first >= 0])
    place = np.empty(first.size, np.intp)
    place[codes[rows]] = np.arange(rows.size)
    return Distinct(rows, place[codes])


def _mixed(values: np.ndarray) -> np.ndarray:
    """The bits of each number spread over the 64 of its hash; −0 is 0."""
    bits = (values.astype(np.float64, copy=False) + 0.0).view(np.uint64)
    bits ^= bits >> np.uint64(32)
    bits *= np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(32)
    return bits


def _first(codes: np.ndarray) -> np.ndarray:
    """The first row of each number."""
    first = np.empty(int(codes.max()) + 1, np.intp)
    first[codes[::-1]] = np.arange(codes.size - 1, -1, -1)
    return first


def _equal(values: np.ndarray, found: Distinct) -> bool:
    """Whether rows of one number are equal."""
    kept = values[found.first]
    for start in range(0, len(values), _CHUNK):
        rows = slice(start, start + _CHUNK)
        if not np.array_equal(values[rows], kept[found.codes[rows]]):
            return False
    return True
