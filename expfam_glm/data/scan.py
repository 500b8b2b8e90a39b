"""One look at data that are read in batches: levels of factors, statistics of transforms.

From these and one complete row a table of a few rows is made that has every level, and the design
of that table is the design of the whole. Importing this module imports formulaic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from expfam_glm.data.source import Source, complete_rows
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
    formula: str, source: Source, roles: Mapping[str, str], missing: str, allow_code: bool,
    complete: Sequence[str] = (),
) -> Pilot:  # fmt: skip
    """The design of a formula on a source, of whose columns `complete` are needed as well.

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
    columns = tuple(dict.fromkeys([*names, *roles.values(), *complete]))
    if not names:
        raise FormulaError(f"{formula!r} names no column of the data.")
    source.check(columns)
    for name in columns:
        kind = source.kind(name)
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
            kind = source.kind(name)
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
        self.kinds = {name: source.kind(name) for name in columns}
        self.columns = columns
        self.row: dict[str, Any] = {}
        if (table := source.first(columns)) is not None:
            self._first_row(table)
        self.found = _Found({name: _Levels({}, frozenset()) for name in factors},
                            {name: _Sums() for name in centred.values()})  # fmt: skip
        if factors or centred:
            whole = missing == "drop"
            wanted = columns if whole else [*factors, *self.found.sums]
            gathering = partial(_gathered, self.found, whole)
            self.found = source.total(wanted, gathering, _Found.__add__) or self.found
        self._check(source)

    def _first_row(self, table: Any) -> None:
        for name in self.columns:
            values = complete_rows(table.select([name])).column(name)
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
                values = complete_rows(table).column(name)
                if len(values):
                    self.row[name] = values[0].as_py()
                    break
            else:
                raise DataError(f"{name!r} has no value in {source.name!r}.")

    def table(self) -> Any:
        """A table of a few rows with every level of every factor."""
        factors = {name: found.used for name, found in self.found.levels.items()}
        length = max([2, *map(len, factors.values())])
        arrays = {}
        for name in self.columns:
            kind = self.kinds[name]
            levels = factors.get(name) or [self.row[name]]
            if name in self.found.sums and len(levels) == 1:
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
        found = self.found.sums[column]
        known = dict(map(tuple, learnt))
        known["center"] = found.mean
        if known.get("scale") is not None:
            known["scale"] = found.deviation(known["ddof"])
        return [list(pair) for pair in known.items()]


@dataclass(frozen=True)
class _Sums:
    """Mean and scatter of a column, part by part (Chan, Golub and LeVeque 1983)."""

    n: int = 0
    mean: float = 0.0
    scatter: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> _Sums:
        values = values[np.isfinite(values)]  # what is infinite is told with its own row
        if not values.size:
            return cls()
        mean = float(values.mean())
        return cls(values.size, mean, float(np.sum((values - mean) ** 2)))

    def __add__(self, other: _Sums) -> _Sums:
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        shift = other.mean - self.mean
        scatter = self.scatter + (other.scatter + shift**2 * self.n * other.n / n)
        return _Sums(n, self.mean + shift * other.n / n, scatter)

    def deviation(self, ddof: int) -> float:
        return float(np.sqrt(self.scatter / (self.n - ddof)))


@dataclass(frozen=True)
class _Levels:
    """The levels of a factor in the order of the data, and those that occur."""

    order: dict[Any, None]
    seen: frozenset[Any]

    @classmethod
    def of(cls, column: Any) -> _Levels:
        column = column.combine_chunks()
        if not pa.types.is_dictionary(column.type):
            values = [v for v in pc.unique(column).to_pylist() if v is not None]
            return cls(dict.fromkeys(values), frozenset(values))
        declared = column.dictionary.to_pylist()
        codes = pc.unique(column.indices).drop_null().to_pylist()
        return cls(dict.fromkeys(declared), frozenset(declared[k] for k in codes))

    def __add__(self, other: _Levels) -> _Levels:
        return _Levels(self.order | other.order, self.seen | other.seen)

    @property
    def used(self) -> list[Any]:
        return [level for level in self.order if level in self.seen]


@dataclass(frozen=True)
class _Found:
    """What a look at some rows gives, by column."""

    levels: dict[str, _Levels]
    sums: dict[str, _Sums]

    def __add__(self, other: _Found) -> _Found:
        levels = {name: found + other.levels[name] for name, found in self.levels.items()}
        for name, found in levels.items():
            if len(found.seen) > _MOST_LEVELS:
                raise DataError(
                    f"{name!r} has more than {_MOST_LEVELS} levels, too many for a factor of a "
                    "design; group them, or use it as clusters."
                )
        return _Found(levels, {name: own + other.sums[name] for name, own in self.sums.items()})


def _gathered(nothing: _Found, whole: bool, tables: Iterator[Any], start: int) -> _Found:
    """What some tables give, of complete rows alone if these are asked for."""
    found = nothing
    for table in tables:
        kept = complete_rows(table) if whole else table
        found += _Found(
            {name: _Levels.of(kept.column(name)) for name in nothing.levels},
            {
                name: _Sums.of(
                    complete_rows(kept.select([name])).column(name).to_numpy().astype(float)
                )
                for name in nothing.sums
            },
        )
    return found
