"""Formula or arrays → the labelled design of a model, and the same design on new data.

The columns that a model needs are selected and looked through once: null, NaN and infinity are
found by one mask and reported with their column and rows (counted from 0) before anything is
evaluated. The response is not checked against a family here. Formulaic, and with it pandas, is
loaded only where there is a formula.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from expfam_glm.data.arrays import bad_columns, check_labels, read_matrix
from expfam_glm.data.bars import GroupEffects, group_codes, split_bars
from expfam_glm.data.frames import Table, open_table
from expfam_glm.data.magnitude import square_sum
from expfam_glm.data.rows import (
    check_lengths,
    fetch,
    given_roles,
    refuse_response,
    row_index,
    take,
    usable_rows,
)
from expfam_glm.errors import ArgumentError, FormulaError
from expfam_glm.kernels.coded import Matrix


@dataclass(frozen=True, eq=False)
class Frame:
    """The labelled design of a model.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Response, float64; the successes where the left side is cbind(successes, failures).
    X : ndarray or Coded, shape (n, p)
        Design matrix, float64, C-contiguous; or with factors as levels.
    labels : tuple of str, length p
        Coefficient labels.
    response : str
        The left side as written.
    formula : str or None
        The formula as written; None for arrays.
    columns : dict of str to ndarray, shape (n,)
        What was given among weights, freq_weights, trials, offset and exposure, float64.
    design : str
        JSON text from which `rebuild` makes the same columns for new data.
    n_dropped : int
        Rows left out because of missing values.
    kept : ndarray of bool, shape (n + n_dropped,), or None
        Which rows of the data are in the design; None if all are.
    table : Table
        The data given, for further columns.
    effects : tuple of GroupEffects
        The group effects of the formula, on the rows of the design.
    bounded : bool
        Whether the sum of the squares of X is known to be finite.
    """

    y: np.ndarray
    X: Matrix
    labels: tuple[str, ...]
    response: str
    formula: str | None
    columns: dict[str, np.ndarray]
    design: str
    n_dropped: int
    kept: np.ndarray | None
    table: Table = field(repr=False)
    effects: tuple[GroupEffects, ...] = ()
    bounded: bool = False

    def column(self, source: Any, role: str) -> np.ndarray:
        """A further column on the rows of the design, such as groups or times.

        Parameters
        ----------
        source : str or array, shape (n + n_dropped,)
            Name of a column of the data, or an array with one value for each row of the data.
        role : str
            What the column is for; named in messages.

        Returns
        -------
        ndarray, shape (n,)
            Numbers, booleans and dates in their own dtype, text and categories as objects.

        Raises
        ------
        DataError
            If the name is unknown, the length is wrong, or a value on the rows of the design is
            missing or infinite.
        """
        found = fetch(source, role, self.table)
        n = len(self.y) + self.n_dropped
        check_lengths([found], n)
        usable_rows([found.only(self.kept)], n, advice="Fill them in, or leave these rows out")
        values = found.array()
        return values if self.kept is None else values[self.kept]

    def lacks(self, source: Any, role: str) -> bool:
        """Whether a further column misses values on the rows of the design."""
        found = fetch(source, role, self.table)
        check_lengths([found], len(self.y) + self.n_dropped)
        return found.only(self.kept).missing is not None


def from_formula(
    formula: str,
    data: Any,
    roles: Mapping[str, Any],
    missing: str = "raise",
    *,
    allow_code: bool = True,
    state: Mapping[str, Any] | None = None,
    coded: bool = False,
    complete: Sequence[Any] = (),
) -> Frame:
    """Build the design that a formula describes on a data frame.

    Parameters
    ----------
    formula : str
        Such as "y ~ age + C(centre)"; with `offset(x)` terms and `cbind(successes, failures)`.
    data : data frame
        A pandas, polars or pyarrow table, an xarray Dataset with 1-d variables, or a dict of
        arrays.
    roles : mapping
        Column name or array (n,) for any of weights, freq_weights, trials, offset, exposure.
    missing : {"raise", "drop"}
        What to do with rows that have a null or NaN in a column of the model. Infinite values
        are always refused. Rows are dropped before any term is evaluated.
    allow_code : bool
        Whether the formula may run Python code beyond the known transforms, as in `{x % 2}`;
        False for formulas from a file or the command line.
    state : mapping, optional
        The design of other rows, whose levels and statistics are used for these.
    coded : bool
        Whether X may keep factors as levels where that saves much.
    complete : sequence of str or array (n,)
        Further columns, without whose values a row cannot be used: clusters and times.

    Returns
    -------
    Frame
        The labelled design.

    Raises
    ------
    FormulaError
        If the formula cannot be read or evaluated, or names what is not in the data.
    DataError
        If a column has missing, infinite or non-numeric values, or the wrong length.
    ArgumentError
        If a role or the value of `missing` is not known.

    Examples
    --------
    >>> data = {"y": [1, 0, 1, 1], "dose": [0.5, 1, 2, 4], "arm": ["a", "b", "a", "b"]}
    >>> frame = from_formula("y ~ log(dose) + arm", data, {})
    >>> frame.labels
    ('Intercept', 'log(dose)', 'arm[b]')
    """
    from expfam_glm.data import encode
    from expfam_glm.data.expression import required
    from expfam_glm.data.formula import parse
    from expfam_glm.data.variables import variables_of

    if not isinstance(formula, str):
        raise FormulaError(f"a formula is text such as 'y ~ x', not {type(formula).__name__}.")
    table = open_table(data)
    given = given_roles(roles)
    besides = [fetch(source, "groups or time", table) for source in complete]
    named = {source for source in given.values() if isinstance(source, str)}
    available = [n for n in table.names if n not in named]
    fixed, bars = split_bars(formula)
    parsed = parse(fixed, available, allow_code=allow_code)
    if parsed.wildcard:
        table.refuse_nameless("the . in the formula")
    inner = [
        parse(f"{parsed.left} ~ {bar.effects}", available, allow_code=allow_code) for bar in bars
    ]
    refuse_response(given, parsed.left)
    parts = (*parsed.response, *parsed.factors, *parsed.offsets)
    names = required(parts, table.names, allow_code=allow_code)
    outer = set(names)
    further = (factor for one in inner for factor in one.factors)
    names = required((*parts, *further), table.names, allow_code=allow_code)
    needed = [table.column(name) for name in names]
    extra = {role: fetch(source, role, table) for role, source in given.items()}
    grouping = [fetch(name, "group", table) for bar in bars for name in bar.groups]
    if not needed:
        raise FormulaError(f"{formula!r} names no column of the data.")
    rows = len(needed[0].values)
    every = [*needed, *extra.values(), *grouping, *besides]
    check_lengths(every, rows)
    kept = usable_rows(every, rows, missing)
    codes = iter(take(grouping, kept))
    needed, extra = take(needed, kept), dict(zip(extra, take(extra.values(), kept), strict=True))
    n = len(needed[0].values)

    columns = {role: column.number() for role, column in extra.items()}
    for column, part in ((c, p) for c in needed for p in parsed.response):
        if part.code == column.name and not part.python and not column.is_numeric:
            some = str(max(column.array(), key=str)) if column.kind != "date" else "yes"
            column.number(f"Code it as numbers, such as I({column.name} == {some!r}) for 0 and 1.")
    variables = variables_of(needed)

    def evaluate(part: Any, state: dict[str, Any]) -> np.ndarray:
        values = encode.evaluate(part, variables, n, state)
        encode.check_finite(values, part.written, kept)
        return values

    y = evaluate(parsed.response[0], {})
    if len(parsed.response) == 2:
        if "trials" in columns:
            raise ArgumentError("cbind(successes, failures) gives the trials; leave trials= out.")
        columns["trials"] = y + evaluate(parsed.response[1], {})
    X, labels, state = encode.encode_coded(
        parsed, variables, n, kept=kept, state=state, coded=coded
    )
    offset_state: dict[str, Any] = {}
    for part in parsed.offsets:
        columns["offset"] = columns.get("offset", 0.0) + evaluate(part, offset_state)
    effects = []
    for bar, one in zip(bars, inner, strict=True):
        Z, effect_labels, _ = encode.encode(one, variables, n, kept=kept)
        levels, places = group_codes([next(codes).array() for _ in bar.groups])
        effects.append(GroupEffects(bar.name, effect_labels, levels, places, Z, bar.correlated))
    design = {
        "formula": fixed,
        "response": parsed.left,
        "names": parsed.names,
        "roles": _role_names(given),
        "variables": [[column.name, column.kind] for column in needed if column.name in outer],
        **state,
        "offset_transforms": encode.pack(offset_state)[1],
        "labels": labels,
    }
    return Frame(
        y=y,
        X=X,
        labels=labels,
        response=parsed.left,
        formula=formula,
        columns=columns,
        design=json.dumps(design, allow_nan=False),
        n_dropped=rows - n,
        kept=kept,
        table=table,
        effects=tuple(effects),
    )


def from_arrays(
    y: Any,
    X: Any,
    roles: Mapping[str, Any],
    labels: Sequence[str] | None = None,
    missing: str = "raise",
    complete: Sequence[Any] = (),
) -> Frame:
    """Take a design from arrays as they are; no intercept is added.

    Parameters
    ----------
    y : array, shape (n,)
        Response.
    X : array, shape (n, p) or (n,), or data frame
        Design matrix; a C-contiguous float64 array is not copied. A data frame's columns must be
        numeric and give the labels.
    roles : mapping
        Array (n,), or the name of a column if X is a data frame, for any of weights,
        freq_weights, trials, offset, exposure.
    labels : sequence of str, length p, optional
        Coefficient labels; default the columns of a data frame, else x0, x1, ...
    missing : {"raise", "drop"}
        What to do with rows that have a null or NaN; infinite values are always refused.
    complete : sequence of str or array (n,)
        As for `from_formula`.

    Returns
    -------
    Frame
        The labelled design.

    Raises
    ------
    DataError
        If values are missing, infinite or not numeric, a shape is wrong, or a label is repeated.
    ArgumentError
        If a role or the value of `missing` is not known.

    Examples
    --------
    >>> frame = from_arrays([0, 1, 1], [[1.0, 0.2], [1.0, 0.4], [1.0, 0.9]], {})
    >>> frame.labels
    ('x0', 'x1')
    """
    given = given_roles(roles)
    matrix, found, table = read_matrix(X)
    if table.index is None:
        table = replace(table, index=row_index(y))
    response = fetch(y, "y", table)
    extra = {role: fetch(source, role, table) for role, source in given.items()}
    names = check_labels(labels, found, matrix.shape[1])
    rows = len(matrix)
    besides = [fetch(source, "groups or time", table) for source in complete]
    check_lengths([response, *extra.values(), *besides], rows)
    bounded = math.isfinite(square_sum(matrix))
    bad = [] if bounded else bad_columns(matrix, names)
    every = [response, *bad, *extra.values(), *besides]
    kept = usable_rows(every, rows, missing)
    response, *others = take([response, *extra.values()], kept)
    if kept is not None:
        matrix = matrix[kept]
    design = {"formula": None, "roles": _role_names(given), "labels": names}
    return Frame(
        y=response.number("Code it as numbers, such as y == 'yes' for 0 and 1."),
        X=matrix,
        labels=names,
        response="y",
        formula=None,
        columns={role: column.number() for role, column in zip(extra, others, strict=True)},
        design=json.dumps(design, allow_nan=False),
        n_dropped=rows - len(matrix),
        kept=kept,
        table=table,
        bounded=bounded,
    )


def _role_names(given: Mapping[str, Any]) -> dict[str, str | None]:
    """The names of the columns that have a role; None where it was an array."""
    return {role: source if isinstance(source, str) else None for role, source in given.items()}
