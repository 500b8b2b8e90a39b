"""Columns of a formula that follow from the levels of factors, and the design they make.

Importing this module imports formulaic and pandas: do it inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from formulaic.materializers.types import EvaluatedFactor, FactorValues
from formulaic.parser.types import Factor

from expfam_glm.data.frames import all_finite, assemble
from expfam_glm.kernels.coded import Coded, Matrix
from expfam_glm.kernels.term import Term

# Fewer columns of factors are as fast dense, and fewer doubles of them as well.
_FEWEST_COLUMNS = 16
_FEWEST_DOUBLES = 1 << 22
# More levels of a product than this are numbered anew by those that occur.
_MOST_LEVELS = 1 << 12


@dataclass(frozen=True, eq=False)
class ByLevel:
    """One column: a number for each level of the rows, times a numeric column if there is one."""

    codes: np.ndarray  # (n,); the same array for all columns of a term
    values: np.ndarray  # (levels,)
    slope: np.ndarray | None = None  # (n,)


def numbered(factor: EvaluatedFactor) -> tuple[np.ndarray, EvaluatedFactor] | None:
    """The level of each row, and the factor on one row for each level; None for other columns."""
    values = factor.values.__wrapped__
    if factor.metadata.kind is not Factor.Kind.CATEGORICAL or np.ndim(values) != 1:
        return None
    found = pd.Series(values).astype("category").cat
    codes = found.codes.to_numpy()
    if codes.min(initial=0) < 0:
        return None
    levels = found.categories
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        levels = pd.Categorical(levels, categories=levels, ordered=found.ordered)
    rows = FactorValues(pd.Series(levels), metadata=factor.metadata)
    return codes.astype(np.intp), factor.replace(values=rows)


class Products:
    """Products of columns; those of the same factors share their codes and slopes."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[Any, ...]] = {}

    def of(self, columns: Sequence[Any]) -> Any:
        """The product of columns: of one row each, or by level."""
        coded = [one for one in columns if isinstance(one, ByLevel)]
        plain = [one for one in columns if not isinstance(one, ByLevel)]
        if not coded:
            return self._multiplied(plain)
        codes, values = coded[0].codes, coded[0].values
        for other in coded[1:]:
            codes, places = self._together(codes, other.codes, len(values), len(other.values))
            values = np.multiply.outer(values, other.values).ravel()
            values = values if places is None else values[places]
        return ByLevel(codes, values, self._multiplied(plain) if plain else None)

    def _multiplied(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        key = tuple(map(id, columns))
        if key not in self._known:
            product = columns[0]
            for other in columns[1:]:
                product = np.multiply(product, other)
            self._known[key] = product, columns  # an id is free again once its array is gone
        return self._known[key][0]

    def _together(
        self, first: np.ndarray, second: np.ndarray, m: int, k: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The level of each row among the m·k, and which of them are left where these are many."""
        key = id(first), id(second), -1
        if key not in self._known:
            codes, places = first * k + second, None
            if m * k > _MOST_LEVELS:
                places, codes = np.unique(codes, return_inverse=True)
            self._known[key] = codes, places, first, second
        codes, places = self._known[key][:2]
        return codes, places


def matrix_of(columns: Sequence[tuple[str, Any]], n: int, coded: bool) -> Matrix:
    """Labelled columns as a design, coded where it is allowed and saves much."""
    if not any(isinstance(values, ByLevel) for _, values in columns):
        return assemble([values for _, values in columns])
    constant, plain, terms = None, {}, dict[tuple[int, int], list[int]]()
    for place, (label, values) in enumerate(columns):
        if isinstance(values, ByLevel):
            terms.setdefault((id(values.codes), id(values.slope)), []).append(place)
        elif label == "Intercept" and constant is None and np.all(values == 1):
            constant = place
        else:
            plain[place] = values
    X = Coded(
        n, len(columns), constant, assemble(list(plain.values())) if plain else np.empty((n, 0)),
        np.array(list(plain), np.intp), tuple(_term(columns, places) for places in terms.values()),
    )  # fmt: skip
    width = sum(map(len, terms.values()))
    large = width >= _FEWEST_COLUMNS and width * n >= _FEWEST_DOUBLES
    return X if coded and large else X.array()


def _term(columns: Sequence[tuple[str, Any]], places: list[int]) -> Term:
    held: list[ByLevel] = [columns[place][1] for place in places]
    slope = held[0].slope
    return Term.of(
        held[0].codes,
        np.stack([one.values for one in held], axis=1),
        None if slope is None else np.asarray(slope, dtype=np.float64),
        np.array(places, np.intp),
    )


def finite(X: Matrix) -> bool:
    """Whether every value of a design is finite."""
    if not isinstance(X, Coded):
        return all_finite(X)
    slopes = [term.slope for term in X.terms if term.slope is not None]
    return all(map(all_finite, [X.dense, *slopes, *(term.table for term in X.terms)]))
