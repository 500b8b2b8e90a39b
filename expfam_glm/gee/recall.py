"""The estimating equations behind a result tree, at its estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.gee.arrangement import Arrangement
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.correlation import PLAIN, MDependent, named
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.fitting import Fit, Options
from expfam_glm.gee.levels import Nested
from expfam_glm.gee.solve import Solution


@dataclass(frozen=True, eq=False)
class Recalled:
    """What a tree was fitted with; arrays are over the columns that are not aliased."""

    tree: xr.DataTree
    problem: Problem
    kept: np.ndarray  # (all p,) columns that are not aliased
    rows: Arrangement
    equations: Equations  # α and φ held at their estimates
    state: State

    @property
    def dispersion(self) -> float | None:
        """a(φ) where it was given, so that it is not estimated again."""
        given = self.tree.attrs["dispersion"] == "given"
        return self.equations.dispersion if given else None

    @property
    def parameter(self) -> np.ndarray | None:
        """The parameter of the working correlation where it was given, or has none to estimate."""
        given = self.tree.attrs["association"] == "given"
        fixed = self.equations.structure.alpha_dims is None
        return self.equations.parameter if given or fixed else None

    def fit(self, tol: float, max_iterations: int) -> Fit:
        """As the fit left it: what is estimated of α and φ is estimated again from here on."""
        inner, equations = self.problem, self.equations
        options = Options(equations.ddof, self.dispersion, None, None, tol, max_iterations)
        free = Equations(
            inner.family, inner.link, inner.y, inner.X, inner.w, inner.offset,
            equations.structure, equations.ddof, self.dispersion, self.parameter,
        )  # fmt: skip
        return Fit(inner, ~self.kept, options, free, Solution(self.state, 0, 0.0), ())


def recall(
    problem: Problem, tree: xr.DataTree, correlation: str | Correlation | None = None
) -> Recalled:
    """Set up the equations of a GEE tree again.

    Parameters
    ----------
    problem : Problem
        The rows of the tree.
    tree : DataTree
        One of `GLM.gee`.
    correlation : str or Correlation, optional
        The working correlation; needed where the tree does not hold its arguments.

    Raises
    ------
    ResultError
        If the estimates are not admissible in the model.
    ArgumentError
        If the working correlation must be given, or is another one.
    """
    working = _working(tree, correlation)
    fit, constant = tree["fit"].to_dataset(), tree["constant_data"].to_dataset()
    time = constant["time"].values if "time" in constant else None
    rows = Arrangement(problem, working, constant["groups"].values, time)
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
    return Recalled(tree, inner, kept, rows, equations, state)


def _working(tree: xr.DataTree, correlation: str | Correlation | None) -> Correlation:
    """The working correlation of a tree, as it holds it or as given."""
    name, constant = str(tree.attrs["correlation"]), tree["constant_data"].to_dataset()
    if correlation is not None and named(correlation).name != name:
        raise ArgumentError(
            f"the tree was fitted with {name!r}, not with {named(correlation).name!r}."
        )
    if name in PLAIN:
        return PLAIN[name]
    if name == MDependent.name:
        m, stationary = (tree.attrs[f"correlation_{key}"] for key in ("m", "stationary"))
        return MDependent(int(m), bool(stationary))
    if name == Nested.name:
        levels = sorted(str(v) for v in constant.data_vars if str(v).startswith("groups_level"))
        return Nested(*(constant[level].values for level in levels))
    if correlation is None:
        raise ArgumentError(
            f"the tree was fitted with a {name!r} working correlation, whose arguments it cannot "
            "hold; give the same value as correlation=."
        )
    return named(correlation)
