"""How much each cluster moves the estimates."""

from __future__ import annotations

import numpy as np
import xarray as xr

from expfam_glm.gee.filters import filtered
from expfam_glm.gee.fitting import leave_one_out
from expfam_glm.gee.recall import Recalled

# The fits without a cluster are wanted to rounding, for what is reported is a difference.
TIGHT = 1e-11


def cluster_influence(recalled: Recalled, *, refit: bool = False) -> xr.Dataset:
    """DFBETA, Cook's distance and leverage of each cluster, in one step or by fits without it.

    Raises
    ------
    DataError
        If a cluster alone determines some combination of the coefficients.
    CorrelationError, ConvergenceError
        If the fit without some cluster fails.
    """
    equations, state, kept = recalled.equations, recalled.state, recalled.kept
    found = filtered(equations, state, "mancl-derouen")
    clusters, bread = equations.structure.clusters, state.bread
    change = found.slices
    if refit:
        change = state.beta - leave_one_out(recalled.rows, recalled.fit(TIGHT, 200))
    steps = (change * bread.scale) @ bread.R.T
    labels = clusters.labels
    order = np.argsort(clusters.order[clusters.starts])
    se = recalled.tree["fit"].to_dataset()["se"].values[kept]
    return xr.Dataset(
        {
            "dfbeta": (("cluster", "coef"), change[order]),
            "dfbetas": (("cluster", "coef"), (change / se)[order]),
            "cooks_distance": (
                "cluster", (np.sum(steps**2, axis=1) / (state.dispersion * state.beta.size))[order]
            ),
            "leverage": ("cluster", found.leverage[order]),
            "size": ("cluster", clusters.sizes[order]),
        },
        coords={
            "cluster": (labels.astype(str) if labels.dtype.kind == "O" else labels)[order],
            "coef": list(recalled.problem.labels),
        },
        attrs={"refit": int(refit)},
    )  # fmt: skip
