"""How much single rows matter to a likelihood fit, and single clusters to a GEE."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, ExpfamError, ExpfamWarning, check_flag, one_of
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.influence import cluster_influence
from expfam_glm.mle.maximum import find_maximum
from expfam_glm.results.deletion import TIGHT, by_row_and_coef, warn_of_nan, without_row
from expfam_glm.results.fitted import (
    by_equations,
    check_tree,
    estimated_dispersion,
    need_scale,
    problem_of,
)
from expfam_glm.results.mean import mean_of
from expfam_glm.results.penalised_influence import penalised_influence
from expfam_glm.results.refit import recalled_from
from expfam_glm.results.residuals import (
    ALONE,
    RowFit,
    hat_values,
    information_factor,
    need_likelihood,
    row_fit,
)
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

RESIDUALS = ("pearson", "deviance")


def influence(
    tree: xr.DataTree,
    *,
    refit: bool = False,
    residual: str = "pearson",
    correlation: str | Correlation | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> xr.Dataset:
    """Hat values, Cook's distances and what leaving out a row, or a cluster of a GEE, does.

    Parameters
    ----------
    tree : DataTree
        What `fit` or `gee` returned, also when read back from a file.
    refit : bool
        Fit the model again without each row or cluster, instead of one step of Fisher scoring.
    residual : {"pearson", "deviance"}
        What the one step is made of. With Pearson's it is the step of Fisher scoring; R makes
        `dfbeta`, `dfbetas`, `dffits` and `covariance_ratio` of the deviance residuals and their
        standard deviation, also where φ is known.
    correlation : Correlation, optional
        The working correlation of a GEE, where it is `Fixed`, `Pattern` or `Custom`.
    family, link : Family, Link, optional
        The declaration, where they are not built in.

    Returns
    -------
    xarray.Dataset
        By row (obs_id): `hat`, `cooks_distance`, `dffits`, `covariance_ratio`, `loo_mean`, the mean
        of a row by the fit without it, and `dfbeta` and `dfbetas` (obs_id, coef) over the
        coefficients that are determined: β̂ minus the estimate without the row, on the link scale
        and in standard errors. With frequency weights one of the rows that a row stands for is
        left out. NaN, with a warning, where a row is fitted by itself (h = 1) or the fit without
        it does not exist. For a GEE by cluster: `dfbeta`, `dfbetas`, `cooks_distance`, `leverage`
        and `size`.

    Raises
    ------
    ArgumentError
        If the tree is not one of `fit` or `gee`, for an unknown residual, or a declared family
        that is not given.
    DataError
        If a cluster alone determines some combination of the coefficients.
    ResultError
        If it is not a result tree.

    Warns
    -----
    FitWarning
        Where there are NaN.

    Notes
    -----
    With Pearson's residual r, weights W and I = XᵀWX at φ = 1:

    - h_i = W_i x_iᵀ I⁻¹ x_i, Cook's distance r² h/(p φ̂ (1 − h)²),
    - dfbeta = ±I⁻¹ x_i √W_i r/(1 − h), dfbetas = dfbeta/√(φ₍ᵢ₎ diag I⁻¹),
    - dffits = r√h/(√φ₍ᵢ₎ (1 − h)), covariance_ratio = (φ₍ᵢ₎/φ)^p/(1 − h).

    The sign is that of dμ/dη; R leaves it out, so that its dfbeta and dfbetas have the wrong sign
    under a falling link such as the inverse.

    φ₍ᵢ₎ = {X² − r²/(1 − h)}/(n − p − 1) where φ is estimated (of the sum of squares of the chosen
    residuals), else φ. With `refit` dfbeta is exact, φ₍ᵢ₎ is Pearson's of the fit without the row,
    Cook's distance is dfbetaᵀ I dfbeta/(p φ̂), and dffits follows from the difference of the
    linear predictor.

    A penalised fit: the same step with what the penalty adds. Ridge: I + a(φ̂)P in the place of I;
    Firth and Jeffreys: U changes by the adjustment without the row, whose leverages are updated.
    φ is held at φ̂ (with `refit` it is estimated again) and dispersions are φ̂ throughout; p in
    Cook's distance is Σ h. A conjugate prior stands on the rows themselves and is refused.

    GEE, with B_k and U_k what cluster k adds to B and U: dfbeta_k = (B − B_k)⁻¹ U_k, α and φ held
    (with `refit` estimated again), dfbetas in standard errors of the tree, Cook's distance
    dfbetaᵀ B dfbeta/p and the leverage tr(B_k B⁻¹), which sums to p.

    References
    ----------
    Pregibon (1981), Logistic regression diagnostics, Annals of Statistics 9, 705-724. Williams
    (1987), Applied Statistics 36, 181-191. Belsley, Kuh and Welsch (1980), Regression Diagnostics.
    Preisser and Qaqish (1996), Deletion diagnostics for generalised estimating equations,
    Biometrika 83, 551-562.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> measures = eg.influence(model.fit())
    >>> measures["cooks_distance"].max().round(2).item()
    0.71
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> int(eg.influence(model.gee("patient"))["cooks_distance"].idxmax())
    49
    """
    if residual not in RESIDUALS:
        raise one_of("residual", residual, RESIDUALS)
    refit = check_flag("refit", refit)
    if refit and residual != "pearson":
        raise ArgumentError("residual= is for the one step; leave it out with refit=True.")
    check_tree(tree, "influence", rows=True)
    if by_equations(tree):
        if residual != "pearson":
            raise ArgumentError("residual= is for single rows of fit(); leave it out for a GEE.")
        recalled = recalled_from(tree, "influence", family, link, correlation)
        return cluster_influence(recalled, refit=refit)
    if correlation is not None:
        raise ArgumentError("correlation= is for trees of gee(), which have one.")
    rows = row_fit(tree, "influence", family, link)
    if "penalty" in tree.attrs:
        if residual != "pearson":
            raise ArgumentError("residual= is for a fit without a penalty; leave it out.")
        return penalised_influence(rows, refit=refit)
    need_likelihood(tree, "influence")
    need_scale(rows.a)
    h, X = hat_values(rows), rows.X
    rest = np.where(h > 1 - ALONE, np.nan, 1 - h)
    factor = information_factor(rows)
    side = np.sign(rows.slope)  # of the link: the score has it, the residual has not
    step = factor.solve((X * (side * np.sqrt(rows.W))[:, None]).T).T / rest[:, None]
    exact = step * rows.pearson[:, None]
    chosen = rows.pearson if residual == "pearson" else rows.deviance
    if refit:
        dfbeta, without = _refits(rows)
        exact = dfbeta
    else:
        dfbeta = step * chosen[:, None]
        without = _dispersion_without(rows, chosen, rest, always=residual == "deviance")
    size = np.einsum("ij,ij->i", X, dfbeta)
    full = _dispersion(rows, chosen, always=residual == "deviance")
    p = X.shape[1]
    length = np.sum((factor.R @ (exact * factor.scale).T) ** 2, axis=0)
    with np.errstate(all="ignore"):
        variables = {
            "hat": h,
            "cooks_distance": length / (p * rows.a),
            "dffits": side * size / np.sqrt(without * h / rows.W),
            "covariance_ratio": (without / full) ** p / rest,
            "loo_mean": mean_of(rows.link, rows.eta - size),
        }
        spread = np.sqrt(np.outer(without, factor.inverse().diagonal()))
        by_coef = {"dfbeta": dfbeta, "dfbetas": dfbeta / spread}
    warn_of_nan(np.isnan(dfbeta).any(axis=1))
    return by_row_and_coef(rows, variables, by_coef, refit=int(refit), residual=residual)


def _squares(rows: RowFit, residual: np.ndarray) -> tuple[float, float]:
    """Σ f r², and its degrees of freedom."""
    f = np.ones(rows.y.size) if rows.rows.f is None else rows.rows.f
    return float(np.sum(f * residual**2)), float(f.sum()) - rows.found.beta.size


def _dispersion(rows: RowFit, residual: np.ndarray, *, always: bool) -> float:
    """The mean square of residuals where φ is estimated (or always), else a(φ)."""
    if not (always or estimated_dispersion(rows.tree)):
        return rows.a
    total, df = _squares(rows, residual)
    return need_scale(total / df if df > 0 else np.nan)


def _dispersion_without(
    rows: RowFit, residual: np.ndarray, rest: np.ndarray, *, always: bool
) -> np.ndarray:
    """The same without each row, by one step."""
    if not (always or estimated_dispersion(rows.tree)):
        return np.full(rest.shape, rows.a)
    total, df = _squares(rows, residual)
    left = np.maximum(total - residual**2 / rest, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return left / (df - 1)


def _refits(rows: RowFit) -> tuple[np.ndarray, np.ndarray]:
    """β̂ − β̂₍ᵢ₎ and a(φ̂₍ᵢ₎) by a fit without each row; NaN where there is none."""
    whole = problem_of(rows.rows, rows.found, rows.family, rows.link, rows.y)
    beta, estimated = rows.found.beta, estimated_dispersion(rows.tree)
    dfbeta, without = np.full((rows.y.size, beta.size), np.nan), np.full(rows.y.size, rows.a)
    for i in range(rows.y.size if rows.y.size > 1 else 0):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExpfamWarning)
                found = find_maximum(without_row(whole, i), start=beta, tol=TIGHT)
        except ExpfamError:
            continue
        if not found.aliased.any():
            dfbeta[i] = beta - found.solution.beta
            if estimated:
                without[i] = found.measures.pearson / (found.problem.n - beta.size)
    return dfbeta, without
