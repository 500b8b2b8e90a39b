"""Leave-one-out cross-validation of a posterior, also where its log-likelihood was not stored."""

from __future__ import annotations

from typing import Any

import arviz_stats as azs
import numpy as np
import xarray as xr
from scipy.special import logsumexp

from expfam_glm.bayes.pointwise import log_likelihood
from expfam_glm.data.compress import distinct
from expfam_glm.data.rows import are_counts, one_by_one
from expfam_glm.errors import ResultError, show_rows
from expfam_glm.results.fitted import (
    check_tree,
    coefficients_of,
    family_of,
    frequencies_of,
    link_of,
    need_family,
    problem_of,
    refuse_group_effects,
    response_of,
    rows_of,
)
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

_ENTRIES = 2**22  # draws × rows at a time


def loo(
    tree: xr.DataTree,
    *,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> Any:
    """Expected log predictive density by Pareto-smoothed importance sampling.

    Parameters
    ----------
    tree : xarray.DataTree
        What `sample` or `laplace` returned, also when read back from a file.
    family, link : Family, Link, optional
        The declaration, where the log-likelihood was not stored and the family or link is not a
        built-in one.

    Returns
    -------
    arviz_stats.ELPDData
        As from `az.loo`, with the pointwise values. A row of frequency f is f observations.

    Raises
    ------
    ResultError
        For trees without draws of a posterior; for quasi families, which have no density; for a
        recalibrated posterior, whose draws are not those of the likelihood; for frequencies that
        are not whole numbers, of which no single observation can be left out.

    Notes
    -----
    elpd = Σ log Σ_s w_is p(y_i | θ_s), w_is the smoothed weights 1/p(y_i | θ_s). Where the group
    log_likelihood was left out it is computed in blocks of the distinct rows (x, y, weights), and
    never held as a whole. The sum is over observations: each of those that a row with a frequency
    stands for is left out by itself, so that the result is that of the rows one by one.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Statistics and Computing 27, 1413-1432.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> bayes = model.sample(random_seed=1, progressbar=False, log_likelihood=False)
    >>> eg.loo(bayes).n_data_points
    23
    """
    check_tree(tree, "loo", rows=True)
    if "calibrated" in tree.attrs:
        raise ResultError(
            "a recalibrated posterior has no log-likelihood of its own draws; use the tree from "
            "before calibrate()."
        )
    if str(tree.attrs.get("estimator")) != "posterior":
        raise ResultError(
            f"loo() needs draws of a posterior; this tree is {tree.attrs.get('kind')!r}. Compare "
            "likelihood fits by AIC or BIC in the group fit_stats, estimating equations by QIC."
        )
    if "held_phi" in tree.attrs:
        raise ResultError(
            f"the quasi family {tree.attrs['family']!r} has no density of the response, so there "
            "is nothing to cross-validate; use the family with the density that you have in mind."
        )
    f = frequencies_of(tree)
    if f is not None and not are_counts(f):
        raise ResultError(
            f"loo() leaves out one observation at a time, and freq_weights that are not whole "
            f"numbers ({show_rows(f, f != np.floor(f))}) count none. Precisions go into weights=, "
            "and are left out with their row."
        )
    if "log_likelihood" in tree.children:
        if any(np.isnan(v.values).any() for v in tree["log_likelihood"].data_vars.values()):
            raise ResultError(
                "the stored log_likelihood has NaN, which sample() never writes; pass the tree as "
                "it was returned, or drop the group log_likelihood to have it computed again."
            )
        return azs.loo(tree, pointwise=True)
    refuse_group_effects(tree, "loo without stored log_likelihood")
    return _in_blocks(tree, family, link)


def _in_blocks(tree: xr.DataTree, family: str | Family | None, link: str | Link | None) -> Any:
    """ArviZ's `loo` of some rows at a time, put together."""
    declared = need_family(tree, family_of(tree, family), "the log-likelihood")
    found = coefficients_of(tree)
    g = link_of(tree, declared, link)
    rows, y = rows_of(tree, g), response_of(tree)
    obs_id = tree["constant_data"].to_dataset()["obs_id"].values
    posterior = tree["posterior"].to_dataset()
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    assert found.draws is not None
    known = 1.0 if declared.phi is None else declared.phi
    phi = posterior["phi"].values.ravel() if "phi" in posterior else known
    shapes = {name: posterior[name].values.ravel() for name in declared.shape}
    # rows alike in all that a log-likelihood knows are computed once
    keys = [rows.X, y, *(v for v in (rows.offset, rows.w) if v is not None)]
    alike = distinct(keys)
    size, parts, fitted = max(1, _ENTRIES // (chains * draws)), [], []
    for start in range(0, alike.first.size, size):
        part = alike.first[start : start + size]
        problem = problem_of(rows.part(part), found, declared, g, y[part])
        values = log_likelihood(problem, found.draws, phi, effects=None, **shapes)
        fitted.append(logsumexp(values, axis=0) - np.log(len(values)))
        dims = ("chain", "draw", "obs_id")
        one = xr.Dataset({"y": (dims, values.reshape(chains, draws, -1))})
        block = xr.DataTree()
        block.children = {
            "posterior": xr.DataTree(posterior),
            "log_likelihood": xr.DataTree(one.assign_coords(obs_id=obs_id[part])),
        }
        parts.append(azs.loo(block, pointwise=True))
    whole = parts[0]
    codes, obs_id = (one_by_one(values, rows.f) for values in (alike.codes, obs_id))

    def every(name: str) -> xr.DataArray:
        together = xr.concat([getattr(part, name) for part in parts], "obs_id")
        return together[codes].assign_coords(obs_id=obs_id)

    elpd_i = every("elpd_i")
    whole.elpd_i, whole.pareto_k, whole.n_data_points = elpd_i, every("pareto_k"), codes.size
    whole.elpd = float(elpd_i.sum())
    whole.p = float(np.concatenate(fitted)[codes].sum()) - whole.elpd
    whole.se = float(np.sqrt(codes.size * np.var(elpd_i.values, ddof=1)))
    whole.warning = any(part.warning for part in parts)
    return whole
