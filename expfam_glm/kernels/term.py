"""Columns of a design that follow from the level of each row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Term:
    """Columns whose values follow from the level of a row: `table[codes]`, times `slope` if given.

    Several factors together have the levels of their product.
    """

    codes: np.ndarray  # (n,) of intp
    table: np.ndarray  # (levels, columns)
    slope: np.ndarray | None  # (n,)
    places: np.ndarray  # (columns,) where they stand in X
    picked: np.ndarray | None  # (columns,) the level that each marks, where they are dummies

    @classmethod
    def of(
        cls, codes: np.ndarray, table: np.ndarray, slope: np.ndarray | None, places: np.ndarray
    ) -> Term:
        """A term, whose dummies are found."""
        marks = table == 1
        dummies = np.all(marks.sum(axis=0) == 1) and np.count_nonzero(table) == len(places)
        return cls(codes, table, slope, places, marks.argmax(axis=0) if dummies else None)

    def only(self, kept: np.ndarray, places: np.ndarray) -> Term:
        """Some of the columns, at new places."""
        picked = None if self.picked is None else self.picked[kept]
        return replace(self, table=self.table[:, kept], places=places, picked=picked)

    def some(self, rows: slice) -> Term:
        """Some of the rows."""
        slope = None if self.slope is None else self.slope[rows]
        return Term(self.codes[rows], self.table, slope, self.places, self.picked)

    def columns(self, counts: np.ndarray) -> np.ndarray:
        """Sums by level (…, levels) as sums of the columns (…, columns)."""
        return counts @ self.table if self.picked is None else counts[..., self.picked]

    def weighted(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the rows (n,), times the slope."""
        return values if self.slope is None else values * self.slope

    def count(self, values: np.ndarray | None = None) -> np.ndarray:
        """The sum of numbers of the rows (n,) at each level, or of ones."""
        return np.bincount(self.codes, values, len(self.table))

    def values(self, table: np.ndarray) -> np.ndarray:
        """Numbers of the levels (levels,) or (levels, m) at the rows."""
        found = np.take(table, self.codes, axis=0)
        if self.slope is not None:
            found *= self.slope if found.ndim == 1 else self.slope[:, None]
        return found

    def with_codes(self, other: Term) -> np.ndarray:
        """The level of each row in the product with another term."""
        both = self.codes * len(other.table)
        return np.add(both, other.codes, out=both)
