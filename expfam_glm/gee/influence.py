"""How much each cluster moves the estimates."""

from __future__ import annotations

import numpy as np
import xarray as xr

from expfam_glm.data.response import Problem
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.covariance import filtered
from expfam_glm.gee.recall import recall


def cluster_influence(
    problem: Problem, tree: xr.DataTree, correlation: str | Correlation | None = None
) -> xr.Dataset:
    """DFBETA, Cook's distance and leverage of each cluster.

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
        `dfbeta (cluster, coef)`, what leaving the cluster out takes away from β̂ in one step, link
        scale; `cooks_distance (cluster)`; `leverage (cluster)`, which sums to p; and `size`. NaN
        for aliased coefficients.

    Raises
    ------
    DataError
        If a cluster alone determines some combination of the coefficients.
    ResultError, ArgumentError
        As `expfam_glm.gee.recall.recall`.

    Notes
    -----
    DFBETA_k = (B − B_k)⁻¹ U_k, with B_k and U_k what the cluster adds to B and U, α and φ held.
    Cook's distance is DFBETA_kᵀ B DFBETA_k/p, the leverage tr(B_k B⁻¹).

    References
    ----------
    Preisser and Qaqish (1996), Deletion diagnostics for generalised estimating equations,
    Biometrika 83, 551-562.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> found = cluster_influence(model.problem, model.gee("patient"))
    >>> int(found["cooks_distance"].idxmax())
    49
    """
    recalled = recall(problem, tree, correlation)
    equations, state, kept = recalled.equations, recalled.state, recalled.kept
    slices = filtered(equations, state, "mancl-derouen")
    clusters = equations.structure.clusters
    dfbeta = np.full((clusters.count, kept.size), np.nan)
    dfbeta[:, kept] = slices.slices
    bread = state.bread
    steps = (slices.slices * bread.scale) @ bread.R.T
    cook = np.sum(steps**2, axis=1) / (state.dispersion * state.beta.size)
    labels = clusters.labels
    order = np.argsort(clusters.order[clusters.starts])
    return xr.Dataset(
        {
            "dfbeta": (("cluster", "coef"), dfbeta[order]),
            "cooks_distance": ("cluster", cook[order]),
            "leverage": ("cluster", slices.leverage[order]),
            "size": ("cluster", clusters.sizes[order]),
        },
        coords={
            "cluster": (labels.astype(str) if labels.dtype.kind == "O" else labels)[order],
            "coef": list(problem.labels),
        },
    )
