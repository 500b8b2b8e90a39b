"""The problem behind a result tree, for what needs its rows again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.design import Frame
from expfam_glm.data.frames import open_table
from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.data.rows import ROLES
from expfam_glm.errors import ResultError
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.recall import Recalled, recall
from expfam_glm.mle.constrained import Peak
from expfam_glm.mle.covariance import Sandwich
from expfam_glm.mle.irls import Scoring
from expfam_glm.mle.layout import CLUSTERED, layout
from expfam_glm.mle.linear import Factor
from expfam_glm.mle.penalised_peak import PenalisedPeak, penalised_peak
from expfam_glm.mle.penalty import recalled_penalty
from expfam_glm.results.fitted import (
    at_estimate,
    by_equations,
    by_likelihood,
    check_tree,
    estimated_dispersion,
    family_of,
    link_of,
    need_family,
    need_scale,
    response_of,
    rows_of,
)
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

_GROUPS = ("groups", "groups2", "groups3", "groups4")


@dataclass(frozen=True, eq=False)
class Refit:
    """A maximum-likelihood fit with its rows; arrays are over the determined coefficients."""

    tree: xr.DataTree
    problem: Problem  # estimated shapes given
    kept: np.ndarray  # (all,) whether a coefficient is determined
    beta: np.ndarray  # (p,)
    free: Problem | None = None  # with the shapes free, where they were estimated

    @property
    def deviance(self) -> float:
        """D of the fit."""
        return float(self.tree["fit_stats"]["deviance"])

    @property
    def loglik(self) -> float:
        """ℓ of the fit."""
        return float(self.tree["fit_stats"]["loglik"])

    @property
    def df(self) -> float:
        """Degrees of freedom of the dispersion that scales likelihood-ratio and score statistics.

        Infinite where φ is known or was given, or where a shape is estimated with it.
        """
        scaled = self.free is None and estimated_dispersion(self.tree)
        return float(self.tree["fit_stats"]["df_residual"]) if scaled else np.inf

    @property
    def scale(self) -> float:
        """a(φ) of the fit: Pearson's X²/(n − p) where it is estimated."""
        value = float(self.problem.family.a(float(self.tree["fit"]["phi"])))
        if estimated_dispersion(self.tree) and value > 0:
            df = float(self.tree["fit_stats"]["df_residual"])
            value = float(self.tree["fit_stats"]["pearson_chi2"]) / df if df > 0 else np.nan
        return need_scale(value)

    @cached_property
    def peak(self) -> Peak | PenalisedPeak:
        """What fits under hypotheses are compared with."""
        penalty = recalled_penalty(self.tree.attrs)
        if penalty is not None:
            phi = float(self.tree["fit"]["phi"])
            need_scale(float(self.problem.family.a(phi)))
            return penalised_peak(
                self.problem, penalty, self.beta, phi, "a likelihood ratio or profile"
            )
        given = self.problem.family.phi is None and not estimated_dispersion(self.tree)
        return Peak(
            self.problem, self.beta, self.factor(self.beta).inverse(), self.deviance, self.scale,
            self.free, self.loglik, float(self.tree["fit"]["phi"]) if given else None,
        )  # fmt: skip

    def at(self, family: Family) -> Refit:
        """The same rows under another member of the family."""
        return replace(self, problem=replace(self.problem, family=family))

    def factor(self, beta: np.ndarray) -> Factor:
        """The factor of the expected information at φ = 1."""
        return self._state(beta).factor

    def step(self, beta: np.ndarray) -> np.ndarray:
        """I⁻¹U at β."""
        return self._state(beta).step

    def _state(self, beta: np.ndarray) -> Any:
        blocks = MemoryBlocks(self.problem)
        state = Scoring(self.problem, blocks, 1e-8, 1, use_qr=True).evaluate(beta)
        if state is None:
            raise ResultError("the information at the hypothesis is not positive definite.")
        return state

    def sandwich(self, beta: np.ndarray, cov_type: str) -> Sandwich:
        """The rows at β with the clusters and the order that the fit was given."""
        data = self.tree["constant_data"].to_dataset()
        groups = [data[name].values for name in _GROUPS if name in data]
        uses = cov_type in CLUSTERED or (cov_type == "HAC" and groups)
        time = data["time"].values if cov_type == "HAC" and "time" in data else None
        lags = int(self.tree.attrs["hac_lags"]) if cov_type == "HAC" else None
        arranged = layout(self.problem, (cov_type,), groups if uses else None, time, lags)
        factor = self.factor(beta)
        return Sandwich(self.problem, MemoryBlocks(self.problem), beta, factor, factor, arranged)


def refit_of(
    tree: xr.DataTree,
    function: str,
    family: str | Family | None,
    link: str | Link | None,
    *,
    refits: bool = True,
    penalised: bool = False,
) -> Refit:
    """A fit with the problem that its tree describes.

    `refits` says whether models are fitted anew, which needs a likelihood; `penalised` whether a
    penalised one will do.

    Raises
    ------
    ResultError
        If the tree is not one of `fit`, or was fitted in a way that has no likelihood.
    ArgumentError
        If the family or link was declared and is not given.
    """
    check_tree(tree, function, rows=True)
    if by_likelihood(tree) and "fit" not in tree.children:
        raise ResultError(
            f"{function} needs the estimates of the fit, and the tree has lost the group 'fit'; "
            "fit the model again."
        )
    if refits and not penalised and "penalty" in tree.attrs:
        raise ResultError(
            f"{function} needs a fit without a penalty: the deviance of a penalised one is not the "
            "smallest. Use test='wald', or its interval."
        )
    if not by_likelihood(tree) and "penalty" not in tree.attrs:
        raise ResultError(
            f"{function} needs the likelihood, and so a tree of fit(), not of "
            f"{'gee' if by_equations(tree) else 'sample'}()."
        )
    if refits and "sampling_weights" in tree["constant_data"]:
        raise ResultError(
            f"{function} needs a likelihood, which sampling weights do not leave; use the Wald "
            "test, or a Wald interval, with a robust covariance."
        )
    declared = need_family(tree, family_of(tree, family), function)
    g = link_of(tree, declared, link)
    beta = tree["fit"].to_dataset()["beta"].values
    kept = np.isfinite(beta)
    problem = restrict_columns(problem_of(tree, at_estimate(tree, declared), g), kept)
    free = replace(problem, family=declared) if declared.shape else None
    return Refit(tree, problem, kept, beta[kept], free)


def recalled_from(
    tree: xr.DataTree,
    function: str,
    family: str | Family | None,
    link: str | Link | None,
    correlation: str | Correlation | None,
) -> Recalled:
    """The estimating equations of a tree of `gee`.

    Raises
    ------
    ResultError
        If the tree is not one of `gee`.
    ArgumentError
        If the family, the link or the working correlation is needed and not given.
    """
    check_tree(tree, function, rows=True)
    if not by_equations(tree):
        raise ResultError(f"{function} needs a tree of gee(); this one has no working correlation.")
    declared = need_family(tree, family_of(tree, family), function)
    return recall(problem_of(tree, declared, link_of(tree, declared, link)), tree, correlation)


def problem_of(tree: xr.DataTree, family: Family, link: Link) -> Problem:
    """The problem of a tree, from its design, response and columns."""
    rows, y = rows_of(tree, link), response_of(tree)
    data = tree["constant_data"].to_dataset()
    frame = Frame(
        y=y,
        X=rows.X,
        labels=tuple(str(label) for label in data["coef"].values),
        response=str(tree.attrs.get("response", "y")),
        formula=str(tree.attrs.get("formula", "")) or None,
        columns={role: np.asarray(data[role]) for role in ROLES if role in data},
        design=str(tree.attrs["design"]),
        n_dropped=0,
        kept=None,
        table=open_table({}),
    )
    X = np.ascontiguousarray(rows.X, dtype=float)
    sampling, w = frame.columns.get("sampling_weights"), rows.w
    if sampling is not None:
        sampling = sampling / np.average(sampling, weights=rows.f)
        w = sampling if w is None else w * sampling
    return Problem(family, link, frame, y, X, w, rows.f, rows.offset, None, sampling)
