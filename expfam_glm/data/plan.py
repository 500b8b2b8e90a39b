"""X of a batch put together without formulaic: columns, levels of factors and their products.

Formulaic takes longer to encode a batch than the fit takes to use it. Once it has told what each
column of the design is, batches are made by that. What is out of the ordinary in a batch (a value
that is missing, or no level) is left to formulaic, which says what it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from expfam_glm.data.frames import Column, Table, all_finite, columnwise

if TYPE_CHECKING:
    from expfam_glm.data.expression import Expression


class Part(NamedTuple):
    """What a column of X is multiplied by: a number of each row, or whether it has a level."""

    code: str
    level: int | None = None


@dataclass(frozen=True)
class Plan:
    """How the columns of X follow from those of the data."""

    response: str
    columns: tuple[tuple[Part, ...], ...]  # the product that each is; of nothing: the intercept
    numbers: Mapping[str, Expression]  # by their code
    factors: Mapping[str, tuple[str, tuple[Any, ...]]]  # by their code: a column and its levels
    kinds: Mapping[str, str]  # of the columns that are read
    state: Any  # of the transforms, packed

    @property
    def shows_all(self) -> bool:
        """Whether a number that is not finite leaves one in X: a transform could hide it."""
        return not any(part.python for part in self.numbers.values())

    def matrix(self, table: Any, read: Table, finite: bool) -> np.ndarray | None:
        """X (n, p) of an Arrow table, in the order of columns; None where formulaic must look.

        `finite` says that the numbers of the table are known to be.
        """
        named = {name for part in self.numbers.values() for name in part.variables}
        columns = {name: read.column(name, finite=finite) for name in self.kinds if name in named}
        if not all(is_plain(column) for column in columns.values()):
            return None
        numbers = self._numbers(columns, table.num_rows)
        if numbers is None:
            return None
        codes = {}
        for code, (name, levels) in self.factors.items():
            found = _codes(table.column(name), levels)
            if found is None:
                return None
            codes[code] = found
        one = np.ones(table.num_rows)
        with np.errstate(over="ignore"):
            made = [_product(parts, numbers, codes, one) for parts in self.columns]
        overflown = any(
            sum(part.level is None for part in parts) > 1 and not all_finite(values)
            for parts, values in zip(self.columns, made, strict=True)
        )
        return None if overflown else columnwise(made)

    def _numbers(self, columns: Mapping[str, Column], n: int) -> dict[str, np.ndarray] | None:
        """The numeric parts; None where one is not finite."""
        found = {
            code: columns[code].number() for code, part in self.numbers.items() if not part.python
        }
        computed = {code: part for code, part in self.numbers.items() if part.python}
        if computed:
            from expfam_glm.data.encode import evaluate, unpack
            from expfam_glm.data.variables import variables_of

            variables, state = variables_of(columns.values()), unpack(["dict", self.state])
            found |= {code: evaluate(part, variables, n, state) for code, part in computed.items()}
            if not all(all_finite(found[code]) for code in computed):
                return None
        return found


def plan_of(state: Mapping[str, Any], allow_code: bool) -> Plan | None:
    """The plan of a design, from its state; None where it has other columns than these."""
    from expfam_glm.data.encode import level_text
    from expfam_glm.data.expression import arguments_of
    from expfam_glm.data.formula import parse

    parsed = parse(state["formula"], state["names"], allow_code=allow_code)
    kinds = dict(state["variables"])
    if parsed.offsets or kinds.get(state["response"]) != "number":
        return None
    levels = {factor["term"]: tuple(factor["levels"]) for factor in state["factors"]}
    choices: dict[str, list[tuple[str, Part]]] = {}  # what a factor of a term may be, by labels
    numbers, factors = {}, {}
    for part in parsed.factors:
        if part.code not in levels:
            numbers[part.code] = part
            choices[part.code] = [(part.written, Part(part.code))]
            continue
        arguments = arguments_of(part.code, "C") if part.python else [part]
        if not arguments or arguments[0].python:
            return None
        factors[part.code] = arguments[0].code, levels[part.code]
        choices[part.code] = [
            (f"{part.written}[{level_text(level)}]", Part(part.code, k))
            for k, level in enumerate(levels[part.code])
        ]
    if any(factor["contrast"] != "treatment" for factor in state["factors"]) or any(
        kinds.get(name, "number") != "number"  # others are no columns
        for part in numbers.values()
        for name in part.variables
    ):
        return None
    products: dict[str, tuple[Part, ...]] = {"Intercept": ()}
    for term in parsed.terms:
        each = [choices.get(factor.expr) for factor in term.factors if factor.expr != "1"]
        if None in each:
            return None
        for product in itertools.product(*(one for one in each if one is not None)):
            label, parts = ":".join(label for label, _ in product), tuple(p for _, p in product)
            if products.setdefault(label or "Intercept", parts) != parts:
                return None
    if any(label not in products for label in state["labels"]):
        return None
    columns = tuple(products[label] for label in state["labels"])
    return Plan(state["response"], columns, numbers, factors, kinds, state["transforms"])


def is_plain(column: Column) -> bool:
    """Whether a column holds a number in each row."""
    return column.kind == "number" and column.missing is None and column.infinite is None


def _codes(column: Any, levels: tuple[Any, ...]) -> np.ndarray | None:
    """The number of the level of each row; None where one has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.combine_chunks()
    values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
    coded = pa.types.is_dictionary(values.type)
    try:
        known = pa.array(levels).cast(values.type.value_type if coded else values.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None
    places = pc.index_in(values.dictionary if coded else values, known)
    places = places.take(values.indices) if coded else places
    return None if places.null_count else places.to_numpy(zero_copy_only=False)


def _product(
    parts: tuple[Part, ...], numbers: Mapping[str, np.ndarray],
    codes: Mapping[str, np.ndarray], one: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """A column of X."""
    values = one
    for code, level in parts:
        other = numbers[code] if level is None else np.equal(codes[code], level)
        values = other if values is one else values * other
    return values
