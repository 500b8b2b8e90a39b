"""What must be known about draws: divergences, R-hat, effective sizes, in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import arviz_stats as azs
import numpy as np
import xarray as xr

from expfam_glm.errors import SamplingWarning, warn

QUIET = "nothing to report"
_LARGEST_RHAT = 1.01  # Vehtari et al. (2021)
_SMALLEST_ESS = 100.0  # for each chain
_STILL = 4 * np.finfo(float).eps  # range of a chain's draws, relative to their size: rounding


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
        `min_ess_bulk`, `min_ess_tail` (NaN where there is nothing to compare; ∞ and 0 where no
        chain moved), and `diagnosis`.

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
        stuck = {str(name): _stuck(str(name), v) for name, v in posterior.data_vars.items()}
        still = [name for name, (some, _) in stuck.items() if some]
        with np.errstate(invalid="ignore", divide="ignore"):  # of what is constant
            if posterior.sizes["chain"] > 1:
                rhat = _extreme(azs.rhat(posterior), stuck, np.inf, np.max)
            bulk = _extreme(azs.ess(posterior, method="bulk"), stuck, 0.0, np.min)
            tail = _extreme(azs.ess(posterior, method="tail"), stuck, 0.0, np.min)
    said = []
    if still:
        said.append(
            f"a chain never moved (its draws of {', '.join(still)} are all equal): rescale or "
            "centre covariates and offset, or choose tighter priors"
        )
    if divergences:
        said.append(
            f"{divergences} of {n_draws} draws diverged: the posterior bends too sharply for the "
            "step size there; raise target_accept, or choose tighter priors"
        )
    if deepest > 0.01 * n_draws:
        said.append(f"{deepest} of {n_draws} trajectories reached the largest length (maxdepth)")
    if rhat > _LARGEST_RHAT:
        # rounding down could end at the limit itself
        shown = f"up to {math.ceil(rhat * 1e4) / 1e4:.4f}" if rhat < 1e10 else "is infinite"
        said.append(
            f"the chains do not agree (R-hat {shown}, above {_LARGEST_RHAT}); draw longer chains"
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


def _stuck(name: str, values: xr.DataArray) -> tuple[bool, np.ndarray]:
    """Whether a chain of some element stands still, and the elements of which none moves."""
    draws = values.transpose("chain", "draw", ...).values
    still = np.ptp(draws, axis=1) <= _STILL * np.max(np.abs(draws), axis=1)
    nowhere = still.all(axis=0)
    if name.startswith("corr_"):  # with a diagonal of ones
        still = still[:, ~nowhere]
    return bool(still.any()), nowhere


def _extreme(
    found: xr.Dataset,
    stuck: dict[str, tuple[bool, np.ndarray]],
    worst: float,
    reduce: Callable[[np.ndarray], Any],
) -> float:
    """The largest or smallest number of all elements, the worst where one is none or stuck."""
    parts = []
    for name, (_, nowhere) in stuck.items():
        own = np.asarray(found[name].values)
        if name.startswith("corr_"):
            own, nowhere = own[~nowhere], nowhere[~nowhere]
        parts.append(np.where(nowhere | ~np.isfinite(own), worst, own).ravel())
    return float(reduce(np.concatenate(parts)))
