"""The estimating equations behind a result tree, at its estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.gee.arrangement import Arrangement
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.correlation import PLAIN, named
from expfam_glm.gee.equations import Equations, State


@dataclass(frozen=True, eq=False)
class Recalled:
    """What a tree was fitted with; arrays are over the columns that are not aliased."""

    problem: Problem
    kept: np.ndarray  # (all p,) columns that are not aliased
    rows: Arrangement
    equations: Equations  # α and φ held at their estimates
    state: State


def recall(
    problem: Problem, tree: xr.DataTree, correlation: str | Correlation | None = None
) -> Recalled:
    """Set up the equations of a GEE tree again.

    Parameters
    ----------
    problem : Problem
        Of the model that made the tree.
    tree : DataTree
    correlation : str or Correlation, optional
        The working correlation; needed where its name alone does not say it.

    Raises
    ------
    ResultError
        If the tree comes from another road, or from other data.
    ArgumentError
        If the working correlation must be given.
    """
    if tree.attrs.get("estimator") != "GEE":
        raise ResultError("this needs the result of gee(); a likelihood fit has no clusters of it.")
    name = tree.attrs["correlation"]
    if correlation is None and name not in PLAIN:
        raise ArgumentError(
            f"the tree was fitted with a {name!r} working correlation, which has arguments; give "
            "the same value as correlation=."
        )
    working = named(name if correlation is None else correlation)
    if working.name != name:
        raise ArgumentError(f"the tree was fitted with {name!r}, not with {working.name!r}.")
    fit, constant = tree["fit"].to_dataset(), tree["constant_data"].to_dataset()
    if constant.sizes["obs_id"] != problem.row_count:
        raise ResultError(
            f"the tree has {constant.sizes['obs_id']} rows and the model {problem.row_count}; "
            "they belong to different data."
        )
    arguments: dict[str, Any] = {}
    for role in ("groups", "time"):
        if role in tree.attrs:
            arguments[role] = tree.attrs[role]
        elif role in constant:
            arguments[role] = constant[role].values
    rows = Arrangement(problem, working, **arguments)
    beta = fit["beta"].values
    kept = ~np.isnan(beta)
    inner = restrict_columns(problem, kept)
    structure = rows.whole
    parameter = structure.given_alpha(fit["alpha"].values) if "alpha" in fit else np.empty(0)
    equations = Equations(
        inner.family, inner.link, inner.y, inner.X, inner.w, inner.offset, structure,
        tree.attrs["ddof"], float(inner.family.a(float(fit["phi"]))), parameter,
    )  # fmt: skip
    state = equations.evaluate(beta[kept])
    if state is None:
        raise ResultError("the estimates of the tree are not admissible in this model.")
    return Recalled(inner, kept, rows, equations, state)
