"""Columns of the data as a formula sees them. Importing this module imports pandas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from expfam_glm.data.frames import Column
from expfam_glm.errors import DataError


def variables_of(columns: Iterable[Column]) -> dict[str, Any]:
    """The columns as a formula sees them: arrays of numbers and booleans, series of categories."""
    return {column.name: _variable(column) for column in columns}


def _variable(column: Column) -> Any:
    """One column as a formula sees it; integers as floats, so that no power of them overflows."""
    match column.kind:
        case "boolean":
            return column.values
        case "number":
            numbers = column.number()
            exact = column.values.dtype.kind == "f" or np.abs(numbers).max(initial=0) < 2**53
            return numbers if exact else column.values  # else identities: levels of a factor
        case "text":
            return pd.Series(pd.Categorical(column.values))
        case "factor":
            return pd.Series(_used(column.values, list(column.levels)))
    raise DataError(
        f"{column.name!r} holds dates or times; turn it into a number (such as days since the "
        "first) or into text."
    )


def _used(codes: np.ndarray, levels: list[Any]) -> pd.Categorical:
    """Categories that are used, in their order; pandas' own search sorts the rows."""
    seen = np.bincount(codes, minlength=len(levels)) > 0
    if not seen.all():
        codes = np.cumsum(seen)[codes] - 1
        levels = [level for level, kept in zip(levels, seen, strict=True) if kept]
    return pd.Categorical.from_codes(codes, levels)
