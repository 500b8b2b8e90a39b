"""The design of a fitted model on new data, from its JSON text alone.

The text may come from a file, so nothing in it runs unless it is among the known transforms.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from expfam_glm.data.arrays import bad_columns, frame_matrix, is_frame, plain_matrix
from expfam_glm.data.frames import KINDS, Column, Table, open_table
from expfam_glm.data.rows import check_lengths, refuse_ragged, usable_rows
from expfam_glm.errors import DataError, FormulaError, show_rows

FILL = "Fill them in, or leave these rows out"


def rebuild(
    design: str, newdata: Any, *, allow_code: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Build the columns of a fitted design for new data.

    Levels, contrasts and the state of transforms (means, knots, polynomials) are those of the
    design; the new data are asked only for the variables on the right side of the formula.

    Parameters
    ----------
    design : str
        The attribute `design` of a `Frame`.
    newdata : data frame or array, shape (m, p)
        New rows; an array only for a design that came from arrays.
    allow_code : bool
        Whether a formula with Python code beyond the known transforms may run.

    Returns
    -------
    X : ndarray, shape (m, p)
        Design matrix.
    labels : tuple of str, length p
        Coefficient labels.

    Raises
    ------
    DataError
        If a value is missing, infinite, of another kind than at the fit, or an unseen level.
    FormulaError
        If a variable is not in the data, or the formula runs code that is not allowed.

    Examples
    --------
    >>> from expfam_glm.data.design import from_formula
    >>> data = {"y": [1.0, 2.0, 4.0, 3.0], "x": [1.0, 2.0, 3.0, 6.0]}
    >>> frame = from_formula("y ~ center(x)", data, {})
    >>> rebuild(frame.design, {"x": [3.0, 4.0]})[0]
    array([[1., 0.],
           [1., 1.]])
    """
    stored = json.loads(design)
    labels = tuple(stored["labels"])
    if stored["formula"] is None:
        return _from_arrays(labels, newdata), labels
    from expfam_glm.data import encode
    from expfam_glm.data.variables import variables_of

    parsed = _parse(stored, allow_code)
    columns, n = _columns(parsed.factors, stored, open_table(newdata), allow_code)
    variables = variables_of(columns)
    X, found, _ = encode.encode(parsed, variables, n, state=stored)
    if found != labels:
        raise FormulaError(
            f"the new data give the columns {', '.join(found)}, but the design has "
            f"{', '.join(labels)}."
        )
    return X, labels


def rebuild_offset(design: str, newdata: Any, *, allow_code: bool = False) -> np.ndarray | None:
    """Evaluate the `offset()` terms of a fitted formula on new data.

    Parameters
    ----------
    design, newdata, allow_code
        As for `rebuild`.

    Returns
    -------
    ndarray, shape (m,), or None
        The sum of the terms, on the link scale; None if the formula has none. Offsets and
        exposures given as arguments are not part of the formula: `json.loads(design)["roles"]`
        holds the names of their columns.

    Raises
    ------
    DataError, FormulaError
        As for `rebuild`.

    Examples
    --------
    >>> from expfam_glm.data.design import from_formula
    >>> data = {"y": [1.0, 2.0], "t": [1.0, 10.0]}
    >>> frame = from_formula("y ~ 1 + offset(log10(t))", data, {})
    >>> rebuild_offset(frame.design, {"t": [100.0]})
    array([2.])
    """
    stored = json.loads(design)
    if stored["formula"] is None:
        return None
    from expfam_glm.data import encode
    from expfam_glm.data.variables import variables_of

    parsed = _parse(stored, allow_code)
    if not parsed.offsets:
        return None
    columns, n = _columns(parsed.offsets, stored, open_table(newdata), allow_code)
    variables = variables_of(columns)
    state = encode.unpack(["dict", stored["offset_transforms"]])
    total = np.zeros(n)
    for part in parsed.offsets:
        values = encode.evaluate(part, variables, n, state)
        encode.check_finite(values, part.written, None)
        total += values
    return total


def _parse(stored: dict[str, Any], allow_code: bool) -> Any:
    """The stored formula taken apart again, `.` standing for the columns of the fit."""
    from expfam_glm.data.formula import parse

    return parse(stored["formula"], stored["names"], allow_code=allow_code)


def _columns(
    parts: Any, stored: dict[str, Any], table: Table, allow_code: bool
) -> tuple[list[Column], int]:
    """The columns that expressions need, of the kinds they had at the fit, and their length."""
    from expfam_glm.data.expression import required

    kinds = dict(stored["variables"])
    columns = [table.column(name) for name in required(parts, table.names, allow_code=allow_code)]
    n = len(columns[0].values) if columns else table.length
    if n is None:
        raise DataError("the new data have no rows.")
    refuse_ragged(columns)
    check_lengths(columns, n)
    usable_rows(columns, n, advice=FILL)
    return [_as_kind(column, kinds.get(column.name, column.kind)) for column in columns], n


def _as_kind(column: Column, kind: str) -> Column:
    """A column of new data as the kind that it had at the fit."""
    if column.kind == kind or {column.kind, kind} == {"text", "factor"}:
        return column
    if kind in ("text", "factor") and column.kind in ("number", "boolean"):
        levels, codes = np.unique(column.values, return_inverse=True)
        return replace(column, kind="factor", values=codes, levels=tuple(levels.tolist()))
    if kind == "number" and column.kind == "boolean":
        return replace(column, kind="number", values=column.number())
    if kind == "boolean" and column.kind == "number" and np.isin(column.values, (0, 1)).all():
        return replace(column, kind="boolean", values=column.values.astype(bool))
    shown = show_rows(column.array(), np.arange(len(column.values)) < 3)
    raise DataError(
        f"{column.name!r} held {KINDS[kind]} at the fit, but holds {KINDS[column.kind]} in the new "
        f"data ({shown})."
    )


def _from_arrays(labels: tuple[str, ...], newdata: Any) -> np.ndarray:
    """X for a design that came from arrays: a frame's columns by label, an array as it is."""
    if is_frame(newdata):
        X = frame_matrix(open_table(newdata), labels)
    else:
        X = plain_matrix(newdata)
    if X.shape[1] != len(labels):
        raise DataError(
            f"X must have {len(labels)} columns ({', '.join(labels)}), not {X.shape[1]}."
        )
    usable_rows(bad_columns(X, labels), len(X), advice=FILL)
    return X
