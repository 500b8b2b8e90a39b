"""Influence of single rows: R's measures, one step of scoring, and fits without each row."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.errors import AliasWarning, ArgumentError, FitWarning
from tests.references import array, cases, model_of
from tests.tolerances import DEFAULT, RELATIVE

PLACES = range(len(cases("rows")))
NAMES = [case["id"] for case in cases("rows")]
MEASURES = ("hat", "cooks_distance", "dfbeta", "dfbetas", "dffits", "covariance_ratio")


@cache
def fitted(place: int) -> xr.DataTree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasWarning)
        return model_of("rows", cases("rows")[place]).fit()


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_measures_of_deviance_residuals_are_those_of_r(place: int) -> None:
    case, found = cases("rows")[place], eg.influence(fitted(place), residual="deviance")
    falling = case["link"].startswith("inverse")  # R's residuals keep their sign there
    for name in MEASURES:
        expected = array(case[name]) * (-1 if falling and name.startswith("dfbeta") else 1)
        size = np.ptp(expected, axis=0)
        np.testing.assert_allclose(found[name] / size, expected / size, atol=RELATIVE, err_msg=name)


@pytest.mark.parametrize("place", [0, 4, 9, 14])
def test_the_default_is_one_step_of_scoring(place: int) -> None:
    """From β̂ on the data without a row: β̂ − {XᵀWX}⁻¹Xᵀu over the other rows."""
    tree = fitted(place)
    found = eg.influence(tree)
    problem = model_of("rows", cases("rows")[place]).problem
    beta = tree["fit"]["beta"].values
    X, y, w = problem.X, problem.y, np.ones(problem.row_count)
    w = w if problem.w is None else problem.w
    eta = X @ beta + (0 if problem.offset is None else problem.offset)
    mu = problem.link.inverse(eta)
    slope = problem.link.inverse.derivative("eta")(eta)
    V = problem.family.variance(mu)
    for i in (0, 3, y.size - 1):
        rest = np.arange(y.size) != i
        W = (w * slope**2 / V)[rest]
        u = (w * (y - mu) * slope / V)[rest]
        step = np.linalg.solve((X[rest].T * W) @ X[rest], X[rest].T @ u)
        size = np.abs(step).max()
        np.testing.assert_allclose(found["dfbeta"][i] / size, -step / size, atol=1e-6)  # Σu = 0


@pytest.mark.parametrize("place", [2, 5, 9, 14, 17])
def test_refits_are_fits_without_each_row(place: int) -> None:
    case, tree = cases("rows")[place], fitted(place)
    found = eg.influence(tree, refit=True)
    model = model_of("rows", case)
    table = model.problem.frame.table
    data = {name: table.column(name).array() for name in table.names}
    for i in (0, len(data[table.names[0]]) - 1):
        rest = {name: np.delete(values, i) for name, values in data.items()}
        left = eg.GLM(case["formula"], rest, family=model.family, link=model.link, **case["roles"])
        without = left.fit(tol=1e-12)
        change = tree["fit"]["beta"].values - without["fit"]["beta"].values
        se = tree["fit"]["se"].values
        np.testing.assert_allclose(found["dfbeta"][i] / se, change / se, atol=RELATIVE)
        row = {name: values[i : i + 1] for name, values in data.items()}
        loo = eg.predict(without, row)["estimate"].item()
        assert found["loo_mean"][i].item() == pytest.approx(loo, rel=RELATIVE)
        I = np.linalg.inv(tree["fit"]["covariance"].values[0])  # noqa: E741
        cook = change @ I @ change / change.size
        assert found["cooks_distance"][i].item() == pytest.approx(cook, rel=1e-6)


def test_one_step_is_exact_for_a_normal_linear_model() -> None:
    tree = fitted(0)
    one, exact = eg.influence(tree), eg.influence(tree, refit=True)
    for name in (*MEASURES, "loo_mean"):
        np.testing.assert_allclose(one[name], exact[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_known_dispersion_is_not_estimated_again() -> None:
    tree = fitted(9)
    found = eg.influence(tree)
    np.testing.assert_allclose(found["covariance_ratio"], 1 / (1 - found["hat"]), rtol=DEFAULT)
    r = eg.residuals(tree, "pearson")
    h = found["hat"]
    np.testing.assert_allclose(found["dffits"], r * np.sqrt(h) / (1 - h), rtol=DEFAULT)
    assert float(found["hat"].sum()) == pytest.approx(2, rel=DEFAULT)


def test_one_of_the_observations_that_a_row_stands_for() -> None:
    data = {"y": [1, 2, 4, 3, 7], "x": [0, 1, 2, 3, 4], "f": [1, 2, 1, 3, 1]}
    long = {name: np.repeat(values, data["f"]) for name, values in data.items()}
    short = eg.GLM("y ~ x", data, family="gamma", link="log", freq_weights="f").fit()
    whole = eg.GLM("y ~ x", long, family="gamma", link="log").fit()
    for refit in (False, True):
        one, all_ = eg.influence(short, refit=refit), eg.influence(whole, refit=refit)
        for name in (*MEASURES, "loo_mean"):
            np.testing.assert_allclose(np.repeat(one[name].values, data["f"], axis=0), all_[name],
                                       rtol=1e-6, err_msg=name)  # fmt: skip


@pytest.mark.parametrize("refit", [False, True])
def test_a_row_without_which_there_is_no_model_is_named(refit: bool) -> None:
    data = {"y": [1.0, 2.0, 4.0, 3.0, 7.0], "g": ["a", "a", "a", "a", "b"]}
    tree = eg.GLM("y ~ g", data, family="gamma", link="log").fit()
    with pytest.warns(FitWarning, match="does not exist without row 4: "):
        found = eg.influence(tree, refit=refit)
    assert np.isnan(found["dfbeta"]).any("coef").values.tolist() == [False] * 4 + [True]
    assert found["hat"].values[4] == pytest.approx(1)


def test_what_only_a_likelihood_fit_has() -> None:
    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    with pytest.raises(ArgumentError, match="residual is defined for a tree of fit"):
        eg.residuals(model.gee(groups="patient"), standardised=True)
    with pytest.raises(ArgumentError, match="residual='working' is not known"):
        eg.influence(fitted(0), residual="working")
    with pytest.raises(ArgumentError, match="leave it out with refit=True"):
        eg.influence(fitted(0), residual="deviance", refit=True)
