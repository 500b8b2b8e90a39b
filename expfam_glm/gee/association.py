"""Standard errors of α and φ, from the moment equations of all clusters."""

from __future__ import annotations

import numpy as np
import xarray as xr

from expfam_glm.data.response import Problem
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.recall import recall
from expfam_glm.mle.dispersion import invert_dispersion

_STEP = 1e-6  # relative, for the slope of φ as a function of a(φ)


def association(
    problem: Problem, tree: xr.DataTree, correlation: str | Correlation | None = None
) -> xr.Dataset:
    """φ and α of a GEE with robust standard errors.

    Parameters
    ----------
    problem : Problem
        Of the model that made the tree, `GLM.problem`.
    tree : DataTree
        What `GLM.gee` returned.
    correlation : str or Correlation, optional
        The working correlation, where it has arguments.

    Returns
    -------
    xarray.Dataset
        `phi`, `se_phi`, `alpha` and `se_alpha` with the dimensions of the tree. What was given has
        no standard error: NaN; nor has an AR(1) α of 0, the end of its range.

    Raises
    ------
    ResultError, ArgumentError
        As `expfam_glm.gee.recall.recall`.

    Notes
    -----
    β̂, φ̂ and α̂ solve Σ_k U_k = 0, Σ_k (Σ_i r_i² − n_k φ) = 0 and
    Σ_k Σ_{i<j} ∂R_ij/∂α (r_i r_j/φ − R_ij) = 0 (with the counts of `ddof`). Each cluster's part in
    the last two, its way through β̂ and φ̂ included, is squared and summed; for α the derivative is
    the expected one, Σ ∂R_ij/∂α (∂R_ij/∂α)ᵀ.

    References
    ----------
    Prentice and Zhao (1991), Biometrics 47, 825-839; Yan and Fine (2004), Statistics in Medicine
    23, 859-874.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> found = association(model.problem, model.gee("patient"))
    >>> round(float(found["alpha"]), 2), round(float(found["se_alpha"]), 2)
    (0.34, 0.06)
    """
    recalled = recall(problem, tree, correlation)
    equations, state = recalled.equations, recalled.state
    fit = tree["fit"].to_dataset()
    free = tree.attrs["dispersion"] != "given"
    slopes = equations.residual_slopes(state.beta)
    X = equations.sorted[1]
    onto = state.bread.solve(state.scores.T)  # (p, K) what each cluster adds to β̂
    phi_parts = _phi_parts(equations, state, slopes, onto) if free else np.zeros(onto.shape[1])
    found = {"phi": fit["phi"], "se_phi": ((), np.nan)}
    if free:
        a = state.dispersion
        ends = [invert_dispersion(problem.family, a * (1 + s)) for s in (-_STEP, _STEP)]
        rate = (ends[1] - ends[0]) / (2 * _STEP * a)
        found["se_phi"] = ((), float(rate * np.sqrt(phi_parts @ phi_parts)))
    if "alpha" in fit:
        structure = equations.structure
        se = np.full(np.size(fit["alpha"]), np.nan)
        if tree.attrs["association"] != "given" and structure.smooth(state.parameter):
            r, a = state.rows.r, state.dispersion
            own = structure.products(state.parameter, r)  # (K, q)
            gain = structure.gain(equations.lost)
            turned = np.stack(
                [_derivative(equations, state, slopes * column) for column in X], axis=1
            )
            parts = gain * own / a - structure.expected(state.parameter)
            parts += (gain[:, None] * turned / a @ onto).T
            parts -= np.outer(phi_parts, gain * own.sum(axis=0) / a**2)
            se = np.linalg.norm(
                np.linalg.solve(structure.curvature(state.parameter), parts.T), axis=1
            )
        found |= {
            "alpha": fit["alpha"],
            "se_alpha": (fit["alpha"].dims, se.reshape(fit["alpha"].shape)),
        }
    return xr.Dataset(found)


def _phi_parts(
    equations: Equations, state: State, slopes: np.ndarray, onto: np.ndarray
) -> np.ndarray:
    """What each cluster adds to a(φ̂) (K,)."""
    clusters, r = equations.structure.clusters, state.rows.r
    n = equations.X.shape[0]
    count = n if equations.ddof == "geepack" else n - equations.X.shape[1]
    own = clusters.sums(r * r) - clusters.sizes * state.dispersion * count / n
    through_beta = 2 * (equations.sorted[1] @ (r * slopes))
    parts: np.ndarray = (own + through_beta @ onto) / count
    return parts


def _derivative(equations: Equations, state: State, direction: np.ndarray) -> np.ndarray:
    """The derivative of the summed products: quadratic, so that central differences are exact."""
    r, products = state.rows.r, equations.structure.products
    h = np.linalg.norm(r) / max(float(np.linalg.norm(direction)), 1e-300)
    ends = [products(state.parameter, r + s * h * direction).sum(axis=0) for s in (1, -1)]
    difference: np.ndarray = (ends[0] - ends[1]) / (2 * h)
    return difference
