"""Designs of factors kept as the level of each row: products by counting, no dummy columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from expfam_glm.kernels.term import Term

# Rows that are written out at once.
_DENSE_DOUBLES = 1 << 17
# Rows of a block at least, and for each number of the sums that a block fills.
_FEWEST_ROWS = 1 << 17
_ROWS_A_COUNT = 4
# Rows that are counted at once: what is computed on the way stays in a core's cache.
_PART = 1 << 15
# Up to here doubles hold every whole number.
_EXACT = 1 << 53


@dataclass(frozen=True, eq=False)
class Coded(np.lib.mixins.NDArrayOperatorsMixin):
    """A design X (n, p) of an intercept, dense columns and terms of factors.

    Products with vectors and weights are sums and look-ups by level. Whatever else is asked of it,
    or NumPy's functions are, is done with the dense matrix.

    Parameters
    ----------
    rows, width : int
    constant : int or None
        Where the intercept stands.
    dense : ndarray, shape (n, d)
    places : ndarray of int, shape (d,)
        Where its columns stand.
    terms : tuple of Term
    """

    rows: int
    width: int
    constant: int | None
    dense: np.ndarray
    places: np.ndarray
    terms: tuple[Term, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """n and p."""
        return self.rows, self.width

    ndim = 2

    def __len__(self) -> int:
        return self.rows

    @property
    def block_rows(self) -> int:
        """Rows of a block: its sums by level are not to be larger than itself."""
        return max(_FEWEST_ROWS, _ROWS_A_COUNT * (self._counts + self.width**2))

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two terms."""
        return list(combinations(range(len(self.terms)), 2))

    @cached_property
    def _counts(self) -> int:
        """How many sums by levels there are."""
        sizes = [len(term.table) for term in self.terms]
        return sum(sizes[i] * sizes[j] for i, j in self.pairs) + sum(sizes)

    def parts(self) -> Iterator[slice]:
        """Rows that are counted together."""
        size = max(_PART, self._counts)
        return (slice(start, start + size) for start in range(0, self.rows, size))

    # ---- parts -----------------------------------------------------------------------------

    def each(self, function: Callable[[np.ndarray], np.ndarray]) -> Coded:
        """Some of the rows: a function of every array that has one entry a row."""
        known: dict[int, np.ndarray] = {}

        def of(values: np.ndarray) -> np.ndarray:
            if id(values) not in known:
                known[id(values)] = function(values)
            return known[id(values)]

        dense = of(self.dense)
        terms = tuple(
            replace(t, codes=of(t.codes), slope=None if t.slope is None else of(t.slope))
            for t in self.terms
        )
        return replace(self, rows=len(dense), dense=dense, terms=terms)

    @property
    def by_level(self) -> np.ndarray:
        """Columns (p,) that follow from levels alone, the intercept among them."""
        found = np.zeros(self.width, bool)
        for term in self.terms:
            found[term.places] = term.slope is None
        if self.constant is not None:
            found[self.constant] = True
        return found

    def keys(self) -> list[np.ndarray]:
        """Columns that are equal on two rows where their rows of X are: whole numbers and X's own.

        The levels of all terms are numbered together as far as doubles hold the product.
        """
        found: list[np.ndarray] = []
        together, count = np.zeros(0, np.intp), 1
        for codes, size in {id(t.codes): (t.codes, len(t.table)) for t in self.terms}.values():
            if count == 1 or count * size > _EXACT:
                found.append(codes)
                together, count = codes, size
            else:
                found[-1] = together = together * size + codes
                count *= size
        slopes = {id(t.slope): t.slope for t in self.terms if t.slope is not None}
        return [*found, *slopes.values(), *([self.dense] if self.places.size else [])]

    def only(self, kept: np.ndarray) -> Coded:
        """Some of the columns, marked by a mask or numbered."""
        numbers = np.arange(self.width)[kept]
        place = np.full(self.width, -1)
        place[numbers] = np.arange(numbers.size)

        def some(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            held = place[places] >= 0
            return held, place[places[held]]

        held, places = some(self.places)
        terms = []
        for term in self.terms:
            own, where = some(term.places)
            if own.any():
                terms.append(term.only(own, where))
        constant = None if self.constant is None else int(place[self.constant])
        return Coded(
            self.rows, numbers.size, None if constant == -1 else constant,
            np.ascontiguousarray(self.dense[:, held]), places, tuple(terms),
        )  # fmt: skip

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, None)
        if columns is not None:
            if np.ndim(columns) == 0 and not isinstance(columns, slice):
                return self.only(np.array([columns]))[rows].array()[..., 0]
            return self.only(columns)[rows]
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            return self.each(lambda values: values[rows : rows + 1]).array()[0]
        return self.each(lambda values: values[rows])

    # ---- as a dense matrix -----------------------------------------------------------------

    def array(self) -> np.ndarray:
        """X (n, p)."""
        X = np.empty(self.shape)
        size = max(1, _DENSE_DOUBLES // max(1, self.width))
        for start in range(0, self.rows, size):
            rows = slice(start, start + size)
            if self.constant is not None:
                X[rows, self.constant] = 1.0
            X[rows, self.places] = self.dense[rows]
            for term in self.terms:
                X[rows, term.places] = term.some(rows).values(term.table)
        return X

    @cached_property
    def whole(self) -> np.ndarray:
        """X (n, p), kept."""
        return self.array()

    @property
    def T(self) -> np.ndarray:
        """Xᵀ, dense."""
        return self.array().T

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array().astype(dtype or np.float64, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.matmul and method == "__call__" and not options:
            first, second = inputs
            if first is self and not isinstance(second, Coded):
                return self._times(second)
            if not isinstance(first, Coded):
                return self._under(first)
        dense = [value.array() if isinstance(value, Coded) else value for value in inputs]
        return getattr(ufunc, method)(*dense, **options)

    # ---- products --------------------------------------------------------------------------

    def _times(self, beta: np.ndarray) -> np.ndarray:
        """Xβ of one (p,) or several (p, m) vectors."""
        flat = 0.0 if self.constant is None else beta[self.constant]
        tables = [term.table @ beta[term.places] for term in self.terms]
        found = np.empty((self.rows, *beta.shape[1:]))
        for rows in self.parts():
            part = found[rows]
            part[...] = flat
            if self.places.size:
                part += self.dense[rows] @ beta[self.places]
            for term, table in zip(self.terms, tables, strict=True):
                part += term.some(rows).values(table)
        return found

    def _under(self, u: np.ndarray) -> np.ndarray:
        """uX of one (n,) or several (m, n) vectors."""
        if u.ndim == 2:
            return np.array([self._under(row) for row in u]).reshape(len(u), self.width)
        found = np.zeros(self.width)
        if self.constant is not None:
            found[self.constant] = u.sum()
        found[self.places] = u @ self.dense
        sums = [np.zeros(len(term.table)) for term in self.terms]
        for rows in self.parts():
            for term, total in zip(self.terms, sums, strict=True):
                part = term.some(rows)
                total += part.count(part.weighted(u[rows]))
        for term, total in zip(self.terms, sums, strict=True):
            found[term.places] = term.columns(total)
        return found

    @cached_property
    def squares(self) -> np.ndarray:
        """The sum of squares of each column."""
        found = np.zeros(self.width)
        if self.constant is not None:
            found[self.constant] = self.rows
        found[self.places] = np.einsum("ij,ij->j", self.dense, self.dense)
        for term in self.terms:
            squared = None if term.slope is None else term.slope**2
            found[term.places] = term.count(squared) @ term.table**2
        return found

    def largest(self) -> np.ndarray:
        """The largest absolute value of each column."""
        found = np.zeros(self.width)
        if self.constant is not None:
            found[self.constant] = 1.0
        if self.rows:
            found[self.places] = np.abs(self.dense).max(axis=0, initial=0.0)
        for term in self.terms:
            top = np.zeros(len(term.table))
            np.maximum.at(top, term.codes, 1.0 if term.slope is None else np.abs(term.slope))
            found[term.places] = np.max(np.abs(term.table) * top[:, None], axis=0, initial=0.0)
        return found

    def quadratic(self, A: np.ndarray) -> np.ndarray:
        """xᵀAx of each row, for a symmetric A (p, p)."""
        level = 0.0 if self.constant is None else A[self.constant, self.constant]
        found = np.full(self.rows, level)
        side = np.zeros((self.rows, self.places.size))
        if self.constant is not None:
            found += 2 * (self.dense @ A[self.constant, self.places])
        found += np.einsum("ij,ij->i", self.dense @ A[np.ix_(self.places, self.places)], self.dense)
        for i, term in enumerate(self.terms):
            left = term.table @ A[term.places]  # (levels, p)
            own = np.einsum("lk,lk->l", left[:, term.places], term.table)
            linear = np.zeros(len(own)) if self.constant is None else 2 * left[:, self.constant]
            if term.slope is None:
                found += np.take(own + linear, term.codes)
            else:
                found += term.slope * term.values(own) + term.values(linear)
            if self.places.size:
                side += term.values(2 * left[:, self.places])
            for other in self.terms[:i]:
                table = 2 * (left[:, other.places] @ other.table.T)
                found += other.weighted(term.weighted(np.take(table, term.with_codes(other))))
        if self.places.size:
            found += np.einsum("ij,ij->i", side, self.dense)
        return found

    def sums(self, u: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """The sum of u x over the rows of each cluster (K, p)."""
        K = int(codes.max()) + 1
        found = np.zeros((K, self.width))
        if self.constant is not None:
            found[:, self.constant] = np.bincount(codes, u, K)
        for place, column in zip(self.places, self.dense.T, strict=True):
            found[:, place] = np.bincount(codes, u * column, K)
        for term in self.terms:
            size = K, len(term.table)
            both = codes.astype(np.intp) * size[1] + term.codes
            counts = np.bincount(both, term.weighted(u), size[0] * size[1])
            found[:, term.places] = term.columns(counts.reshape(size))
        return found


class Transposed:
    """Xᵀ (p, n) of a design of levels, of which the rows that are asked for are written out."""

    __array_ufunc__ = None  # arrays leave products to it

    def __init__(self, X: Coded) -> None:
        self.X = X
        self.shape, self.size = X.shape[::-1], X.rows * X.width

    def __getitem__(self, key: tuple[slice, Any]) -> np.ndarray:
        """All columns at some rows."""
        return self.X[key[1]].array().T

    def __rmatmul__(self, beta: np.ndarray) -> np.ndarray:
        return self.X._times(beta)


type Matrix = np.ndarray | Coded


def dense(X: Matrix) -> np.ndarray:
    """X written out."""
    return X.array() if isinstance(X, Coded) else X


def contiguous(X: Matrix) -> Matrix:
    """X in the order of rows."""
    return X if isinstance(X, Coded) else np.ascontiguousarray(X)


def largest(X: Matrix) -> np.ndarray:
    """The largest absolute value of each column."""
    return X.largest() if isinstance(X, Coded) else np.max(np.abs(X), axis=0)
