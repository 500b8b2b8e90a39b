"""How much single rows matter to a penalised fit."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, ExpfamError, ExpfamWarning
from expfam_glm.mle.penalised import find_penalised
from expfam_glm.mle.penalty import Adjustment, Conjugate, Penalty, recalled_penalty
from expfam_glm.results.deletion import TIGHT, by_row_and_coef, warn_of_nan, without_row
from expfam_glm.results.fitted import need_scale, problem_of
from expfam_glm.results.mean import mean_of
from expfam_glm.results.residuals import ALONE, RowFit, information_factor, need_variance

_MOST_ITERATIONS = 1000  # scoring converges linearly where an adjustment is not small
_DOUBLES = 1 << 20  # leverages (rows, rows) at once


def penalised_influence(rows: RowFit, *, refit: bool) -> xr.Dataset:
    """Hat values and what leaving out a row does, of a ridge or an adjusted score."""
    need_variance(rows.tree, "influence")
    penalty = recalled_penalty(rows.tree.attrs)
    if penalty is None or isinstance(penalty, Conjugate):
        raise ArgumentError(
            "influence is not defined under a conjugate prior: its observations are spread over "
            "the rows themselves, so that a row cannot leave without them."
        )
    need_scale(rows.a)
    factor = information_factor(rows)
    inward = factor.solve(rows.X.T).T  # x I⁻¹
    h = rows.W * np.einsum("ij,ij->i", rows.X, inward)
    rest = np.where(h > 1 - ALONE, np.nan, 1 - h)
    if refit:
        dfbeta = _refits(rows, penalty)
    else:
        u = np.sign(rows.slope) * np.sqrt(rows.W) * rows.pearson
        change = u[:, None] * rows.X
        if isinstance(penalty, Adjustment):
            change = change + rows.a * _adjusted(rows, penalty, inward, rest)
        step = factor.solve(change.T).T
        # (I − W xxᵀ)⁻¹ from I⁻¹
        again = (rows.W / rest * np.einsum("ij,ij->i", rows.X, step))[:, None]
        dfbeta = step + again * inward
    size = np.einsum("ij,ij->i", rows.X, dfbeta)
    length = np.sum((factor.R @ (dfbeta * factor.scale).T) ** 2, axis=0)
    f = 1.0 if rows.rows.f is None else rows.rows.f
    with np.errstate(all="ignore"):
        by_row = {
            "hat": h,
            "cooks_distance": length / (float(np.sum(f * h)) * rows.a),
            "dffits": np.sign(rows.slope) * size / np.sqrt(rows.a * h / rows.W),
            "covariance_ratio": 1 / rest,
            "loo_mean": mean_of(rows.link, rows.eta - size),
        }
        spread = np.sqrt(rows.a * factor.inverse().diagonal())
    warn_of_nan(np.isnan(dfbeta).any(axis=1))
    by_coef = {"dfbeta": dfbeta, "dfbetas": dfbeta / spread}
    return by_row_and_coef(rows, by_row, by_coef, refit=int(refit), residual="pearson")


def _adjusted(
    rows: RowFit, penalty: Adjustment, inward: np.ndarray, rest: np.ndarray
) -> np.ndarray:
    """A − A₍ᵢ₎ (n, p): the adjustment less that without each row, at β̂.

    Without row i the leverage form q_j = x_jᵀI⁻¹x_j becomes q_j + W_i (x_jᵀI⁻¹x_i)²/(1 − h_i).
    """
    problem = problem_of(rows.rows, rows.found, rows.family, rows.link, rows.y)
    w = np.ones(rows.y.size) if rows.rows.w is None else rows.rows.w
    with np.errstate(all="ignore"):
        (d,) = penalty.row_weights(problem)(rows.eta, rows.y, w)
    d = np.broadcast_to(d, rows.y.shape)
    f = np.ones(rows.y.size) if rows.rows.f is None else rows.rows.f
    n, many = rows.y.size, max(1, _DOUBLES // rows.y.size)
    weighted = rows.X * (f * d)[:, None]
    found = np.empty(rows.X.shape)
    for start in range(0, n, many):
        some = slice(start, start + many)
        gained = (rows.X @ inward[some].T) ** 2 * (rows.W / rest)[some]  # (n, some)
        own = np.einsum("ij,ij->i", rows.X[some], inward[some]) / rest[some]  # q₍ᵢ₎ of row i
        found[some] = 0.5 * ((own * d[some])[:, None] * rows.X[some] - gained.T @ weighted)
    return found


def _refits(rows: RowFit, penalty: Penalty) -> np.ndarray:
    """β̂ − β̂₍ᵢ₎ by a fit without each row; NaN where there is none."""
    whole = problem_of(rows.rows, rows.found, rows.family, rows.link, rows.y)
    said = str(rows.tree.attrs["dispersion"])
    known = {"known": "pearson"}.get(said, said)
    dispersion = known if known in ("pearson", "deviance", "ml") else float(known)
    beta = rows.found.beta
    dfbeta = np.full((rows.y.size, beta.size), np.nan)
    for i in range(rows.y.size if rows.y.size > 1 else 0):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExpfamWarning)
                found = find_penalised(
                    without_row(whole, i), penalty, dispersion=dispersion, start=beta, tol=TIGHT,
                    max_iterations=_MOST_ITERATIONS,
                )  # fmt: skip
        except ExpfamError:
            continue
        if not found.aliased.any():
            dfbeta[i] = beta - found.solution.beta
    return dfbeta
