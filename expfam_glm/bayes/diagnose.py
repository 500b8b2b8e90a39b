"""What must be known about draws: divergences, R-hat, effective sizes, in words."""

from __future__ import annotations

import math

import arviz_stats as azs
import numpy as np
import xarray as xr

from expfam_glm.errors import SamplingWarning, warn

QUIET = "nothing to report"
_LARGEST_RHAT = 1.01  # Vehtari et al. (2021)
_SMALLEST_ESS = 100.0  # for each chain


def diagnose(tree: xr.DataTree) -> dict[str, str | float | int]:
    """Attributes about the quality of the draws, and a warning where something is wrong.

    Parameters
    ----------
    tree : xarray.DataTree
        With groups posterior and sample_stats.

    Returns
    -------
    dict
        `n_divergences`, `n_max_depth` (trajectories stopped at their largest length), `max_rhat`,
        `min_ess_bulk`, `min_ess_tail` (NaN where there is nothing to compare), and `diagnosis`.

    Warns
    -----
    SamplingWarning
        For divergences, R-hat above 1.01, or effective sizes below 100 for each chain.

    References
    ----------
    Vehtari et al. (2021), Bayesian Analysis 16, 667-718.
    """
    posterior, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    n_draws = posterior.sizes["chain"] * posterior.sizes["draw"]
    divergences = int(stats["diverging"].sum())
    deepest = int(stats["maxdepth_reached"].sum()) if "maxdepth_reached" in stats else 0
    enough = posterior.sizes["draw"] >= 4
    rhat, bulk, tail = np.nan, np.nan, np.nan
    still: list[str] = []
    if enough:
        with np.errstate(invalid="ignore", divide="ignore"):  # of what is constant
            if posterior.sizes["chain"] > 1:
                rhat = _extreme(azs.rhat(posterior), np.nanmax)
            bulk = _extreme(azs.ess(posterior, method="bulk"), np.nanmin)
            tail = _extreme(azs.ess(posterior, method="tail"), np.nanmin)
        still = [
            str(name)
            for name, values in posterior.data_vars.items()
            if not str(name).startswith("corr_") and bool((values.std("draw") == 0).any())
        ]
    said = []
    if still:
        said.append(f"a chain never moved (its draws of {', '.join(still)} are all equal)")
    if divergences:
        said.append(
            f"{divergences} of {n_draws} draws diverged: the posterior bends too sharply for the "
            "step size there; raise target_accept, or choose tighter priors"
        )
    if deepest > 0.01 * n_draws:
        said.append(f"{deepest} of {n_draws} trajectories reached the largest length (maxdepth)")
    if rhat > _LARGEST_RHAT:
        shown = math.ceil(rhat * 1e4) / 1e4  # rounding down could end at the limit itself
        said.append(
            f"the chains do not agree (R-hat up to {shown:.4f}, above {_LARGEST_RHAT}); draw "
            "longer chains"
        )
    least = _SMALLEST_ESS * posterior.sizes["chain"]
    if min(bulk, tail) < least:
        said.append(
            f"the draws are worth only {min(bulk, tail):.0f} independent ones in places; draw more"
        )
    quiet = QUIET
    if not enough or posterior.sizes["chain"] == 1:
        quiet = "one chain or too few draws: whether the chains agree was not assessed"
    text = "; ".join(said)
    if text:
        warn(text[0].upper() + text[1:] + ".", SamplingWarning)
    return {
        "n_divergences": divergences,
        "n_max_depth": deepest,
        "max_rhat": float(rhat),
        "min_ess_bulk": float(bulk),
        "min_ess_tail": float(tail),
        "diagnosis": text or quiet,
    }


def _extreme(values: xr.Dataset, reduce: object) -> float:
    """The largest or smallest number of all variables."""
    numbers = np.concatenate([np.ravel(v.values) for v in values.data_vars.values()])
    return float(reduce(numbers)) if np.isfinite(numbers).any() else np.nan  # type: ignore[operator]
