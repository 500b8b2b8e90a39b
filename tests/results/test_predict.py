"""Predictions: R's, on any container, with any covariance, from files, and nothing gets lost."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytensor.tensor as pt
import pytest
import xarray as xr
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import AliasWarning, ArgumentError, DataError, FormulaError, ResultError
from expfam_glm.numerics.wald import wald_interval
from expfam_glm.tree import likelihood_tree
from tests.declared import zero_truncated_poisson
from tests.fabricated import LABELS, made_up, made_up_gee, sampled
from tests.references import array, cases, model_of
from tests.tolerances import DEFAULT, RELATIVE

MONTE_CARLO = 5  # standard errors of a quantile of draws


@cache
def fitted(place: int, **options: Any) -> xr.DataTree:
    """The fit of a case of the reference file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasWarning)
        return model_of("rows", cases("rows")[place]).fit(**options)


def new_of(case: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(values) for name, values in case["new"].items()}


@pytest.mark.parametrize("place", range(len(cases("rows"))), ids=[c["id"] for c in cases("rows")])
def test_means_and_linear_predictors_are_those_of_r(place: int) -> None:
    case, tree = cases("rows")[place], fitted(place)
    expected = {name: array(values) for name, values in case["predicted"].items()}
    for kind in ("link", "mean"):
        found = eg.predict(tree, new_of(case), kind=kind)
        np.testing.assert_allclose(found["estimate"], expected[kind], rtol=RELATIVE)
        np.testing.assert_allclose(found["se"], expected[f"{kind}_se"], rtol=RELATIVE)


@pytest.mark.parametrize("place", range(len(cases("rows"))), ids=[c["id"] for c in cases("rows")])
def test_the_rows_of_the_fit_are_the_data_of_the_fit(place: int) -> None:
    tree = fitted(place)
    model = model_of("rows", cases("rows")[place])
    own = eg.predict(tree)
    y = tree["observed_data"]["y"].values
    np.testing.assert_allclose(y - own["estimate"], array(cases("rows")[place]["residuals"]
                               ["response"]), rtol=RELATIVE, atol=RELATIVE * np.ptp(y))  # fmt: skip
    table = model.problem.frame.table
    data = {name: table.column(name).array() for name in table.names}
    again = eg.predict(tree, data)
    for name in ("estimate", "se", "interval"):
        np.testing.assert_allclose(again[name], own[name], rtol=DEFAULT)


RINGS = eg.GLM("damaged ~ temperature", eg.load_data("oring"), family="binomial", trials="rings")


def test_the_interval_of_the_mean_is_walds_through_the_inverse_link() -> None:
    tree = RINGS.fit(ci_prob=0.5)
    new = {"temperature": [31, 60, 85]}
    linear = eg.predict(tree, new, kind="link", ci_prob=0.95)
    z = stats.norm.ppf(0.975)
    for side, sign in (("lower", -1), ("upper", 1)):
        end = linear["estimate"] + sign * z * linear["se"]
        np.testing.assert_allclose(linear["interval"].sel(ci_bound=side), end, rtol=DEFAULT)
        found = eg.predict(tree, new, ci_prob=0.95)["interval"].sel(ci_bound=side)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-end)), rtol=DEFAULT)


def test_t_where_the_dispersion_is_estimated() -> None:
    data = eg.load_data("clotting")
    tree = eg.GLM("time ~ log(u)", data, family="gamma").fit()
    new = eg.predict(tree, {"u": [10.0]}, ci_prob=0.9)
    linear = eg.predict(tree, {"u": [10.0]}, kind="link", ci_prob=0.9)
    q = stats.t.ppf(0.95, 16)
    ends = 1 / (linear["estimate"].item() + np.array([q, -q]) * linear["se"].item())
    np.testing.assert_allclose(new["interval"][0], ends, rtol=DEFAULT)  # 1/η falls: ends swapped


def test_an_interval_that_leaves_the_domain_ends_at_the_edge_of_the_means() -> None:
    tree = eg.GLM("time ~ log(u)", eg.load_data("clotting"), family="gamma").fit()
    wide = eg.predict(tree, {"u": [5.0]}, ci_prob=1 - 1e-9)
    assert np.isinf(wide["interval"].values[0, 1]) and wide["interval"].values[0, 0] > 0
    counts = {"y": [1, 1, 2, 3], "x": [0.0, 1.0, 2.0, 3.0]}
    flat = eg.GLM("y ~ x", counts, family="poisson", link="identity").fit()
    low = eg.predict(flat, {"x": [0.5]}, ci_prob=0.9999)["interval"].values[0]
    assert low[0] == 0 and np.isfinite(low[1])


def test_where_the_model_has_no_mean_is_refused() -> None:
    tree = eg.GLM("time ~ log(u)", eg.load_data("clotting"), family="gamma").fit()
    with pytest.raises(DataError, match=r"linear predictors in \(0, inf\) only; found row 1: -0"):
        eg.predict(tree, {"u": [10.0, 0.001]})
    assert eg.predict(tree, {"u": [10.0, 0.001]}, kind="link").estimate[1] < 0


@pytest.mark.parametrize(
    "to", [pd.DataFrame, pl.DataFrame, pa.table, dict,
           lambda d: xr.Dataset({name: ("row", values) for name, values in d.items()})],
)  # fmt: skip
def test_every_container(to: Any) -> None:
    case, tree = cases("rows")[4], fitted(4)
    found = eg.predict(tree, to(new_of(case)))
    np.testing.assert_allclose(found["estimate"], array(case["predicted"]["mean"]), rtol=RELATIVE)


def test_arrays_for_a_model_of_arrays() -> None:
    X = np.column_stack([np.ones(6), np.arange(6.0)])
    y = np.array([1, 1, 2, 4, 5, 9])
    tree = eg.GLM.from_arrays(y, X, family="poisson", exposure=np.full(6, 2.0)).fit()
    whole = eg.predict(tree)["estimate"]
    some = eg.predict(tree, X[2:4], exposure=2.0)["estimate"]
    np.testing.assert_allclose(some, whole[2:4], rtol=DEFAULT)
    named = eg.predict(tree, {"x0": [1.0], "x1": [3.0], "t": [2.0]}, exposure="t")["estimate"]
    np.testing.assert_allclose(named, whole[3:4], rtol=DEFAULT)
    with pytest.raises(ArgumentError, match="exposure that the new data cannot bring along"):
        eg.predict(tree, X[2:4])


# ---- covariances ---------------------------------------------------------------------------------


def linear_tree(**changes: Any) -> xr.DataTree:
    """A made-up fit with two covariances and a design of its own."""
    estimate = made_up(**changes)
    estimate.attrs["design"] = json.dumps({"formula": None, "roles": {}, "labels": LABELS})
    estimate.attrs["link_digest"] = eg.links.log.link.digest
    estimate.attrs["family_digest"] = eg.families.poisson.digest
    del estimate.constant["weights"]
    return likelihood_tree(estimate)


def test_any_covariance_of_the_tree() -> None:
    tree = linear_tree()
    x = np.array([[1.0, 20.0, 1.0, 20.0]])
    for name, V in zip(("fisher", "HC0"), tree["fit"]["covariance"].values, strict=True):
        found = eg.predict(tree, x, kind="link", cov_type=name)
        assert found.attrs["cov_type"] == name
        np.testing.assert_allclose(found["se"], np.sqrt(x @ V @ x.T)[0], rtol=DEFAULT)
        draws = eg.predict(tree, x, kind="draws", cov_type=name)["predictions"]["mu"]
        assert float(np.log(draws).std(ddof=1)) == pytest.approx(found["se"].item(), rel=DEFAULT)
    assert eg.predict(tree, x).attrs["cov_type"] == "fisher"
    with pytest.raises(ArgumentError, match="cov_type='HC9' is not known; use one of 'fisher', 'H"):
        eg.predict(tree, x, cov_type="HC9")
    with pytest.raises(ArgumentError, match="draws have their own spread"):
        eg.predict(posterior_tree(), x, cov_type="fisher")


def test_degrees_of_freedom_go_with_the_covariance() -> None:
    changes = {"df": np.array([8.0, 8.0, 5.0, 8.0]), "fit": {"phi": ((), 2.0)}}
    tree = linear_tree(**changes)
    tree.attrs["dispersion"] = "pearson"
    x = np.array([[1.0, 20.0, 1.0, 20.0]])
    for name, df in (("fisher", 5.0), ("HC0", np.inf)):
        found = eg.predict(tree, x, kind="link", ci_prob=0.9, cov_type=name)
        expected = wald_interval(found["estimate"].values, found["se"].values, df, 0.9)
        np.testing.assert_allclose(found["interval"], expected, rtol=DEFAULT)


def test_each_covariance_has_its_own_degrees_of_freedom() -> None:
    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase", seizures, family="poisson")
    tree = model.fit(cov=["fisher", "CR2"], groups="patient")
    second = eg.predict(tree, {"lbase": [1.0]}, kind="link", cov_type="CR2", ci_prob=0.9)
    first = model.fit(cov=["CR2", "fisher"], groups="patient")
    found = eg.predict(first, {"lbase": [1.0]}, kind="link", ci_prob=0.9)
    df = first["fit"]["df"].values.min()
    expected = wald_interval(found["estimate"].values, found["se"].values, df, 0.9)
    np.testing.assert_allclose(found["interval"], expected, rtol=DEFAULT)
    np.testing.assert_allclose(second["interval"], expected, rtol=DEFAULT)


# ---- draws -------------------------------------------------------------------------------------


def posterior_tree(**more: float) -> xr.DataTree:
    """Made-up draws with a design of their own."""
    tree = sampled(**more)
    tree.attrs |= linear_tree().attrs | {"kind": "NUTS", "estimator": "posterior"}
    tree["constant_data"] = linear_tree()["constant_data"]
    return tree


def test_a_posterior_gives_moments_and_quantiles_of_its_draws() -> None:
    tree = posterior_tree()
    x = np.array([[1.0, 20.0, 1.0, 20.0], [1.0, 40.0, 0.0, 0.0]])
    eta = tree["posterior"]["beta"].values.reshape(-1, 4) @ x.T
    for kind, draws in (("link", eta), ("mean", np.exp(eta))):
        found = eg.predict(tree, x, kind=kind, ci_prob=0.8)
        np.testing.assert_allclose(found["estimate"], draws.mean(axis=0), rtol=DEFAULT)
        np.testing.assert_allclose(found["se"], draws.std(axis=0, ddof=1), rtol=DEFAULT)
        expected = np.quantile(draws, [0.1, 0.9], axis=0).T
        np.testing.assert_allclose(found["interval"], expected, rtol=DEFAULT)


def test_draws_have_the_layout_of_a_posterior_predictive() -> None:
    tree = posterior_tree()
    x = np.array([[1.0, 20.0, 1.0, 20.0], [1.0, 40.0, 0.0, 0.0]])
    found = eg.predict(tree, x, kind="draws", random_seed=3)["predictions"]
    assert found["y"].dims == found["mu"].dims == ("chain", "draw", "obs_id")
    assert found["y"].shape == (4, 1000, 2) and found["y"].dtype.kind == "i"
    eta = tree["posterior"]["beta"].values @ x.T
    np.testing.assert_allclose(found["mu"], np.exp(eta), rtol=DEFAULT)
    again = eg.predict(tree, x, kind="draws", random_seed=3)["predictions"]
    other = eg.predict(tree, x, kind="draws", random_seed=4)["predictions"]
    assert found["y"].equals(again["y"]) and not found["y"].equals(other["y"])
    gap = (found["y"] - found["mu"]) / np.sqrt(found["mu"])  # mean 0, variance 1 by the model
    assert np.all(np.abs(gap.mean(("chain", "draw"))) < MONTE_CARLO / np.sqrt(4000))
    assert np.all(np.abs(gap.std(("chain", "draw")) - 1) < 0.1)


def test_the_interval_for_a_new_response_of_a_normal_model_is_the_exact_one() -> None:
    data = eg.load_data("clotting")
    tree = eg.GLM("log(time) ~ log(u)", data, family="normal").fit(draws=50_000)
    found = eg.predict(tree, {"u": [10.0, 50.0]}, interval="new", ci_prob=0.9)
    phi, df = float(tree["fit"]["phi"]), 16
    spread = np.sqrt(phi + found["se"].values ** 2)
    q = stats.t.ppf(0.95, df)
    exact = found["estimate"].values[:, None] + spread[:, None] * np.array([-q, q])
    error = np.sqrt(0.05 * 0.95 / 200_000) / stats.t.pdf(q, df) * spread
    assert np.all(np.abs(found["interval"] - exact) < MONTE_CARLO * error[:, None])


def test_the_interval_for_a_new_count_holds_counts() -> None:
    tree = linear_tree()
    x = np.array([[1.0, 120.0, 0.0, 0.0]])
    found = eg.predict(tree, x, interval="new", ci_prob=0.9)["interval"].values[0]
    draws = eg.predict(tree, x, kind="draws")["predictions"]["y"].values.ravel()
    assert np.all(found == np.round(found))
    assert np.mean(draws < found[0]) <= 0.05 <= np.mean(draws <= found[0])


def test_trials_make_new_proportions() -> None:
    tree = RINGS.fit()
    new = {"temperature": [31, 60], "rings": [6, 50]}
    y = eg.predict(tree, new, kind="draws")["predictions"]["y"]
    np.testing.assert_allclose(y * [6, 50], np.round(y * [6, 50]), atol=1e-9)
    narrow = eg.predict(tree, new, interval="new", trials=[6, 5000])["interval"]
    wide = eg.predict(tree, new, interval="new")["interval"]
    assert np.ptp(narrow.values[1]) < np.ptp(wide.values[1])


def test_estimating_equations_and_quasi_families_have_means_only() -> None:
    estimate = made_up_gee()
    tree = linear_tree(**{f: getattr(estimate, f) for f in ("kind", "covariances", "fit",
                                                           "fit_coords")})  # fmt: skip
    x = np.array([[1.0, 20.0, 1.0, 20.0]])
    with pytest.raises(ArgumentError, match="interval='new' cannot be had: generalised estimating"):
        eg.predict(tree, x, interval="new")
    draws = eg.predict(tree, x, kind="draws")["predictions"]
    assert "y" not in draws and "not a distribution" in draws.attrs["note"]
    quasi = fitted(8)
    new = new_of(cases("rows")[8])
    with pytest.raises(ArgumentError, match="the quasi family 'quasi_poisson' declares mean and"):
        eg.predict(quasi, new, interval="new")
    assert set(eg.predict(quasi, new, kind="draws")["predictions"].data_vars) == {"mu"}


# ---- what cannot get lost -------------------------------------------------------------------


def test_offset_exposure_and_trials_cannot_get_lost() -> None:
    data = eg.load_data("doctors")
    tree = eg.GLM("deaths ~ smoker", data, family="poisson", exposure="person_years").fit()
    with pytest.raises(DataError, match=r"exposure='person_years', and the new data have no col"):
        eg.predict(tree, {"smoker": ["yes"]})
    per_year = eg.predict(tree, {"smoker": ["yes"]}, exposure=1.0)["estimate"]
    per_hundred = eg.predict(tree, {"smoker": ["yes"], "person_years": [100]})["estimate"]
    np.testing.assert_allclose(per_hundred, 100 * per_year, rtol=DEFAULT)
    rate = eg.GLM("deaths ~ smoker", data, family="poisson", link="sqrt", exposure="person_years")
    np.testing.assert_allclose(eg.predict(rate.fit(), {"smoker": ["yes"]})["estimate"], per_year,
                               rtol=RELATIVE)  # fmt: skip
    with pytest.raises(DataError, match="exposure='person_years'"):
        eg.predict(rate.fit(), {"smoker": ["yes"]}, interval="new")
    with pytest.raises(ArgumentError, match="offset= was given, but the model was fitted without"):
        eg.predict(tree, {"smoker": ["yes"]}, exposure=1, offset=0)
    with pytest.raises(ArgumentError, match="exposure= goes with newdata"):
        eg.predict(tree, exposure=1)
    with pytest.raises(DataError, match="exposure must be positive; found row 0: 0"):
        eg.predict(tree, {"smoker": ["yes"]}, exposure=0)
    with pytest.raises(DataError, match=r"trials='rings'"):
        eg.predict(RINGS.fit(), {"temperature": [60]}, interval="new")
    with pytest.raises(DataError, match=r"positive whole numbers; found row 0: 2\.5"):
        eg.predict(RINGS.fit(), {"temperature": [60]}, interval="new", trials=2.5)


def test_offsets_in_the_formula_and_trials_on_its_left_side() -> None:
    data = dict(eg.load_data("doctors"))
    tree = eg.GLM("deaths ~ smoker + offset(log(person_years))", data, family="poisson").fit()
    by_role = eg.GLM("deaths ~ smoker", data, family="poisson", exposure="person_years").fit()
    new = {"smoker": ["no", "yes"], "person_years": [10.0, 20.0]}
    np.testing.assert_allclose(eg.predict(tree, new)["estimate"],
                               eg.predict(by_role, new)["estimate"], rtol=RELATIVE)  # fmt: skip
    with pytest.raises(FormulaError, match="person_years"):
        eg.predict(tree, {"smoker": ["no"]})
    rings = eg.load_data("oring")
    both = eg.GLM("cbind(damaged, rings - damaged) ~ temperature", rings, family="binomial").fit()
    new = {"temperature": [60]}
    np.testing.assert_allclose(eg.predict(both, new)["se"], eg.predict(RINGS.fit(), new)["se"],
                               rtol=RELATIVE)  # fmt: skip
    with pytest.raises(ArgumentError, match=r"part of the left side\); pass trials="):
        eg.predict(both, new, interval="new")
    assert eg.predict(both, new, interval="new", trials=6)["interval"].notnull().all()


def test_new_data_that_do_not_fit_are_refused() -> None:
    tree = fitted(4)
    new = new_of(cases("rows")[4])
    with pytest.raises(DataError, match="not among its levels"):
        eg.predict(tree, new | {"treatment": ["placebo", "surgery"]})
    with pytest.raises(DataError, match=r"missing values in 1 of 2 rows: 'age' \(row 1\)"):
        eg.predict(tree, new | {"age": [20.0, np.nan]})
    with pytest.raises(FormulaError, match="'age' is not in the data"):
        eg.predict(tree, {name: values for name, values in new.items() if name != "age"})


def test_a_mean_that_the_data_do_not_determine_is_refused() -> None:
    with pytest.raises(DataError, match=r"'both' is a linear combination .* row 1: 41"):
        eg.predict(fitted(3), {"agriculture": [20, 20], "examination": [10, 10], "both": [40, 41]})


# ---- declared families and links, and trees from files ------------------------------------


def test_a_declared_family_is_needed_for_its_density_alone() -> None:
    stays = {"days": [1, 2, 1, 4, 3, 6, 5, 9], "dose": [0, 0, 1, 1, 2, 2, 3, 3]}
    model = eg.GLM("days ~ dose", stays, family=zero_truncated_poisson, link="log")
    tree, new = model.fit(), {"dose": [1.5]}
    mean = eg.predict(tree, new)
    given = eg.predict(tree, new, family=zero_truncated_poisson)
    np.testing.assert_array_equal(mean["estimate"], given["estimate"])
    with pytest.raises(ArgumentError, match="new responses needs the declaration of the family"):
        eg.predict(tree, new, interval="new")
    found = eg.predict(tree, new, interval="new", family=zero_truncated_poisson)["interval"]
    assert found.values[0, 0] >= 1
    for wrong in ("poisson", eg.families.negative_binomial(alpha=1.0)):
        with pytest.raises(ArgumentError, match="but the model was fitted with 'zero_truncated_po"):
            eg.predict(tree, new, family=wrong)
    canonical = eg.GLM("days ~ dose", stays, family=zero_truncated_poisson).fit()
    with pytest.raises(ArgumentError, match="was declared by the user and the tree"):
        eg.predict(canonical, new)
    assert eg.predict(canonical, new, family=zero_truncated_poisson).estimate.notnull().all()


def test_another_declaration_of_the_same_name_is_refused() -> None:
    def declare(factor: float) -> eg.Family:
        return eg.Family("mine", b=lambda theta: factor * pt.exp(theta / factor), c=None,
                         support=eg.Interval(0, None, closed="left"), phi=1.0)  # fmt: skip

    data = {"y": [1.0, 2.0, 4.0, 3.0], "x": [0.0, 1.0, 2.0, 3.0]}
    tree = eg.GLM("y ~ x", data, family=declare(2.0), link="log").fit()
    with pytest.raises(ArgumentError, match="family= is another declaration, but"):
        eg.predict(tree, data, family=declare(3.0))
    assert eg.predict(tree, data, family=declare(2.0)).equals(eg.predict(tree, data))


def test_a_declared_link_is_asked_for_and_checked() -> None:
    aranda = eg.Link("aranda", lambda mu: pt.log((1 - mu) ** -2 - 1), domain=eg.UnitInterval)
    beetles = eg.load_data("beetles")
    model = eg.GLM("killed ~ log_dose", beetles, family="binomial", link=aranda, trials="number")
    tree, new = model.fit(), {"log_dose": [1.7]}
    with pytest.raises(ArgumentError, match="the link 'aranda' was declared by the user"):
        eg.predict(tree, new)
    eta = eg.predict(tree, new, kind="link", link=aranda)["estimate"]
    mu = eg.predict(tree, new, link=aranda)["estimate"]
    np.testing.assert_allclose(mu, 1 - (1 + np.exp(eta)) ** -0.5, rtol=DEFAULT)
    with pytest.raises(ArgumentError, match="link= is 'logit', but the model was fitted with anot"):
        eg.predict(tree, new, link="logit")


@pytest.mark.slow
@pytest.mark.parametrize("place", [6, 9, 18])
def test_trees_from_files_predict_the_same(tmp_path: Path, place: int) -> None:
    tree, new = fitted(place), new_of(cases("rows")[place])
    tree.to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as again:
        for given in (None, new):
            assert eg.predict(again, given).equals(eg.predict(tree, given))
        interval = eg.predict(again, interval="new")["interval"]
        assert interval.equals(eg.predict(tree, interval="new")["interval"])


def test_rows_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, x = posterior_tree(), np.arange(24.0).reshape(6, 4) / 10
    whole = [eg.predict(tree, x), eg.predict(tree, x, interval="new")]
    monkeypatch.setattr("expfam_glm.results.predict._ENTRIES", 8000)
    assert whole[0].equals(eg.predict(tree, x))
    assert eg.predict(tree, x, interval="new")["interval"].shape == (6, 2)


@pytest.mark.parametrize(
    ("tree", "options", "error", "message"),
    [
        (3, {}, ResultError, "predict takes a DataTree, not a int"),
        (xr.DataTree(), {}, ResultError, "this one lacks family, link, design"),
        ("rings", {"kind": "response"}, ArgumentError, "kind='response' is not known"),
        ("rings", {"interval": "both"}, ArgumentError, "interval='both' is not known"),
        ("rings", {"kind": "link", "interval": "new"}, ArgumentError, "scale of the response"),
        ("rings", {"ci_prob": 95}, ArgumentError, "ci_prob=95"),
        ("rings", {"random_seed": -1}, ArgumentError, "random_seed=-1"),
    ],
)
def test_impossible_calls_are_refused(tree: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        eg.predict(RINGS.fit() if tree == "rings" else tree, **options)


@pytest.mark.parametrize("x", [[1.0], [1.0, 2.0]])
def test_columns_of_different_lengths_are_named(x: list[float]) -> None:
    data = {"y": [1.0, 2.0, 4.0, 3.0], "x": [0.0, 1.0, 2.0, 4.0], "z": [1.0, 0.0, 0.0, 1.0]}
    tree = eg.GLM("y ~ x + z", data, family="poisson").fit(draws=10)
    for function in (eg.predict, eg.marginal_effects):
        with pytest.raises(DataError, match="'z' has 3"):
            function(tree, newdata={"z": [0.0, 1.0, 0.0], "x": x})
