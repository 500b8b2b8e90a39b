"""The data of a call for effects, the groups within which to average, and the scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from expfam_glm.errors import ArgumentError, DataError, check_flag, one_of, show_rows
from expfam_glm.results.averages import Averager, Quantity
from expfam_glm.results.fitted import coefficients_of, family_of, link_of, need_df
from expfam_glm.results.grid import Grid, grid_of
from expfam_glm.results.probability import interval_prob
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

KINDS = ("mean", "link")


@dataclass(frozen=True)
class Setting:
    """The data of a call: changeable columns, and how their rows are averaged."""

    grid: Grid
    averager: Averager
    levels: dict[str, np.ndarray]  # values of each column in `by`; or the rows
    place: np.ndarray  # of each group among all combinations of these values
    prob: float
    attrs: dict[str, Any]

    def dataset(
        self, quantities: Sequence[Quantity], dims: Mapping[str, Any], **coords: Any
    ) -> xr.Dataset:
        """Quantities over `dims` (flat, in their order) and over the groups."""
        tables = [one.table(self.averager.found, self.prob) for one in quantities]
        lengths = [len(values) for values in dims.values()]
        by = [len(values) for values in self.levels.values()]
        variables = {}
        for name in tables[0]:
            values = np.stack([table[name] for table in tables])
            full = np.full((len(tables), int(np.prod(by)), *values.shape[2:]), np.nan)
            full[:, self.place] = values
            last = ("ci_bound",) if name == "interval" else ()
            variables[name] = (
                (*dims, *self.levels, *last),
                full.reshape((*lengths, *by, *values.shape[2:])),
            )
        return xr.Dataset(
            variables,
            coords={**dims, **self.levels, "ci_bound": ["lower", "upper"], **coords},
            attrs=self.attrs,
        )


def setting_of(
    tree: xr.DataTree,
    newdata: Any,
    by: str | Sequence[str] | None,
    kind: str,
    average: bool,
    weights: str | ArrayLike | None,
    ci_prob: float | None,
    cov_type: str | None,
    given: dict[str, Any],
    family: str | Family | None,
    link: str | Link | None,
    allow_code: bool,
) -> Setting:
    """The data, the groups and the scale of a call."""
    if kind not in KINDS:
        raise one_of("kind", kind, KINDS)
    prob = interval_prob(ci_prob, tree)
    declared = family_of(tree, family)
    g = link_of(tree, declared, link)
    found = coefficients_of(tree, cov_type)
    need_df(found)
    grid = grid_of(tree, newdata, g, found, given, allow_code)
    if not check_flag("average", average):
        if by is not None or weights is not None:
            raise ArgumentError("by= and weights= are for averages; leave out average=False.")
        levels = {"obs_id": np.arange(grid.size)}
        codes, groups = np.arange(grid.size), grid.size
    else:
        columns = {name: grid.column(name, "by") for name in listed(by)}
        coded = {name: np.unique(values, return_inverse=True) for name, values in columns.items()}
        levels = {name: values for name, (values, _) in coded.items()}
        sizes = [len(values) for values in levels.values()]
        codes = np.zeros(grid.size, dtype=np.intp)
        for size, (_, inverse) in zip(sizes, coded.values(), strict=True):
            codes = codes * size + inverse
        groups = int(np.prod(sizes))
    each = _weights(grid, weights)
    totals = np.bincount(codes, weights=each, minlength=groups)
    place = np.flatnonzero(totals > 0)
    number = np.full(groups, -1)
    number[place] = np.arange(place.size)
    used = totals[codes] > 0
    shares = csr_array(
        ((each / np.where(used, totals[codes], 1))[used], (number[codes][used],
                                                           np.flatnonzero(used))),
        shape=(place.size, grid.size),
    )  # fmt: skip
    space = g.domain if declared is None else declared.mean_space
    averager = Averager(found, g, space, shares, kind == "link")
    attrs = {"kind": kind, "ci_prob": prob, "cov_type": found.cov_type}
    return Setting(grid, averager, levels, place, prob, attrs)


def _weights(grid: Grid, weights: str | ArrayLike | None) -> np.ndarray:
    """Weights of the rows in the averages."""
    if weights is None:
        return np.ones(grid.size)
    values = grid.column(weights, "weights") if isinstance(weights, str) else weights
    array = np.asarray(values, dtype=float)
    if array.shape != (grid.size,):
        raise DataError(f"weights have the shape {array.shape}, but there are {grid.size} rows.")
    bad = ~((array >= 0) & np.isfinite(array))
    if bad.any() or not array.any():
        shown = show_rows(array, bad) if bad.any() else "zeros only"
        raise DataError(f"weights must not be negative, nor all zero; found {shown}.")
    return array


def listed(names: str | Sequence[str] | None) -> list[str]:
    """One name or several as a list."""
    found = [] if names is None else [names] if isinstance(names, str) else names
    if not isinstance(found, Iterable) or not all(isinstance(name, str) for name in found):
        raise ArgumentError(f"{names!r} must be the name of a column, or several in a list.")
    return list(found)
