"""One look at data that are read in batches: levels of factors, statistics of transforms.

From these and one complete row a table of a few rows is made that has every level, and the design
of that table is the design of the whole. Importing this module imports formulaic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from formulaic.transforms import TRANSFORMS

from expfam_glm.data.bars import split_bars
from expfam_glm.data.design import Frame, from_formula
from expfam_glm.data.expression import Expression, required
from expfam_glm.data.formula import parse
from expfam_glm.data.frames import close_to
from expfam_glm.data.source import Source
from expfam_glm.errors import DataError, FormulaError

_CENTRED = ("center", "scale", "standardize")
_STATEFUL = {
    name for name, function in TRANSFORMS.items()
    if getattr(function, "__is_stateful_transform__", False) and name not in (*_CENTRED, "Q")
} | {"lag"}  # fmt: skip
_MOST_LEVELS = 100_000


@dataclass(frozen=True)
class Pilot:
    """The design on a few rows that have every level, and the columns that it needs."""

    frame: Frame
    columns: tuple[str, ...]


def pilot(
    formula: str, source: Source, roles: Mapping[str, str], missing: str, allow_code: bool
) -> Pilot:
    """The design of a formula on a source.

    Raises
    ------
    FormulaError
        If the formula cannot be read, names what is not there, has group effects, or needs
        statistics of all rows other than those of `center` and `scale`.
    DataError
        If a column has no value at all, or a factor has too many levels.
    """
    fixed, bars = split_bars(formula)
    if bars:
        raise FormulaError(
            f"{formula!r} has the group effect {bars[0].written}, whose rows must be in memory; "
            "read the data into a data frame, or leave it out."
        )
    free = [name for name in source.names if name not in roles.values()]
    # code beyond the known transforms could look at all rows of a batch, not of the data
    parsed = parse(fixed, free, allow_code=False)
    parts = (*parsed.response, *parsed.factors, *parsed.offsets)
    for part in parts:
        _refuse_stateful(part)
    names = required(parts, source.names, allow_code=False)
    for role, name in roles.items():
        if name not in source.names:
            raise DataError(f"{role} {name!r} is not in the data; {close_to(name, source.names)}")
    columns = tuple(dict.fromkeys([*names, *roles.values()]))
    if not names:
        raise FormulaError(f"{formula!r} names no column of the data.")
    for name in columns:
        kind = source.dataset.schema.field(name).type
        if pa.types.is_nested(kind):
            raise DataError(f"{name!r} must be one column, but each of its values is a {kind}.")
    centred = _centred(parsed.factors)
    looked = _Look(source, columns, _categorical(source, parsed.factors), centred, missing)
    table = looked.table()
    frame = from_formula(formula, table, roles, missing, allow_code=allow_code)
    if centred:
        state = json.loads(frame.design)
        state["transforms"] = [
            [code, ["dict", looked.statistics(centred[code], kept[1])]] if code in centred
            else [code, kept]
            for code, kept in state["transforms"]
        ]  # fmt: skip
        frame = replace(frame, design=json.dumps(state, allow_nan=False))
    return Pilot(replace(frame, kept=None, n_dropped=0), columns)


def _refuse_stateful(part: Expression) -> None:
    for name in part.functions:
        if name in _STATEFUL:
            raise FormulaError(
                f"{part.written}: {name}() needs all rows at once, which data that are read in "
                "batches do not give; compute its columns beforehand, or use powers such as "
                "I(x ** 2), or read the data into a data frame."
            )
        nested = name in _CENTRED and _argument(part) is None
        if nested:
            raise FormulaError(
                f"{part.written}: of data that are read in batches {name}() takes one column as it "
                "is; compute the transformed column beforehand."
            )


def _argument(part: Expression) -> str | None:
    """The column x of `center(x)`; None for anything else."""
    if len(part.functions) != 1 or len(part.variables) != 1:
        return None
    (name,), (variable,) = part.functions, part.variables
    return variable if part.code.replace(" ", "") in (f"{name}({variable})",) else None


def _centred(factors: Sequence[Expression]) -> dict[str, str]:
    """The expressions that centre a column, and that column."""
    found = {}
    for part in factors:
        column = _argument(part)
        if column is not None and part.functions[0] in _CENTRED:
            found[part.code] = column
    return found


def _categorical(source: Source, factors: Sequence[Expression]) -> list[str]:
    """Columns whose distinct values are levels: text, categories, booleans, and those in C()."""
    found: dict[str, None] = {}
    for part in factors:
        for name in part.variables:
            if name not in source.names:
                continue
            kind = source.dataset.schema.field(name).type
            plain = pa.types.is_integer(kind) or pa.types.is_floating(kind)
            if not (plain or pa.types.is_decimal(kind)) or "C" in part.functions:
                found[name] = None
    return list(found)


class _Look:
    """Levels, one complete row and sums of columns, gathered in one pass."""

    def __init__(
        self, source: Source, columns: Sequence[str], factors: Sequence[str],
        centred: Mapping[str, str], missing: str,
    ) -> None:  # fmt: skip
        self.schema = source.dataset.schema
        self.columns = columns
        self.levels: dict[str, dict[Any, None]] = {name: {} for name in factors}
        self.row: dict[str, Any] = {}
        self.sums = {name: _Sums() for name in centred.values()}
        whole = missing == "drop"
        wanted = columns if whole or not (factors or centred) else [*factors, *self.sums]
        for table in source.tables(columns):
            self._first_row(table)
            break
        if not (factors or centred):
            self._check(source)
            return
        for table in source.tables(list(dict.fromkeys(wanted))):
            self._gather(_complete(table) if whole else table)
        self._check(source)

    def _first_row(self, table: Any) -> None:
        for name in self.columns:
            values = _complete(table.select([name])).column(name)
            if pa.types.is_floating(values.type):  # what is infinite is told with its own row
                finite = values.filter(pc.is_finite(values))
                values = finite if len(finite) else values
            if len(values):
                self.row[name] = values[0].as_py()

    def _check(self, source: Source) -> None:
        """Find a value for columns whose first batch has none."""
        for name in self.columns:
            if name in self.row:
                continue
            for table in source.tables([name]):
                values = _complete(table).column(name)
                if len(values):
                    self.row[name] = values[0].as_py()
                    break
            else:
                raise DataError(f"{name!r} has no value in {source.name!r}.")

    def _gather(self, table: Any) -> None:
        for name, found in self.levels.items():
            column = table.column(name).combine_chunks()
            if pa.types.is_dictionary(column.type):
                used = set(pc.unique(column.indices).drop_null().to_pylist())
                values = [v for k, v in enumerate(column.dictionary.to_pylist()) if k in used]
            else:
                values = [v for v in pc.unique(column).to_pylist() if v is not None]
            found.update(dict.fromkeys(values))
            if len(found) > _MOST_LEVELS:
                raise DataError(
                    f"{name!r} has more than {_MOST_LEVELS} levels, too many for a factor of a "
                    "design; group them, or use it as clusters."
                )
        for name, sums in self.sums.items():
            values = _complete(table.select([name])).column(name).to_numpy().astype(float)
            sums.add(values[np.isfinite(values)])  # what is infinite is told with its own row

    def table(self) -> Any:
        """A table of a few rows with every level of every factor."""
        length = max([2, *(len(found) for found in self.levels.values())])
        arrays = {}
        for name in self.columns:
            kind = self.schema.field(name).type
            levels = list(self.levels.get(name, {})) or [self.row[name]]
            if name in self.sums and len(levels) == 1:
                levels.append(levels[0] + 1)  # so that the standard deviation is not zero
            values = [levels[k % len(levels)] for k in range(length)]
            if pa.types.is_dictionary(kind):
                codes = pa.array([k % len(levels) for k in range(length)], pa.int32())
                dictionary = pa.array(levels, kind.value_type)
                arrays[name] = pa.DictionaryArray.from_arrays(codes, dictionary)
            else:
                arrays[name] = pa.array(values, kind)
        return pa.table(arrays)

    def statistics(self, column: str, learnt: Sequence[Any]) -> list[Any]:
        """The state of `center` or `scale` with the mean and standard deviation of all rows."""
        found = self.sums[column]
        known = dict(map(tuple, learnt))
        known["center"] = found.mean
        if known.get("scale") is not None:
            known["scale"] = found.deviation(known["ddof"])
        return [list(pair) for pair in known.items()]


class _Sums:
    """Mean and scatter of a column, batch by batch (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.n, self.mean, self.scatter = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        if not values.size:
            return
        mean = float(values.mean())
        n = self.n + values.size
        shift = mean - self.mean
        self.scatter += float(np.sum((values - mean) ** 2)) + shift**2 * self.n * values.size / n
        self.mean += shift * values.size / n
        self.n = n

    def deviation(self, ddof: int) -> float:
        return float(np.sqrt(self.scatter / (self.n - ddof)))


def _complete(table: Any) -> Any:
    """The rows without null or NaN."""
    kept = None
    for column in table.columns:
        good = pc.is_valid(column)
        if pa.types.is_floating(column.type):
            good = pc.and_(good, pc.invert(pc.fill_null(pc.is_nan(column), True)))
        kept = good if kept is None else pc.and_(kept, good)
    return table if kept is None else table.filter(kept)
