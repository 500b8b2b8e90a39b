"""Predictions of a fitted model, by the same call for either road."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, DataError, one_of, show_rows
from expfam_glm.numerics.wald import wald_interval
from expfam_glm.results.fitted import (
    Coefficients,
    Rows,
    at_estimate,
    check_tree,
    coefficients_of,
    family_of,
    link_of,
    need_df,
    need_family,
    no_density,
    refuse_group_effects,
    roles_of,
    rows_of,
)
from expfam_glm.results.mean import checked_mean, mean_at_ends, slope_of
from expfam_glm.results.newdata import check_estimable, new_rows
from expfam_glm.results.probability import interval_prob
from expfam_glm.results.simulate import draws_of, new_responses
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link
from expfam_glm.tree import check_options, common_attrs

KINDS = ("mean", "link", "draws")
INTERVALS = ("mean", "new")
_ENTRIES = 2**22  # draws × rows at a time


def predict(
    tree: xr.DataTree,
    newdata: Any = None,
    *,
    kind: str = "mean",
    interval: str = "mean",
    ci_prob: float | None = None,
    cov_type: str | None = None,
    offset: str | float | ArrayLike | None = None,
    exposure: str | float | ArrayLike | None = None,
    trials: str | float | ArrayLike | None = None,
    weights: str | float | ArrayLike | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
    random_seed: int | None = 0,
    allow_code: bool = False,
) -> xr.Dataset | xr.DataTree:
    """Predict the mean, the linear predictor or new responses, with their uncertainty.

    Parameters
    ----------
    tree : DataTree
        What `fit`, `gee` or `sample` returned, also when read back from a file.
    newdata : data frame or array, optional
        New rows, in any container that `GLM` takes (or a dict of single values: one row), with the
        variables on the right side of the formula; the rows of the fit if not given. Levels of
        factors and the state of transforms are those of the fit.
    kind : {"mean", "link", "draws"}
        The mean on the scale of the response, the linear predictor, or draws of the mean and of
        new responses.
    interval : {"mean", "new"}
        What the interval is meant to hold: the mean, or one new response for each row.
    ci_prob : float, optional
        Probability of the interval; that of the fit, or ArviZ's `stats.ci_prob`, if not given.
    cov_type : str, optional
        One of the covariances in a likelihood or estimating-equation tree; the first if not given.
    offset, exposure, trials, weights : str, float or array_like (m,), optional
        What the model was fitted with, for the new rows: the name of a column of `newdata`, one
        number, or an array. Not needed where `newdata` has the column that the fit used. Trials
        and weights count for new responses alone.
    family, link : Family, Link, optional
        The declaration, where the family or link is not a built-in one and its density, or the
        link itself, is needed.
    random_seed : int, optional
        Seed of the draws; a fresh one for None.
    allow_code : bool
        Whether Python code in the formula, as in `{x % 2}`, may run on the new data.

    Returns
    -------
    xarray.Dataset
        `estimate` (obs_id; with trials a proportion of them, as its attribute `long_name` says),
        `se` (obs_id) and `interval` (obs_id, ci_bound), with the attributes
        `kind`, `interval`, `ci_prob` and `cov_type`. For kind="draws" a DataTree with the group
        `predictions`: `mu` and, where the model has a density, `y`, both (chain, draw, obs_id);
        else the attribute `note` of the group says why there is no `y`. Responses are on the scale
        of the mean; with trials, proportions.

    Raises
    ------
    ArgumentError
        If the model was fitted with an offset, exposure, trials or weights that would get lost;
        if a declared family is needed and not given, or another one is given; for unknown words.
    DataError, FormulaError
        If the new data lack a variable, have missing values or unseen levels, or lie where the
        model has no mean.
    ResultError
        If it is not a result tree.

    Notes
    -----
    Likelihood and estimating equations: with η̂ = xᵀβ̂ + offset and se(η̂)² = xᵀV̂x, the standard
    error of the mean is abs(dμ/dη) se(η̂), and its interval is η̂ ± q se(η̂), taken through the
    inverse link; q comes from the distribution of the tests (where the coefficients have degrees of
    freedom of their own, the smallest). Ends beyond the linear predictors that the family can have
    stand for the edge of the mean space.

    Draws: mean, standard deviation and equal-tailed interval over the draws of η or μ.

    New responses: one for each draw of the coefficients, from the family's distribution; the
    interval has equal tails. After a likelihood fit the coefficients are drawn from N(β̂, V̂), a
    dispersion estimated by moments as φ̂ν/χ²(ν) with ν = n − p, and with the model's own covariance
    the spread of the coefficients goes with it, so that the interval of a normal linear model is
    the exact one but for the error of quantiles of draws (with 4,000 of them and 95 %, about a
    twenty-fifth of the residual standard deviation; `fit(draws=…)` takes more). Estimating
    equations and quasi families have no distribution to draw from.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed., section 2.5. Gelman et al.
    (2013), Bayesian Data Analysis, 3rd ed., section 14.3.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> launch = eg.predict(model.fit(), {"temperature": [31, 60]}, ci_prob=0.95)
    >>> launch.estimate.values.round(3).tolist()
    [0.818, 0.136]
    >>> launch.interval.values.round(3).tolist()
    [[0.16, 0.991], [0.065, 0.261]]
    """
    check_tree(tree, "predict")
    refuse_group_effects(tree, "predict", averaged=kind != "draws" and interval != "new")
    for name, value, allowed in (("kind", kind, KINDS), ("interval", interval, INTERVALS)):
        if value not in allowed:
            raise one_of(name, value, allowed)
    if kind == "link" and interval == "new":
        raise ArgumentError("interval='new' is on the scale of the response; use kind='mean'.")
    prob = interval_prob(ci_prob, tree)
    seed = check_options(None, 1, 1, random_seed)
    declared = family_of(tree, family)
    g = link_of(tree, declared, link)
    if declared is not None and "limit_family" in tree.attrs:
        declared = at_estimate(tree, declared)
    found = coefficients_of(tree, cov_type)
    need_df(found)
    given = {"offset": offset, "exposure": exposure, "trials": trials, "weights": weights}
    if newdata is None:
        if any(value is not None for value in given.values()):
            role = next(role for role, value in given.items() if value is not None)
            raise ArgumentError(f"{role}= goes with newdata; the rows of the fit have their own.")
        rows = rows_of(tree, g)
    else:
        new = interval == "new" or (kind == "draws" and not no_density(tree, declared))
        rows = new_rows(tree, newdata, g, given, new_response=new, allow_code=allow_code)
        check_estimable(tree, rows, found, g)
    space = g.domain if declared is None else declared.mean_space
    if kind == "draws":
        return _draws(tree, newdata, rows, found, declared, g, space, seed)
    if kind == "link":
        table = _of_draws(rows, found, None, prob) if found.sampled else _linear(rows, found, prob)
    elif found.sampled:
        table = _of_draws(rows, found, (g, space), prob)
    else:
        table = _means(rows, found, g, space, prob)
    if interval == "new":
        table["interval"] = (
            ("obs_id", "ci_bound"),
            _new_interval(tree, rows, found, declared, g, prob, seed),
        )
    table["estimate"].attrs["long_name"] = _meaning(tree, kind)
    return table.assign_coords(
        obs_id=_obs_id(tree, newdata, len(rows.X)), ci_bound=["lower", "upper"]
    ).assign_attrs(kind=kind, interval=interval, ci_prob=prob, cov_type=found.cov_type)


def _meaning(tree: xr.DataTree, kind: str) -> str:
    """What the estimates are, in words."""
    if kind == "link":
        return "linear predictor"
    of_trials = "trials" in roles_of(tree)
    return "mean, as a proportion of the trials" if of_trials else "mean of the response"


def _obs_id(tree: xr.DataTree, newdata: Any, m: int) -> np.ndarray:
    """The labels of the rows: those of the fit, or their numbers."""
    return np.arange(m) if newdata is not None else np.asarray(tree["constant_data"]["obs_id"])


def _table(estimate: np.ndarray, se: np.ndarray, interval: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {
            "estimate": ("obs_id", estimate),
            "se": ("obs_id", se),
            "interval": (("obs_id", "ci_bound"), interval),
        }
    )


def _linear(rows: Rows, found: Coefficients, prob: float) -> xr.Dataset:
    """η̂ with its standard error and Wald interval."""
    eta = rows.eta(found.beta, found.kept)
    se = np.empty(eta.size)
    for part in _parts(eta.size, max(1, found.beta.size)):
        X = rows.part(part).X[:, found.kept]
        with np.errstate(over="ignore", invalid="ignore"):
            se[part] = np.sqrt(np.maximum(np.einsum("ij,ij->i", X @ found.V, X), 0.0))
    bad = ~np.isfinite(eta) | (~np.isfinite(se) & np.isfinite(found.V).all())
    if bad.any():
        raise DataError(
            "the linear predictor or its variance overflows; found "
            f"{show_rows(eta, bad)}. Check the values of the variables."
        )
    return _table(eta, se, wald_interval(eta, se, found.df, prob))


def _means(rows: Rows, found: Coefficients, link: Link, space: Domain, prob: float) -> xr.Dataset:
    """μ̂ by the delta method, its interval through the inverse link."""
    linear = _linear(rows, found, prob)
    eta = linear["estimate"].values
    mu = checked_mean(eta, link, space)
    slope = np.abs(slope_of(link, eta))
    ends = mean_at_ends(linear["interval"].values, link, space)
    return _table(mu, slope * linear["se"].values, np.sort(ends, axis=1))


def _of_draws(
    rows: Rows, found: Coefficients, to_mean: tuple[Link, Domain] | None, prob: float
) -> xr.Dataset:
    """Mean, standard deviation and equal-tailed interval of η or μ over the draws."""
    assert found.draws is not None
    m = len(rows.X)
    estimate, se, interval = np.empty(m), np.empty(m), np.empty((m, 2))
    tails = [(1 - prob) / 2, (1 + prob) / 2]
    for part in _parts(m, len(found.draws)):
        values = rows.part(part).eta(found.draws.T, found.kept)
        if to_mean is not None:
            values = checked_mean(values, *to_mean)
        estimate[part], se[part] = values.mean(axis=1), values.std(axis=1, ddof=1)
        interval[part] = np.quantile(values, tails, axis=1).T
    return _table(estimate, se, interval)


def _parts(m: int, draws: int) -> list[slice]:
    """Slices of rows with so many entries at a time."""
    size = max(1, _ENTRIES // draws)
    return [slice(first, first + size) for first in range(0, m, size)]


def _new_interval(
    tree: xr.DataTree,
    rows: Rows,
    found: Coefficients,
    family: Family | None,
    link: Link,
    prob: float,
    seed: int,
) -> np.ndarray:
    """The equal-tailed interval of new responses; of a discrete family, of possible values."""
    reason = no_density(tree, family)
    if reason:
        raise ArgumentError(f"interval='new' cannot be had: {reason}.")
    family = need_family(tree, family, "an interval for new responses")
    draws = draws_of(tree, found, family, seed)
    method: Any = "inverted_cdf" if family.support.discrete else "linear"
    tails = [(1 - prob) / 2, (1 + prob) / 2]
    interval = np.empty((len(rows.X), 2))
    for number, part in enumerate(_parts(len(rows.X), len(draws.beta))):
        some = rows.part(part)
        checked_mean(some.eta(draws.beta.T, found.kept), link, family.mean_space)
        y = new_responses(some, found, draws, family, link, seed, number)
        interval[part] = np.quantile(y, tails, axis=0, method=method).T
    return interval


def _draws(
    tree: xr.DataTree,
    newdata: Any,
    rows: Rows,
    found: Coefficients,
    family: Family | None,
    link: Link,
    space: Domain,
    seed: int,
) -> xr.DataTree:
    """Draws of the mean and of new responses, in the layout of a posterior predictive."""
    reason = no_density(tree, family)
    if not reason:
        family = need_family(tree, family, "a draw of new responses")
    draws = draws_of(tree, found, family, seed)
    dims, shape = ("chain", "draw", "obs_id"), (draws.chains, -1, len(rows.X))
    drawn = {"mu": np.empty((len(draws.beta), len(rows.X)))}
    for number, part in enumerate(_parts(len(rows.X), len(draws.beta))):
        some = rows.part(part)
        drawn["mu"][:, part] = checked_mean(some.eta(draws.beta.T, found.kept), link, space).T
        if family is not None and not reason:
            y = new_responses(some, found, draws, family, link, seed, number)
            drawn.setdefault("y", np.empty(drawn["mu"].shape, y.dtype))[:, part] = y
    variables = {name: (dims, values.reshape(shape)) for name, values in drawn.items()}
    predictions = xr.Dataset(
        variables,
        coords={
            "chain": np.arange(draws.chains),
            "draw": np.arange(len(draws.beta) // draws.chains),
            "obs_id": _obs_id(tree, newdata, len(rows.X)),
        },
        attrs={"note": f"no new responses: {reason}"} if reason else {},
    )
    attrs = common_attrs(
        kind="predictions", cov_type=found.cov_type, random_seed=seed,
        **{name: tree.attrs[name] for name in ("family", "link", "formula") if name in tree.attrs},
    )  # fmt: skip
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "predictions": predictions})
