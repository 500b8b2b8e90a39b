"""The rows of a fitted design on new data, with every offset, exposure, trial and weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.data.arrays import is_frame
from expfam_glm.data.frames import Table, open_table
from expfam_glm.data.rebuild import rebuild, rebuild_offset
from expfam_glm.data.response import exposure_is_offset, weights_and_offset
from expfam_glm.data.rows import check_lengths, fetch, row_index, usable_rows
from expfam_glm.errors import ArgumentError, DataError, show_rows
from expfam_glm.results.fitted import Coefficients, Rows, roles_of, rows_of
from expfam_glm.spec.link import Link

# A new row whose aliased columns differ by more from what the kept ones say is not estimable.
ALIAS = 1e-7
FILL = "Fill them in, or leave these rows out"


def new_rows(
    tree: xr.DataTree,
    newdata: Any,
    link: Link,
    given: Mapping[str, Any],
    *,
    new_response: bool,
    allow_code: bool = False,
) -> Rows:
    """The design of new data with what else the linear predictor needs.

    Parameters
    ----------
    tree : DataTree
    newdata : data frame or array
    link : Link
    given : mapping
        The roles offset, exposure, trials and weights as names, arrays, numbers or None.
    new_response : bool
        Whether new responses are wanted, which need trials and weights too.
    allow_code : bool
        Whether code in the formula may run.

    Raises
    ------
    ArgumentError
        If the model has a role that the new data lack, or the other way round.
    DataError, FormulaError
        If a column is missing, or holds what it must not.
    """
    if isinstance(newdata, Mapping) and newdata and not any(map(np.ndim, newdata.values())):
        newdata = {name: [value] for name, value in newdata.items()}  # one row
    design = str(tree.attrs["design"])
    X, _ = rebuild(design, newdata, allow_code=allow_code)
    columns = _columns(tree, newdata, len(X), given, _needed(link, new_response))
    in_formula = rebuild_offset(design, newdata, allow_code=allow_code)
    if in_formula is not None:
        columns["offset"] = columns.get("offset", 0.0) + in_formula
    w, offset = weights_and_offset(columns, link)
    return Rows(X, offset, w)


def _needed(link: Link, new_response: bool) -> tuple[str, ...]:
    """The roles without which a prediction would be another one."""
    needed = ["offset"]
    if new_response or exposure_is_offset(link):
        needed.append("exposure")
    return (*needed, "trials", "weights") if new_response else tuple(needed)


def _columns(
    tree: xr.DataTree, newdata: Any, m: int, given: Mapping[str, Any], needed: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """The columns of the roles on the new rows; refused where one would get lost."""
    fitted = roles_of(tree)
    strange = [role for role, value in given.items() if value is not None and role not in fitted]
    if strange:
        raise ArgumentError(
            f"{strange[0]}= was given, but the model was fitted without {strange[0]}."
        )
    table = (
        open_table(newdata) if is_frame(newdata) else Table((), _no_column, m, row_index(newdata))
    )
    columns = {}
    for role, name in fitted.items():
        source = given.get(role)
        if source is None:
            if role not in needed:
                continue
            source = _from_newdata(role, name, table)
        columns[role] = _numbers(role, source, table, m)
    return columns


def _from_newdata(role: str, name: str | None, table: Table) -> str:
    """The column of a role in the new data, or the request for it."""
    if name is None:
        raise ArgumentError(
            f"the model was fitted with {role} that the new data cannot bring along (an array, or "
            f"part of the left side); pass {role}= for the new rows: an array, a column's name or "
            "one number."
        )
    if name not in table.names:
        raise DataError(
            f"the model was fitted with {role}={name!r}, and the new data have no column "
            f"{name!r}; add it, or pass {role}= (an array, a column's name or one number)."
        )
    return name


def _numbers(role: str, source: Any, table: Table, m: int) -> np.ndarray:
    """The values of a role as numbers in its range."""
    if np.ndim(source) == 0 and not isinstance(source, str):
        source = np.full(m, source)
    column = fetch(source, role, table)
    check_lengths([column], m)
    usable_rows([column], m, advice=FILL)
    values = column.number()
    if role == "offset":
        return values
    bad = ~(values > 0)
    if role == "trials":
        bad |= values != np.floor(values)
    if np.any(bad):
        what = "positive whole numbers" if role == "trials" else "positive"
        raise DataError(f"{role} must be {what}; found {show_rows(values, bad)}.")
    return values


def _no_column(name: str) -> Any:
    """The columns of a bare array: there are none."""
    raise KeyError(name)


def check_estimable(tree: xr.DataTree, rows: Rows, found: Coefficients, link: Link) -> None:
    """Refuse new rows that need an aliased coefficient: the data do not determine their mean."""
    if found.kept.all():
        return
    X = rows_of(tree, link).X
    gamma, *_ = np.linalg.lstsq(X[:, found.kept], X[:, ~found.kept])
    gap = np.abs(rows.X[:, ~found.kept] - rows.X[:, found.kept] @ gamma)
    size = np.abs(rows.X[:, ~found.kept]) + np.abs(rows.X[:, found.kept]) @ np.abs(gamma)
    bad = gap > ALIAS * np.maximum(size, np.abs(X[:, ~found.kept]).max(axis=0))
    if not bad.any():
        return
    lost = [label for label, keep in zip(found.labels, found.kept, strict=True) if not keep]
    column = int(np.flatnonzero(bad.any(axis=0))[0])
    raise DataError(
        f"the fit does not determine the mean of these rows: {lost[column]!r} is a linear "
        "combination of other columns in the data of the fit, but not in "
        f"{show_rows(rows.X[:, ~found.kept][:, column], bad[:, column])}. Leave the term out of "
        "the model if the combination is to hold here too."
    )
