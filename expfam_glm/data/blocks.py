"""Blocks of rows and the loop over them: one interface for every place where data live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple, TypeVar

import numpy as np

from expfam_glm.data.compress import Compressed
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.kernels.coded import Coded, Matrix
from expfam_glm.kernels.sums import product
from expfam_glm.kernels.threads import in_order, workers

T = TypeVar("T")

# Doubles of X up to which, and columns up to which, columns are laid one after another: NumPy then
# multiplies them by weights twice as fast, which pays for the copy within one pass.
_COLUMNWISE_DOUBLES, _COLUMNWISE = 1 << 14, 8

# Doubles of X in one block: what is computed of it stays in cache, and threads that wait for one
# another between the steps do so rarely.
_BLOCK_DOUBLES = 1 << 18
# Rows of a block at least: with fewer the calls take longer than the sums.
_FEWEST_ROWS = 1024
# Doubles of X from which blocks are added up in groups, which threads may share.
_PARALLEL_DOUBLES = 1 << 19


class Block(NamedTuple):
    """Consecutive rows: y, X, prior weights w, frequency weights f, offset (None as in Problem)."""

    y: np.ndarray
    X: Matrix
    w: np.ndarray | float
    f: np.ndarray | None
    offset: np.ndarray | None
    scatter: np.ndarray | None = None  # Σ f w (y − ȳ)² of rows that are means

    def eta(self, beta: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The linear predictor Xβ + offset, written into an array if one is given."""
        X = self.X
        eta = X @ beta if isinstance(X, Coded) else product(X, beta, out)
        return eta if self.offset is None else np.add(eta, self.offset, out=eta)

    def total(self, values: np.ndarray | float, *, weighted: bool = False) -> float:
        """Σ f·values over the rows, or Σ f·w·values."""
        if isinstance(values, np.ndarray) and values.shape == self.y.shape:
            rows = values  # broadcasting takes longer than a short sum
        elif self.f is None and not (weighted and np.ndim(self.w)):
            return float(values) * self.y.size
        else:
            rows = np.broadcast_to(values, self.y.shape)
        if weighted and np.ndim(self.w):
            rows = rows * self.w
        return float(np.sum(rows) if self.f is None else np.dot(rows, self.f))

    def within(self, variance: np.ndarray | float) -> float:
        """What the scatter within the rows adds to Pearson's χ²."""
        return 0.0 if self.scatter is None else float(np.sum(self.scatter / variance))


class MemoryBlocks:
    """The rows of a problem in memory, cut into blocks that stay in cache."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        matrix = problem.matrix
        self.columns = matrix.shape[1]
        self.rows = problem.row_count
        self.size = max(_FEWEST_ROWS, _BLOCK_DOUBLES // max(1, self.columns))
        if isinstance(matrix, Coded):
            self.size = matrix.block_rows
        elif matrix.size <= _COLUMNWISE_DOUBLES and self.columns <= _COLUMNWISE:
            matrix = np.asfortranarray(matrix)
        self.matrix = matrix

    def __iter__(self) -> Iterator[Block]:
        for start in range(0, self.rows, self.size):
            yield self._block(start)

    def _block(self, start: int) -> Block:
        problem, rows = self.problem, slice(start, start + self.size)
        w = 1.0 if problem.w is None else problem.w[rows]
        f = None if problem.f is None else problem.f[rows]
        offset = None if problem.offset is None else problem.offset[rows]
        scatter = None if problem.scatter is None else problem.scatter[rows]
        return Block(problem.y[rows], self.matrix[rows], w, f, offset, scatter)

    @property
    def responses(self) -> MemoryBlocks:
        """Blocks of the responses as they were observed, for sums that depend on them alone."""
        if isinstance(self.problem, Compressed) and self.problem.scatter is not None:
            return MemoryBlocks(self.problem.origin.responses)
        return self

    @property
    def within_deviance(self) -> float:
        """What the deviance has beyond that of the rows, which are means."""
        if isinstance(self.problem, Compressed) and self.problem.scatter is not None:
            return self.problem.origin.within_deviance
        return 0.0

    def reduce(self, function: Callable[[Block], T], add: Callable[[T, T], T]) -> T:
        """Sum of `function` over blocks; the order of summation does not depend on threads."""
        if self.rows <= self.size:
            return function(self._block(0))
        starts = range(0, self.rows, self.size)
        if self.rows * max(1, self.columns) < _PARALLEL_DOUBLES:
            return reduce(add, (function(self._block(start)) for start in starts))
        chunk = min(16, -(-len(starts) // 8))  # whatever the number of threads
        groups = [starts[k : k + chunk] for k in range(0, len(starts), chunk)]

        def one(group: range) -> T:
            return reduce(add, (function(self._block(start)) for start in group))

        return reduce(add, in_order(one, groups, self.rows * self.columns))

    def concatenate(self, function: Callable[[Block], np.ndarray]) -> np.ndarray:
        """`function` of every block, row by row in order."""
        return np.concatenate([np.atleast_1d(function(block)) for block in self])


class StreamBlocks:
    """The rows of a problem that is read in batches, cut into blocks as those in memory are."""

    def __init__(self, problem: Streamed) -> None:
        self.problem = problem
        self.columns = problem.matrix.shape[1]
        self.rows = problem.row_count
        self.within_deviance = 0.0

    def __iter__(self) -> Iterator[Block]:
        for problem, _ in self.problem.batches():
            yield from MemoryBlocks(problem)

    @property
    def responses(self) -> StreamBlocks:
        """The blocks themselves."""
        return self

    def reduce(self, function: Callable[[Block], T], add: Callable[[T, T], T]) -> T:
        """Sum of `function` over blocks, in their order, on the cluster where one is running."""
        return self.problem.total(partial(_over_blocks, function, add), add)

    def concatenate(self, function: Callable[[Block], np.ndarray]) -> np.ndarray:
        """`function` of every block, row by row in order."""
        return np.concatenate([np.atleast_1d(function(block)) for block in self])


def _over_blocks[R](
    function: Callable[[Block], R], add: Callable[[R, R], R], problem: Problem, table: Any
) -> R:
    return MemoryBlocks(problem).reduce(function, add)


type Blocks = MemoryBlocks | StreamBlocks


def blocks_of(problem: Problem) -> Blocks:
    """The blocks of the rows of a problem, wherever they are."""
    return StreamBlocks(problem) if isinstance(problem, Streamed) else MemoryBlocks(problem)


def each[Item, Result](
    function: Callable[[Item], Result], items: Sequence[Item], doubles: int
) -> list[Result]:
    """`function` of every item in order, on several threads where so many doubles make it pay."""
    threads = workers(len(items))
    if threads == 1 or doubles < _PARALLEL_DOUBLES:
        return [function(item) for item in items]
    size = -(-len(items) // (4 * threads))
    groups = [items[k : k + size] for k in range(0, len(items), size)]

    def one(group: Sequence[Item]) -> list[Result]:
        return [function(item) for item in group]

    return [result for results in in_order(one, groups, doubles) for result in results]
