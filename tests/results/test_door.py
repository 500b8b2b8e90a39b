"""A result tree that was cut, reordered or changed is refused by everything that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.errors import ResultError
from tests.tolerances import RELATIVE

N = 30
RNG = np.random.default_rng(0)
X = RNG.normal(size=N)
DATA = {"y": RNG.poisson(np.exp(0.3 + 0.2 * X)), "x": X, "c": list("abc") * 10}
MODEL = eg.GLM("y ~ x + c", DATA, family="poisson")
FIT = MODEL.fit(cov=["fisher", "HC0"])
GEE = MODEL.gee(np.repeat(np.arange(6), 5), cov="naive")
DRAWS = xr.DataTree.from_dict(
    {
        "/": xr.Dataset(attrs=FIT.attrs | {"estimator": "posterior"}),
        **{name: FIT[name] for name in ("posterior", "observed_data", "constant_data")},
    }
)
NEW = {"x": [1.0, 2.0], "c": ["a", "b"]}
OF_COEFFICIENTS: dict[str, Callable[[xr.DataTree], Any]] = {
    "wald": lambda tree: eg.hypotheses(tree, "x = 0"),
    "new": lambda tree: eg.predict(tree, NEW),
}
OF_ROWS: dict[str, Callable[[xr.DataTree], Any]] = {
    "predict": eg.predict,
    "residuals": eg.residuals,
    "influence": eg.influence,
    "effects": eg.marginal_effects,
}
OF_LIKELIHOOD: dict[str, Callable[[xr.DataTree], Any]] = {
    "lr": lambda tree: eg.hypotheses(tree, "x = 0", test="lr"),
    "deviance_table": eg.deviance_table,
    "profile": eg.profile,
}
OF_READERS: dict[str, Callable[[xr.DataTree], Any]] = {
    "compare": lambda tree: eg.compare({"A": FIT, "B": tree}),
    "summary": eg.summary,
    "calibrate": lambda tree: eg.calibrate(DRAWS, tree),
}
ALL = OF_COEFFICIENTS | OF_ROWS | OF_LIKELIHOOD


def refused(tree: xr.DataTree, *, by: dict[str, Callable[[xr.DataTree], Any]], words: str) -> None:
    for name, function in by.items():
        with pytest.raises(ResultError, match=words):
            pytest.fail(f"{name} gave {function(tree)}")


def put(name: str, change: Callable[[xr.Dataset], xr.Dataset]) -> xr.DataTree:
    """The fit with one group changed."""
    tree = FIT.copy()
    tree[name] = xr.DataTree(change(FIT[name].to_dataset()))
    return tree


def lost(name: str) -> xr.DataTree:
    tree = FIT.copy()
    del tree[name]
    return tree


def told(**attrs: Any) -> xr.DataTree:
    tree = FIT.copy()
    tree.attrs = dict(FIT.attrs) | attrs
    return tree


@pytest.mark.parametrize("tree", [FIT, GEE], ids=["fit", "gee"])
def test_a_part_of_a_tree_is_refused(tree: xr.DataTree) -> None:
    by = ALL if tree is FIT else OF_COEFFICIENTS | OF_ROWS
    labels = FIT["fit"]["coef"].values
    refused(tree.isel(obs_id=slice(0, 15)), by=by, words="holds 15 rows, but it was made from 30")
    refused(tree.isel(coef=[0, 1]), by=by, words="cut or reordered")
    refused(tree.sel(coef=labels[::-1]), by=by, words="cut or reordered")
    refused(tree.isel(coef2=[0, 1]), by=by, words="cut or reordered")
    refused(tree.isel(obs_id=0), by=by, words="lies along")


def test_a_part_of_a_posterior_is_refused() -> None:
    by = {"new": OF_COEFFICIENTS["new"]} | {
        name: OF_ROWS[name] for name in ("predict", "residuals")
    }
    refused(DRAWS.isel(obs_id=slice(0, 15)), by=by, words="holds 15 rows")
    refused(DRAWS.isel(coef=[1, 0, 2, 3]), by=by, words="cut or reordered")
    refused(DRAWS.isel(chain=0), by=by, words="lies along")
    assert eg.predict(DRAWS.isel(draw=slice(0, 25)), NEW)["estimate"].size == 2


def test_an_older_tree_is_checked_by_its_number_of_observations() -> None:
    old = FIT.copy()
    old.attrs = {name: value for name, value in FIT.attrs.items() if name != "rows_used"}
    np.testing.assert_array_equal(eg.residuals(old), eg.residuals(FIT))
    refused(old.isel(obs_id=slice(0, 15)), by=ALL, words="n_observations is 30")


def test_changed_numbers_are_refused() -> None:
    beta, V = FIT["fit"]["beta"], FIT["fit"]["covariance"]
    refused(put("fit", lambda d: d.assign(beta=beta * np.nan)), by=ALL, words="no finite number")
    refused(put("fit", lambda d: d.assign(beta=beta.where(beta["coef"] != "x"))), by=ALL,
            words="no finite number for x")  # fmt: skip
    refused(put("fit", lambda d: d.assign(covariance=-V)), by=OF_COEFFICIENTS,
            words="negative variances")  # fmt: skip
    negative = put("observed_data", lambda d: d.assign(y=-1 - d["y"]))
    refused(negative, by=ALL, words="outside the support")
    gone = put("observed_data", lambda d: d.assign(y=d["y"] * np.nan))
    refused(gone, by=ALL, words="not finite")
    text = put("constant_data", lambda d: d.assign(X=d["X"].astype(str)))
    refused(text, by=ALL, words="holds no numbers")


def test_what_is_missing_is_named() -> None:
    refused(lost("constant_data"), by=OF_ROWS | OF_LIKELIHOOD, words="constant_data")
    refused(lost("observed_data"), by=OF_LIKELIHOOD, words="observed_data")
    refused(lost("fit_stats"), by=ALL, words="fit_stats")
    refused(put("fit", lambda d: d.drop_vars("covariance")), by=ALL, words="lack covariance")
    refused(put("constant_data", lambda d: d.isel(obs_id=slice(0, 9))), by=ALL, words="9 rows")
    for design in ("[1,2]", "{}", "no JSON"):
        refused(told(design=design), by=ALL, words="'design'")
    # the coefficients alone are enough for new rows and Wald tests
    whole = eg.predict(FIT, NEW)
    xr.testing.assert_equal(eg.predict(lost("constant_data"), NEW), whole)


def test_a_role_or_shape_that_is_lost_is_named() -> None:
    tree = eg.GLM("y ~ x", DATA, family="poisson", offset="x").fit()
    tree["constant_data"] = xr.DataTree(tree["constant_data"].to_dataset().drop_vars("offset"))
    refused(tree, by={"predict": eg.predict, "residuals": eg.residuals}, words="lack offset")


def test_trials_and_offsets_of_the_formula_that_are_lost_are_named() -> None:
    data = DATA | {"s": [1] * N, "f": [2] * N}
    for formula, family, role in (
        ("cbind(s, f) ~ x", "binomial", "trials"),
        ("y ~ x + offset(log(f))", "poisson", "offset"),
    ):
        tree = eg.GLM(formula, data, family=family).fit(draws=10)
        tree["constant_data"] = xr.DataTree(tree["constant_data"].to_dataset().drop_vars(role))
        readers = OF_ROWS | {"summary": eg.summary, "wald": OF_COEFFICIENTS["wald"]}
        refused(tree, by=readers, words=f"constant_data of the tree lack {role}")


def test_comparisons_summaries_and_calibrations_pass_the_door() -> None:
    refused(FIT.isel(coef=[0, 1]), by=OF_READERS, words="cut or reordered")
    refused(FIT.isel(obs_id=slice(0, 15)), by=OF_READERS, words="holds 15 rows")
    refused(put("fit", lambda d: d.assign(se=2 * d["se"])), by=OF_READERS, words="not the root")
    refused(put("fit", lambda d: d.assign(df=d["df"].astype(str))), by=OF_READERS,
            words="holds no numbers")  # fmt: skip
    refused(put("fit_stats", lambda d: d.drop_vars("loglik")), by=OF_READERS, words="lack loglik")
    refused(put("fit_stats", lambda d: d.assign(aic="no")), by=OF_READERS, words="no numbers")
    refused(put("fit_stats", lambda d: d.assign(deviance=-1.0)), by=OF_READERS, words="no fit has")
    refused(put("fit", lambda d: d.drop_vars("statistic")), by=OF_READERS, words="lack statistic")
    refused(told(design="no JSON"), by=OF_READERS, words="'design'")
    of_draws = {
        "calibrate": lambda tree: eg.calibrate(tree, FIT),
        "plot": lambda tree: eg.plot_prior_posterior(tree, backend="none"),
        "plot of a likelihood": lambda tree: eg.plot_prior_posterior(DRAWS, tree, backend="none"),
        "compare": OF_READERS["compare"],
        "summary": eg.summary,
    }
    refused(DRAWS.isel(coef=[1, 0, 2, 3]), by=of_draws, words="cut or reordered")
    refused(DRAWS.isel(chain=0), by=of_draws, words="lies along")
    changed = DRAWS.copy()
    changed.attrs = dict(DRAWS.attrs) | {"priors": "[]"}
    refused(changed, by={"plot": of_draws["plot"]}, words="record of priors")
    # a tree of another program has no marks, and needs coefficients alone
    foreign = xr.DataTree.from_dict({"posterior": FIT["posterior"].to_dataset()})
    assert eg.compare({"A": FIT, "B": foreign}).sizes["model"] == 2
    assert len(eg.summary(foreign).table) == 4


LEFT = [i for i in range(N) if i not in (0, 3, 7)]


def with_gaps() -> eg.GLM:
    """A model of the rows in LEFT: two lack a value, one has no weight."""
    x, w = X.copy(), np.ones(N)
    x[[0, 7]], w[3] = np.nan, 0
    data = pd.DataFrame(DATA | {"x": x, "w": w})
    return eg.GLM("y ~ x", data, family="poisson", weights="w", missing="drop")


def check_numbers(tree: xr.DataTree) -> None:
    for name in ("constant_data", "observed_data"):
        assert tree[name]["obs_id"].values.tolist() == LEFT
    assert eg.predict(tree)["obs_id"].values.tolist() == LEFT


def test_rows_are_numbered_as_in_the_data_given() -> None:
    tree = with_gaps().fit()
    check_numbers(tree)
    check_numbers(with_gaps().gee(np.repeat(np.arange(6), 5), cov="naive"))
    full = eg.GLM("y ~ x", pd.DataFrame(DATA).iloc[LEFT], family="poisson").fit()
    assert full["observed_data"]["obs_id"].values.tolist() == list(range(27))
    series = eg.residuals(tree).to_series()
    np.testing.assert_allclose(series.loc[LEFT], eg.residuals(full).values, rtol=RELATIVE)
    assert eg.influence(tree)["obs_id"].values.tolist() == LEFT


@pytest.mark.slow
def test_rows_of_a_posterior_are_numbered_as_in_the_data_given(tmp_path: Path) -> None:
    draws = with_gaps().laplace(draws=1000, random_seed=1)
    check_numbers(draws)
    draws.to_netcdf(tmp_path / "draws.nc")
    with xr.open_datatree(tmp_path / "draws.nc") as again:
        check_numbers(again)
    stored = eg.loo(draws)
    del draws["log_likelihood"]
    found = eg.loo(draws)
    for one in (stored, found):
        assert one.elpd_i["obs_id"].values.tolist() == LEFT
    np.testing.assert_allclose(found.elpd_i, stored.elpd_i, rtol=RELATIVE)
