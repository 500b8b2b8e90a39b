"""A result tree that was cut, reordered or changed is refused by everything that reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.errors import ResultError

N = 30
RNG = np.random.default_rng(0)
X = RNG.normal(size=N)
DATA = {"y": RNG.poisson(np.exp(0.3 + 0.2 * X)), "x": X, "c": list("abc") * 10}
MODEL = eg.GLM("y ~ x + c", DATA, family="poisson")
FIT = MODEL.fit(cov=["fisher", "HC0"])
GEE = MODEL.gee(np.repeat(np.arange(6), 5))
DRAWS = eg.GLM.from_arrays(DATA["y"], np.c_[np.ones(N), X], family="poisson").laplace(
    draws=50, random_seed=1
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
    by = {name: OF_ROWS[name] for name in ("predict", "residuals")} | {"loo": eg.loo}
    refused(DRAWS.isel(obs_id=slice(0, 15)), by=by, words="holds 15 rows")
    refused(DRAWS.isel(coef=[1, 0]), by=by, words="cut or reordered")
    refused(DRAWS.isel(chain=0), by=by, words="lies along")
    fewer = DRAWS.isel(draw=slice(0, 25))
    assert eg.predict(fewer, np.ones((1, 2)))["estimate"].size == 1


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


def test_rows_are_numbered_as_in_the_data_given() -> None:
    x = X.copy()
    x[[0, 7]] = np.nan
    w = np.ones(N)
    w[3] = 0
    data = pd.DataFrame(DATA | {"x": x, "w": w})
    model = eg.GLM("y ~ x", data, family="poisson", weights="w", missing="drop")
    left = [i for i in range(N) if i not in (0, 3, 7)]
    full = eg.GLM("y ~ x", data.iloc[left], family="poisson").fit()
    draws = model.laplace(draws=50, random_seed=1)
    for tree in (model.fit(), model.gee(np.repeat(np.arange(6), 5)), draws):
        for name in ("constant_data", "observed_data"):
            assert tree[name]["obs_id"].values.tolist() == left
        assert eg.predict(tree)["obs_id"].values.tolist() == left
    found = eg.residuals(model.fit())
    assert found["obs_id"].values.tolist() == left
    series = found.to_series()
    np.testing.assert_allclose(series.loc[left], eg.residuals(full).values, rtol=1e-9)
    assert eg.influence(model.fit())["obs_id"].values.tolist() == left
    del draws["log_likelihood"]
    assert eg.loo(draws).elpd_i["obs_id"].values.tolist() == left
