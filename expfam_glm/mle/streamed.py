"""Robust covariances of rows that are read in batches: every meat from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.codes import code
from expfam_glm.data.frames import open_table
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import DataError
from expfam_glm.mle.covariance import Robust, Sandwich
from expfam_glm.mle.layout import CLUSTERED, HETEROSCEDASTIC, Layout
from expfam_glm.mle.linear import Factor


@dataclass(frozen=True, eq=False)
class StreamedSandwich:
    """The rows of a fit at β as `Sandwich` has them, a batch at a time.

    Held are one matrix for each covariance, and the sum of scores of each cluster.
    """

    problem: Streamed
    beta: np.ndarray
    factor: Factor
    bread: Factor
    layout: Layout
    types: tuple[str, ...]

    def covariance(self, name: str) -> Robust:
        """One of HC0–HC3, CR0, CR1 or CR1S."""
        n, p = self.problem.n, self.beta.size
        if name in HETEROSCEDASTIC:
            meat = self._meats[name] * (n / (n - p) if name == "HC1" else 1.0)
        else:
            sums = self._scores
            K = sums.shape[0]
            if K < 2:
                raise DataError(
                    f"groups has one cluster only in {n:g} rows, which carries no clustered "
                    "covariance; name the column that tells the clusters apart."
                )
            meat = (sums.T @ sums) * (1.0 if name == "CR0" else K / (K - 1))
            meat *= (n - 1) / (n - p) if name == "CR1S" else 1.0
        outer = self.factor.root
        if self.bread is not self.factor:
            outer = self.bread.solve(self.factor.triangle.T)
        return Robust(outer @ meat @ outer.T, None)

    @property
    def clusters(self) -> list[tuple[str, int]]:
        """The name of the grouping variable, and how many clusters it has."""
        return [(name, self._scores.shape[0]) for name in self.layout.names]

    @property
    def mean_square(self) -> float:
        """The mean of u²/W, what φ would be if the model held."""
        return self._sums.squares / self.problem.n

    @property
    def _meats(self) -> dict[str, np.ndarray]:
        return self._sums.meats

    @property
    def _scores(self) -> np.ndarray:
        return self._sums.scores

    @cached_property
    def _sums(self) -> _Sums:
        column = self.layout.names[0] if any(t in CLUSTERED for t in self.types) else None
        names = [name for name in self.types if name in HETEROSCEDASTIC]
        one = partial(_of_batch, self.beta, self.factor, self.bread, names, column)
        return self.problem.total(one, _Sums.__add__, () if column is None else (column,))


@dataclass(frozen=True, eq=False)
class _Sums:
    """What the rows add to robust covariances."""

    meats: dict[str, np.ndarray]  # (p, p) each
    places: dict[Any, int]  # of each cluster in the order in which they appear
    scores: np.ndarray  # (K, p)
    squares: float  # Σ f u²/W

    def __add__(self, other: _Sums) -> _Sums:
        p = self.scores.shape[1]
        places = dict(self.places)
        here = [places.setdefault(level, len(places)) for level in other.places]
        scores = np.vstack([self.scores, np.zeros((len(places) - len(self.scores), p))])
        scores[here] += other.scores
        meats = {name: meat + other.meats[name] for name, meat in self.meats.items()}
        return _Sums(meats, places, scores, self.squares + other.squares)


def _of_batch(
    beta: np.ndarray, factor: Factor, bread: Factor, names: Sequence[str], column: str | None,
    problem: Problem, table: Any,
) -> _Sums:  # fmt: skip
    """The sums of one batch."""
    plain = Layout((), (), {}, None, 0)
    own = Sandwich(problem, MemoryBlocks(problem), beta, factor, bread, plain)
    places: dict[Any, int] = {}
    scores = np.zeros((0, beta.size))
    if column is not None:
        levels, codes = code(_clusters(problem, table, column))
        places = {level: k for k, level in enumerate(levels.tolist())}
        scores = own.sums(codes)
    meats = {name: own.meat(name) for name in names}
    return _Sums(meats, places, scores, own.mean_square * problem.n)


def _clusters(problem: Problem, table: Any, column: str) -> np.ndarray:
    """The clusters of the rows of a batch that are used; missing ones are refused."""
    read = open_table(table).column(column, "groups").only(problem.frame.kept)
    if read.missing is not None:
        raise DataError(f"groups {column!r} has missing values; fill them in, or drop these rows.")
    values = read.array()
    kept = values if problem.frame.kept is None else values[problem.frame.kept]
    return problem.restrict(kept)
