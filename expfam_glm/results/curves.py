"""Predicted curves of several models over one variable, the others at typical values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, DataError, ResultError
from expfam_glm.results.comparable import check_comparable
from expfam_glm.results.fitted import (
    check_tree,
    coefficients_of,
    family_of,
    link_of,
    refuse_group_effects,
    response_of,
    roles_of,
)
from expfam_glm.results.grid import Grid, grid_of
from expfam_glm.results.predict import predict
from expfam_glm.results.probability import interval_prob
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

POINTS = 101
NEUTRAL = {"offset": 0.0, "exposure": 1.0}


def predicted_curves(
    trees: Mapping[str, xr.DataTree],
    variable: str,
    *,
    by: str | None,
    at: Mapping[str, Any] | None,
    kind: str,
    newdata: Any,
    ci_prob: float | None,
    family: str | Family | None,
    link: str | Link | None,
    allow_code: bool,
) -> xr.Dataset:
    """Predictions with intervals over a variable, for each model and level of `by`.

    Parameters
    ----------
    trees : mapping of str to DataTree
    variable, by : str
        Variables of the formula; `by` has levels.
    at : mapping, optional
        Values of the other variables; their mean or most frequent level if not given.
    kind : {"mean", "link"}
    newdata : data frame, optional
        The data, where the design does not hold the variables themselves.
    ci_prob, family, link, allow_code
        As for `predict`.

    Returns
    -------
    xarray.Dataset
        `estimate (model, level, point)`, `interval`, the values `at` (point) of the variable, and
        `x`, `y`, `group` (obs_id) of the data where predictions are on their scale. Attributes:
        `held` (JSON) what the other variables are held at, `neutral` the roles left out.
    """
    if isinstance(trees, xr.DataTree) or not isinstance(trees, Mapping) or not trees:
        raise ResultError('give the trees by name, as in {"MLE": mle, "Bayes": bayes}.')
    for name, tree in trees.items():
        check_tree(tree, f"plot_predictions ({name!r})")
        refuse_group_effects(tree, f"plot_predictions ({name!r})")
    check_comparable(trees, mixed_families=True)
    first = next(iter(trees.values()))
    given = {role: value for role, value in NEUTRAL.items() if role in roles_of(first)}
    g = link_of(first, family_of(first, family), link)
    grid = grid_of(first, newdata, g, coefficients_of(first), given, allow_code)
    places, levels, held = _values(grid, variable, by, dict(at or {}))
    rows = {
        name: np.array([value] * (len(places) * len(levels)), dtype=_dtype(value))
        for name, value in held.items()
    }
    rows[variable] = np.tile(places, len(levels))
    if by is not None:
        rows[by] = np.repeat(np.array(levels, dtype=_dtype(levels[0])), len(places))
    prob = interval_prob(ci_prob, *trees.values())
    tables: list[Any] = []
    for tree in trees.values():
        own: dict[str, Any] = {r: value for r, value in NEUTRAL.items() if r in roles_of(tree)}
        tables.append(
            predict(
                tree,
                rows,
                kind=kind,
                ci_prob=prob,
                family=family,
                link=link,
                allow_code=allow_code,
                **own,
            )
        )
    shape = (len(trees), len(levels), len(places))
    found = xr.Dataset(
        {
            "estimate": (
                ("model", "level", "point"),
                np.stack([one["estimate"].values for one in tables]).reshape(shape),
            ),
            "interval": (
                ("model", "level", "point", "ci_bound"),
                np.stack([one["interval"].values for one in tables]).reshape(*shape, 2),
            ),
            "at": ("point", places),
        },
        coords={"model": [str(name) for name in trees], "level": [str(one) for one in levels]},
        attrs={
            "held": json.dumps({k: _plain(v) for k, v in held.items()}, ensure_ascii=False),
            "neutral": ", ".join(given),
            "ci_prob": prob,
            "response": str(first.attrs.get("response", "")) or "response",
            "of_trials": int("trials" in roles_of(first)),
        },
    )
    if kind == "mean" and not given and newdata is None:
        found["x"] = ("obs_id", grid.columns[variable])
        found["y"] = ("obs_id", response_of(first))
        if by is not None:
            found["group"] = ("obs_id", np.array([str(one) for one in grid.columns[by]]))
    return found


def _values(
    grid: Grid, variable: str, by: str | None, at: dict[str, Any]
) -> tuple[np.ndarray, list[Any], dict[str, Any]]:
    """The values of the variable, the levels to tell apart, and what the others are held at."""
    known = grid.levels(variable)
    if known is None:
        numbers = np.asarray(grid.columns[variable], dtype=float)
        places = np.linspace(numbers.min(), numbers.max(), POINTS)
    else:
        places = np.array(known, dtype=_dtype(known[0]))
    levels: list[Any] = [""]
    if by is not None:
        found = grid.levels(by)
        if found is None:
            raise ArgumentError(
                f"by={by!r} holds numbers; it must be a factor. Hold it at a value by at=."
            )
        if by == variable:
            raise ArgumentError(f"by={by!r} is the variable that is drawn.")
        levels = found
    for name in at:
        grid.levels(name)
    held = {}
    for name in grid.variables:
        if name in (variable, by):
            if name in at:
                raise ArgumentError(f"at= holds {name!r}, which is drawn; leave it out there.")
            continue
        held[name] = at[name] if name in at else _typical(grid, name)
    for name in held:
        allowed = grid.levels(name)
        if allowed is not None and held[name] not in allowed:
            raise DataError(f"at={name!r}: {held[name]!r} is not one of its levels {allowed}.")
    return places, levels, held


def _typical(grid: Grid, name: str) -> Any:
    """The mean of a number, the most frequent level of a factor."""
    levels = grid.levels(name)
    column = grid.columns[name]
    if levels is None:
        return float(np.mean(np.asarray(column, dtype=float)))
    return max(levels, key=lambda level: int(np.sum(column == level)))


def _dtype(value: Any) -> Any:
    return object if isinstance(value, str) else None


def _plain(value: Any) -> Any:
    """A value that JSON knows."""
    return value.item() if isinstance(value, np.generic) else value
