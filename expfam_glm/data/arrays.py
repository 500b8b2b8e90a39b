"""A design matrix given as an array or data frame: X as float64, its labels, its bad columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expfam_glm.data.frames import Column, Table, all_finite, assemble, open_table, read
from expfam_glm.data.rows import check_lengths, row_index
from expfam_glm.errors import DataError

CODE = "Use a formula, which codes categories, or code it yourself."


def read_matrix(X: Any) -> tuple[np.ndarray, tuple[str, ...] | None, Table]:
    """X (n, p), its labels if it has any, and its columns by name; no copy where none is needed."""
    if is_frame(X):
        table = open_table(X)
        if table.names:
            table.refuse_nameless("X")
        names = tuple(X.data_vars) if hasattr(X, "data_vars") else table.names
        return frame_matrix(table, names), names, table
    own = getattr(X, "name", None)
    matrix = plain_matrix(X)
    labels = (own,) if isinstance(own, str) and matrix.shape[1] == 1 else _coordinate(X)
    return matrix, labels, Table((), _no_column, index=row_index(X))


def _coordinate(X: Any) -> tuple[str, ...] | None:
    """The labels along the columns of an xarray DataArray, where they are text."""
    dims: tuple[Any, ...] = getattr(X, "dims", ())
    coords: Any = getattr(X, "coords", {})
    if len(dims) != 2 or dims[1] not in coords:
        return None
    found = coords[dims[1]].values.tolist()
    return tuple(found) if all(isinstance(label, str) for label in found) else None


def is_frame(X: Any) -> bool:
    """Whether X has columns by name."""
    return isinstance(X, Mapping) or hasattr(X, "columns") or hasattr(X, "column_names")


def frame_matrix(table: Table, names: Sequence[str]) -> np.ndarray:
    """The named columns of a table, which must be numeric, as one matrix; nulls become NaN."""
    columns = [table.column(name) for name in names]
    if not columns:
        raise DataError("X has no columns with a name.")
    check_lengths(columns, len(columns[0].values))
    return assemble([_numbers(column) for column in columns])


def plain_matrix(X: Any) -> np.ndarray:
    """An array-like as a C-contiguous float64 matrix."""
    try:
        array = X if isinstance(X, np.ndarray) else np.asarray(X)
    except ValueError as error:
        raise DataError(f"X cannot be read as an array: {str(error).rstrip('.')}.") from error
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2:
        hint = "; give X.toarray()" if hasattr(X, "toarray") else ""
        raise DataError(f"X must have one or two dimensions, not {array.ndim}{hint}.")
    if 0 in array.shape:
        raise DataError(
            f"X has shape {array.shape}: no {'rows' if len(array) == 0 else 'columns'}."
        )
    plain = array.dtype.kind in "fiub" and array.dtype.itemsize <= 8
    if plain and not isinstance(array, np.ma.MaskedArray):
        return np.ascontiguousarray(array, dtype=np.float64)
    return assemble([_numbers(read(array[:, j], f"X[:, {j}]")) for j in range(array.shape[1])])


def _numbers(column: Column) -> np.ndarray:
    """A numeric column with NaN for what is missing."""
    values = column.number(CODE)
    return values if column.missing is None else np.where(column.missing, np.nan, values)


def _no_column(name: str) -> Any:
    """The columns of a bare array: there are none."""
    raise KeyError(name)


def check_labels(
    labels: Sequence[str] | None, found: tuple[str, ...] | None, p: int
) -> tuple[str, ...]:
    """One label for each column: those given, else those found, else x0, x1, ..."""
    if isinstance(labels, str):
        raise DataError(f"labels must be a sequence of {p} names, not the text {labels!r}.")
    chosen = labels if labels is not None else found or [f"x{j}" for j in range(p)]
    names = tuple(str(label) for label in chosen)
    if len(names) != p:
        raise DataError(f"labels has {len(names)} names, but X has {p} columns.")
    label, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(f"the label {label!r} is given to more than one column of X.")
    return names


def bad_columns(X: np.ndarray, names: Sequence[str]) -> list[Column]:
    """The columns of X that hold NaN or infinity, found by one pass where there are none."""
    if all_finite(X):
        return []
    return [read(X[:, j], name) for j, name in enumerate(names)]
