"""Degrees of freedom of tests of linear hypotheses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from expfam_glm.gee.base import Correlation
from expfam_glm.gee.filters import FILTERS, wishart_df
from expfam_glm.results.fitted import MODEL_BASED, Coefficients, by_equations, estimated_dispersion
from expfam_glm.results.refit import recalled_from, refit_of
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link


class Degrees(NamedTuple):
    """Degrees of freedom, infinite for the normal distribution and χ²."""

    each: np.ndarray  # (q,) of every hypothesis by itself
    joint: float
    hotelling: bool  # whether `joint` is η of a Wishart distribution, for Hotelling's T²


def degrees_of_freedom(
    tree: xr.DataTree,
    C: np.ndarray,
    found: Coefficients,
    family: str | Family | None,
    link: str | Link | None,
    correlation: str | Correlation | None,
) -> Degrees:
    """Of Wald tests of Cβ = r, C (q, p) over the determined coefficients."""
    q, cov_type = len(C), found.cov_type
    if by_equations(tree):
        asked = tree.attrs["df"]
        if asked == "satterthwaite" and cov_type in FILTERS:
            what = "a test with Satterthwaite's degrees of freedom"
            recalled = recalled_from(tree, what, family, link, correlation)
            pieces = recalled.equations, recalled.state, cov_type
            own = np.array([wishart_df(*pieces, row[None]) for row in C])
            return Degrees(own, wishart_df(*pieces, C) if q > 1 else float(own[0]), True)
        df = float(np.nanmin(tree["fit"]["df"])) if asked == "t" else np.inf
    elif cov_type == "CR2":
        refit = refit_of(tree, "the test with CR2", family, link, refits=False)
        sandwich = refit.sandwich(found.beta, "CR2")
        contrasts, reduced = sandwich.inward(C.T), sandwich.bias_reduced
        return Degrees(
            reduced.degrees_of_freedom(contrasts), reduced.wishart_df(contrasts), True
        )  # fmt: skip
    else:
        free = cov_type in MODEL_BASED and estimated_dispersion(tree)
        df = float(tree["fit_stats"]["df_residual"]) if free else np.inf
    return Degrees(np.full(q, df), df, False)
