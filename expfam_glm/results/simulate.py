"""Draws of the coefficients, of the mean and of new responses, for either road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from expfam_glm.bayes.pointwise import predictive
from expfam_glm.errors import ResultError
from expfam_glm.numerics.normal_draws import matched_normals, square_root
from expfam_glm.results.fitted import Coefficients, Rows, problem_of
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link


@dataclass(frozen=True)
class Draws:
    """Draws of the coefficients (S, p) in so many chains, of φ (S,) or its value, and of shapes."""

    chains: int
    beta: np.ndarray
    phi: np.ndarray | float
    shapes: dict[str, np.ndarray]


def draws_of(tree: xr.DataTree, found: Coefficients, family: Family | None, seed: int) -> Draws:
    """Draws of the posterior, or of the asymptotic normal distribution of a fit.

    After a likelihood fit a dispersion estimated by moments is drawn as φ̂ν/χ²(ν), and with the
    model's own covariance the spread of the coefficients goes with it.
    """
    if "posterior" not in tree.children:
        raise ResultError("the tree has no group 'posterior'.")
    posterior = tree["posterior"].to_dataset()
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    shapes = {
        name: posterior[name].values.ravel() for name in ({} if family is None else family.shape)
    }
    known = 1.0 if family is None or family.phi is None else family.phi
    if found.draws is not None:
        phi = posterior["phi"].values.ravel() if "phi" in posterior else known
        return Draws(chains, found.draws, phi, shapes)
    if not np.isfinite(found.V).all():
        raise ResultError(
            "the fit has no covariance, and so no draws: it is perfect, or has as many "
            "coefficients as observations."
        )
    root = square_root(found.V, found.cov_type)
    deviations = matched_normals(np.zeros(found.beta.size), root, chains * draws, seed)
    phi = known
    if "phi" in posterior:
        phi = posterior["phi"].values.ravel()
    elif (family is None or family.phi is None) and "phi" in tree["fit"]:
        estimate = float(tree["fit"]["phi"])
        phi = estimate
        if tree.attrs.get("dispersion") in ("pearson", "deviance"):
            df = float(tree["fit_stats"]["df_residual"])
            ratio = df / np.random.default_rng([seed, 2]).chisquare(df, chains * draws)
            phi = estimate * ratio
            if np.isfinite(found.df):
                deviations *= np.sqrt(ratio)[:, None]
    return Draws(chains, found.beta + deviations, phi, shapes)


def new_responses(
    rows: Rows, found: Coefficients, draws: Draws, family: Family, link: Link, seed: int, part: int
) -> np.ndarray:
    """One response for each draw and row (S, m); `part` numbers the blocks of rows."""
    problem = problem_of(rows, found, family, link)
    rng = np.random.default_rng([seed, 1, part])
    return predictive(problem, draws.beta, draws.phi, rng, effects=None, **draws.shapes)
