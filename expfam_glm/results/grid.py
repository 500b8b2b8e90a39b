"""The variables of a fitted formula as columns that can be changed, and the rows they make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.data.arrays import is_frame
from expfam_glm.data.frames import close_to, open_table
from expfam_glm.data.rows import refuse_ragged
from expfam_glm.errors import ArgumentError, DataError
from expfam_glm.results.door import need_rows
from expfam_glm.results.fitted import Coefficients, Rows, roles_of, stored_design
from expfam_glm.results.newdata import check_estimable, new_rows
from expfam_glm.spec.link import Link

# Steps of derivatives, of a value and of the spread of its column, and five-point formulas for
# points in the middle and at the ends of the range.
STEP, LEAST = 1e-3, 1e-6
STENCILS = {
    "middle": (np.array([-2, -1, 0, 1, 2]), np.array([1, -8, 0, 8, -1]) / 12),
    "low": (np.array([0, 1, 2, 3, 4]), np.array([-25, 48, -36, 16, -3]) / 12),
    "high": (np.array([-4, -3, -2, -1, 0]), np.array([3, -16, 36, -48, 25]) / 12),
}
# Columns read back from the design are true if they make it again to rounding.
SAME = 1e-9


@dataclass(frozen=True)
class Grid:
    """Columns of data under a fitted model, and the roles given beside them."""

    tree: xr.DataTree
    link: Link
    found: Coefficients
    columns: Mapping[str, np.ndarray]
    given: Mapping[str, Any]
    allow_code: bool

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values())))

    @cached_property
    def design(self) -> dict[str, Any]:
        """The stored design."""
        return json.loads(str(self.tree.attrs["design"]))

    def rows(self, **changes: Any) -> Rows:
        """The rows that the columns make, some of them changed."""
        rows = new_rows(
            self.tree,
            dict(self.columns) | changes,
            self.link,
            self.given,
            new_response=False,
            allow_code=self.allow_code,
        )
        check_estimable(self.tree, rows, self.found, self.link)
        return rows

    def column(self, name: str, role: str) -> np.ndarray:
        """A column by its name."""
        if name not in self.columns:
            raise DataError(f"{role} {name!r} is not in the data; {close_to(name, self.columns)}")
        return self.columns[name]

    @cached_property
    def variables(self) -> dict[str, list[Any] | None]:
        """The variables of the right side: levels of a categorical one, None for numbers."""
        if self.design["formula"] is None:
            labels = self.design["labels"]
            return {name: None for name in labels if np.ptp(self.columns[name]) > 0}
        kinds, levels = dict(self.design["variables"]), self._levels
        found: dict[str, list[Any] | None] = {}
        for part in self.parsed.factors:
            for name in part.variables:
                if kinds.get(name) in ("text", "factor", "boolean") or part.code in levels:
                    found[name] = levels.get(part.code, levels.get(name))
                else:
                    found.setdefault(name, None)
        return found

    @cached_property
    def parsed(self) -> Any:
        """The formula taken apart."""
        from expfam_glm.data.formula import parse

        return parse(self.design["formula"], self.design["names"], allow_code=self.allow_code)

    @cached_property
    def _levels(self) -> dict[str, list[Any]]:
        """The levels of the categorical terms."""
        return {factor["term"]: factor["levels"] for factor in self.design["factors"]}

    def levels(self, name: str) -> list[Any] | None:
        """The levels of a variable, None for numbers; an unknown variable is refused."""
        if name not in self.variables:
            known = ", ".join(map(repr, self.variables)) or "none"
            raise ArgumentError(
                f"variables names {name!r}, which is not on the right side of the model; its "
                f"variables are {known}."
            )
        return self.variables[name]

    def set_to(self, name: str, value: Any) -> Rows:
        """The rows with a variable at one value."""
        return self.with_values({name: value})

    def with_values(self, values: Mapping[str, Any]) -> Rows:
        """The rows with variables at one value each."""
        return self.rows(**{name: self._filled(name, value) for name, value in values.items()})

    def _filled(self, name: str, value: Any) -> np.ndarray:
        """A column of one value: a number, or one of the levels."""
        levels = self.levels(name)
        if levels is None:
            if not isinstance(value, Real):
                raise ArgumentError(f"{name!r} holds numbers and cannot be set to {value!r}.")
            return np.full(self.size, float(value))
        if value not in levels:
            raise ArgumentError(
                f"{name!r} has no level {value!r}; its levels are {', '.join(map(repr, levels))}."
            )
        return _column([value] * self.size)

    def moved(self, name: str, by: np.ndarray | float) -> Rows:
        """The rows with a numeric variable moved."""
        return self.rows(**{name: self._numbers(name) + by})

    def slopes(self, name: str) -> Rows:
        """The derivatives of X and of the offset by a numeric variable, as rows."""
        x = self._numbers(name)
        low, high = x.min(), x.max()
        step = STEP * np.maximum(np.abs(x), LEAST / STEP * (high - low))
        step[step == 0] = STEP
        place = np.where(x + 2 * step > high, "high", np.where(x - 2 * step < low, "low", "middle"))
        if high == low:
            place[:] = "middle"
        points = np.empty((x.size, 5))
        weights = np.empty((x.size, 5))
        for where, (at, formula) in STENCILS.items():
            points[place == where], weights[place == where] = at, formula
        total: Rows | None = None
        for k in range(5):
            shifted = self.moved(name, points[:, k] * step)
            factor = weights[:, k] / step
            offset = None if shifted.offset is None else shifted.offset * factor
            X = shifted.X * factor[:, None]
            if total is not None:
                X = X + total.X
                offset = None if offset is None or total.offset is None else offset + total.offset
            total = Rows(X, offset, None)
        assert total is not None
        return total

    def _numbers(self, name: str) -> np.ndarray:
        """A numeric column as floats."""
        return np.array(self.column(name, "variable"), dtype=float)


def _column(values: list[Any]) -> np.ndarray:
    """Values as an array of their own type, text as objects."""
    return np.array(values, dtype=object if isinstance(values[0], str) else None)


def grid_of(
    tree: xr.DataTree,
    newdata: Any,
    link: Link,
    found: Coefficients,
    given: Mapping[str, Any],
    allow_code: bool,
) -> Grid:
    """The columns of new data, or those of the fit where its design tells them."""
    design = json.loads(str(tree.attrs["design"]))
    if newdata is None:
        return _of_fit(tree, design, link, found, given, allow_code)
    if not is_frame(newdata):
        matrix = np.asarray(newdata, dtype=float)
        if design["formula"] is not None or matrix.ndim != 2:
            raise ArgumentError("newdata must be a data frame with the variables of the formula.")
        newdata = dict(zip(design["labels"], matrix.T, strict=True))
    table = open_table(newdata)
    read = [table.column(name) for name in table.names]
    refuse_ragged(read)
    columns = {column.name: column.array() for column in read}
    if not columns:
        raise DataError("newdata has no columns.")
    return Grid(tree, link, found, columns, given, allow_code)


def _of_fit(
    tree: xr.DataTree,
    design: dict[str, Any],
    link: Link,
    found: Coefficients,
    given: Mapping[str, Any],
    allow_code: bool,
) -> Grid:
    """The columns of the fit, read back from its design matrix and proved on it."""
    need_rows(tree, "an effect without newdata=")
    data = tree["constant_data"].to_dataset()
    X, labels = stored_design(data), list(found.labels)
    roles: dict[str, Any] = dict(given)
    columns: dict[str, np.ndarray] = {}
    for role, name in roles_of(tree).items():
        if role in ("offset", "exposure") and roles.get(role) is None:
            roles[role] = data[role].values
        elif name is not None:
            columns[name] = data[role].values
    if design["formula"] is None:
        columns |= dict(zip(labels, X.T, strict=True))
        return Grid(tree, link, found, columns, roles, allow_code)
    grid = Grid(tree, link, found, {"": X[:, 0]}, roles, allow_code)
    if grid.parsed.offsets:
        raise ArgumentError(
            "the tree does not hold the variables of the formula's offset(); pass newdata=, the "
            "data that the model was fitted to."
        )
    for name in grid.variables:
        column = _read_back(name, grid._levels, X, labels)
        if column is None:
            raise ArgumentError(
                f"the tree does not hold the values of {name!r} themselves; pass newdata=, the "
                "data that the model was fitted to."
            )
        columns[name] = column
    columns = columns or {"": X[:, 0]}
    grid = replace(grid, columns=columns)
    again = grid.rows()
    same = np.allclose(again.X, X, rtol=SAME, atol=SAME * np.abs(X).max())
    if not same:
        raise ArgumentError("the variables cannot be read back from the tree; pass newdata=.")
    return grid


def _read_back(
    name: str, levels: Mapping[str, list[Any]], X: np.ndarray, labels: list[str]
) -> np.ndarray | None:
    """A variable from its own column in the design, or from the columns of its levels."""
    if name in labels:
        return X[:, labels.index(name)]
    from expfam_glm.data.encode import level_text

    for term in (name, f"C({name})"):
        found = levels.get(term)
        if found is None:
            continue
        places = {
            code: labels.index(label)
            for code, level in enumerate(found)
            if (label := f"{term}[{level_text(level)}]") in labels
        }
        if len(places) >= len(found) - 1:
            codes = np.full(len(X), next((c for c in range(len(found)) if c not in places), 0))
            for code, place in places.items():
                codes[X[:, place] == 1] = code
            return _column([found[code] for code in codes])
    return None
