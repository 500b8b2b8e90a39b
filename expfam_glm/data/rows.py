"""Which rows of some columns can be used: lengths, missing and infinite values, dropping."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from expfam_glm.data.frames import Column, Table, read
from expfam_glm.errors import DataError, one_of, show_rows

ROLES = ("weights", "freq_weights", "sampling_weights", "trials", "offset", "exposure")
FILL_OR_DROP = "Fill them in, or pass missing='drop' to leave these rows out"


class NothingLeft(DataError):
    """Every row has a missing value."""


def given_roles(roles: Mapping[str, Any]) -> dict[str, Any]:
    """The roles that are not None; an unknown role is refused."""
    for role in roles:
        if role not in ROLES:
            raise one_of("role", role, ROLES)
    return {role: source for role, source in roles.items() if source is not None}


def fetch(source: Any, role: str, table: Table) -> Column:
    """A column by its name in the table, or an array given in its place."""
    if isinstance(source, str):
        return table.column(source, role)
    check_aligned(role, source, table.index)
    return read(source, role)


def refuse_response(roles: Mapping[str, Any], response: str) -> None:
    """Refuse the response in the role of an offset, a weight or the like."""
    for role, source in roles.items():
        if isinstance(source, str) and source == response:
            raise DataError(
                f"{role}={source!r} is the response itself; name another column, or leave it out."
            )


def row_index(values: Any) -> Any:
    """The row labels of a pandas object, None for anything else."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(values, pandas.Series | pandas.DataFrame):
        return values.index
    return None


def check_aligned(name: str, values: Any, index: Any) -> None:
    """Refuse a pandas Series whose row labels are not those of the data: it would be misread."""
    own = row_index(values)
    if own is None or index is None or len(own) != len(index) or own.equals(index):
        return
    raise DataError(
        f"{name} is a pandas Series with other row labels than the data. If its rows are in the "
        "same order pass its .to_numpy(); otherwise reindex it first."
    )


def check_lengths(columns: Iterable[Column], n: int) -> None:
    """Refuse columns that do not have n values, and n = 0."""
    for column in columns:
        if len(column.values) != n:
            raise DataError(
                f"{column.name!r} has {len(column.values)} values, but the data have {n} rows."
            )
    if n == 0:
        raise DataError("the data have no rows.")


def refuse_ragged(columns: Iterable[Column]) -> None:
    """Refuse columns of different lengths; of none is it known that it is the right one."""
    lengths = {column.name: len(column.values) for column in columns}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {count}" for name, count in lengths.items())
        raise DataError(
            f"the columns are of different lengths: {listed} values. Give one value for each row."
        )


def usable_rows(
    columns: Iterable[Column], n: int, missing: str = "raise", advice: str = FILL_OR_DROP
) -> np.ndarray | None:
    """The mask of the rows without missing values, None if that is all of n; or the refusal."""
    if missing not in ("raise", "drop"):
        raise one_of("missing", missing, ("raise", "drop"))
    absent = []
    for column in columns:
        if column.infinite is not None:
            shown = show_rows(column.values, column.infinite)
            raise DataError(f"{column.name!r} has infinite values ({shown}); correct them.")
        if column.missing is not None:
            absent.append((column.name, column.missing))
    if not absent:
        return None
    lost = np.logical_or.reduce([bad for _, bad in absent])
    listed = ", ".join({name: f"{name!r} ({_rows(bad)})" for name, bad in absent}.values())
    if missing == "raise":
        raise DataError(f"missing values in {lost.sum()} of {n} rows: {listed}. {advice}.")
    if lost.all():
        raise NothingLeft(f"every row has a missing value: {listed}. None would be left.")
    return ~lost


def _rows(bad: np.ndarray, most: int = 5) -> str:
    """The numbers of the first bad rows, and how many more there are."""
    where = np.flatnonzero(bad)
    more = f", and {where.size - most} more" if where.size > most else ""
    return f"row {', '.join(map(str, where[:most]))}{more}"


def are_counts(f: np.ndarray | None) -> bool:
    """Whether frequencies are whole numbers, so that observations can be told one by one."""
    return f is None or bool(np.array_equal(f, np.floor(f)))


def one_by_one(values: np.ndarray, f: np.ndarray | None) -> np.ndarray:
    """Values of rows (last axis) once for each of the observations that the rows stand for."""
    return values if f is None else np.repeat(values, np.asarray(f, dtype=np.intp), axis=-1)


def take(columns: Iterable[Column], kept: np.ndarray | None) -> list[Column]:
    """The columns on the kept rows."""
    return [column if kept is None else column.take(kept) for column in columns]
