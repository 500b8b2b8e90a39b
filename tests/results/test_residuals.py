"""Residuals of either road: R's, standardised or not, and those of trees from files."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import AliasWarning, ArgumentError, FitWarning, ResultError
from tests.declared import zero_truncated_poisson
from tests.fabricated import LABELS, sampled
from tests.references import array, cases, model_of
from tests.tolerances import DEFAULT, RELATIVE

PLACES = range(len(cases("rows")))
NAMES = [case["id"] for case in cases("rows")]


@cache
def fitted(place: int) -> xr.DataTree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasWarning)
        return model_of("rows", cases("rows")[place]).fit()


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
@pytest.mark.parametrize("kind", ["response", "working", "pearson", "deviance"])
def test_residuals_are_those_of_r(place: int, kind: str) -> None:
    expected = array(cases("rows")[place]["residuals"][kind])
    found = eg.residuals(fitted(place), kind)
    assert found.dims == ("obs_id",) and found.name == kind
    np.testing.assert_allclose(found, expected, rtol=RELATIVE, atol=RELATIVE * np.ptp(expected))


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
@pytest.mark.parametrize("kind", ["pearson", "deviance"])
def test_standardised_residuals_are_those_of_r(place: int, kind: str) -> None:
    expected = array(cases("rows")[place]["rstandard"][kind])
    found = eg.residuals(fitted(place), kind, standardised=True)
    np.testing.assert_allclose(found, expected, rtol=RELATIVE, atol=RELATIVE * np.ptp(expected))


def test_anscombe_residuals_are_those_of_statsmodels() -> None:
    beetles = eg.load_data("beetles")
    tree = eg.GLM("killed ~ log_dose", beetles, family="binomial", trials="number").fit()
    number, killed = np.asarray(beetles["number"]), np.asarray(beetles["killed"])
    X = sm.add_constant(np.asarray(beetles["log_dose"]))
    theirs = sm.GLM(killed / number, X, sm.families.Binomial(), var_weights=number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.fit(tol=1e-14).resid_anscombe_scaled
    np.testing.assert_allclose(eg.residuals(tree, "anscombe"), expected, rtol=RELATIVE)
    h = eg.influence(tree)["hat"]
    np.testing.assert_allclose(eg.residuals(tree, "anscombe", standardised=True),
                               expected / np.sqrt(1 - h), rtol=RELATIVE)  # fmt: skip


@pytest.mark.parametrize(
    ("place", "distribution"),
    [
        (2, lambda mu, w, phi: stats.norm(mu, np.sqrt(phi / w))),
        (4, lambda mu, w, phi: stats.poisson(mu)),
        (9, lambda mu, w, phi: stats.binom(w, mu)),
        (15, lambda mu, w, phi: stats.gamma(w / phi, scale=mu * phi / w)),
    ],
)
def test_quantile_residuals_lie_between_the_scores_of_scipy(place: int, distribution) -> None:
    tree = fitted(place)
    data = tree["constant_data"].to_dataset()
    w = np.ones(data.sizes["obs_id"])
    for role in ("weights", "trials"):
        w = w * (data[role].values if role in data else 1)
    y, mu = tree["observed_data"]["y"].values, eg.predict(tree)["estimate"].values
    exact = distribution(mu, w, float(tree["fit"]["phi"]))
    count = np.rint(y * w) if place == 9 else y

    def score(k: np.ndarray) -> np.ndarray:
        cdf, sf = exact.cdf(k), exact.sf(k)
        return np.where(cdf < sf, stats.norm.ppf(cdf), -stats.norm.ppf(sf))

    low, high = score(count - (1 if place in (4, 9) else 0)), score(count)
    found = eg.residuals(tree, "quantile").values
    assert np.all(found >= low - 1e-9) and np.all(found <= high + 1e-9)
    if place in (4, 9):
        other = eg.residuals(tree, "quantile", random_seed=1).values
        assert not np.allclose(found, other)
        assert np.array_equal(found, eg.residuals(tree, "quantile"))
    else:
        np.testing.assert_allclose(found, high, rtol=RELATIVE)


def test_quantile_residuals_of_the_right_model_are_normal() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=400)
    y = rng.poisson(np.exp(0.3 * x))
    tree = eg.GLM("y ~ x", {"y": y, "x": x}, family="poisson").fit()
    assert stats.kstest(eg.residuals(tree, "quantile"), "norm").pvalue > 0.01


def test_quantile_residuals_need_a_distribution() -> None:
    with pytest.raises(ArgumentError, match="the quasi family 'quasi_poisson' declares mean and"):
        eg.residuals(fitted(8), "quantile")
    tree = eg.GLM("seizures ~ lbase", eg.load_data("seizures"), family="poisson").gee("patient")
    with pytest.raises(ArgumentError, match="need a distribution: generalised estimating equat"):
        eg.residuals(tree, "quantile")


def test_a_row_that_stands_for_several_has_the_residual_of_one() -> None:
    data = {"y": [1, 2, 4, 3, 7], "x": [0, 1, 2, 3, 4], "f": [1, 2, 1, 3, 1]}
    long = {name: np.repeat(values, data["f"]) for name, values in data.items()}
    short = eg.GLM("y ~ x", data, family="gamma", link="log", freq_weights="f").fit()
    whole = eg.GLM("y ~ x", long, family="gamma", link="log").fit()
    for kind in ("deviance", "anscombe"):
        one = eg.residuals(short, kind, standardised=True)
        np.testing.assert_allclose(np.repeat(one, data["f"]),
                                   eg.residuals(whole, kind, standardised=True),
                                   rtol=RELATIVE)  # fmt: skip


def test_draws_are_taken_at_their_mean() -> None:
    tree = sampled()
    x = np.array([[1.0, 20.0, 1.0, 20.0], [1.0, 40.0, 0.0, 0.0]])
    tree.attrs |= {
        "design": json.dumps({"labels": LABELS}),
        "family_digest": eg.families.poisson.digest,
        "link_digest": eg.links.log.link.digest,
    }
    tree["observed_data"] = xr.Dataset({"y": ("obs_id", [3.0, 0.0])})
    tree["constant_data"] = xr.Dataset({"X": (("obs_id", "coef"), x)}, {"obs_id": [0, 1]})
    mu = np.exp(x @ tree["posterior"]["beta"].values.reshape(-1, 4).mean(axis=0))
    np.testing.assert_allclose(eg.residuals(tree, "response"), [3, 0] - mu, rtol=DEFAULT)
    np.testing.assert_allclose(eg.residuals(tree, "pearson"), ([3, 0] - mu) / np.sqrt(mu),
                               rtol=DEFAULT)  # fmt: skip
    with pytest.raises(ArgumentError, match="is defined for a tree of fit"):
        eg.residuals(tree, standardised=True)


def test_gee_residuals_are_at_its_own_means() -> None:
    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    tree = model.gee(groups="patient")
    mu = eg.predict(tree)["estimate"]
    y = tree["observed_data"]["y"]
    np.testing.assert_allclose(eg.residuals(tree, "pearson"), (y - mu) / np.sqrt(mu), rtol=DEFAULT)
    with pytest.raises(ArgumentError, match="go through clusters, not through single rows"):
        eg.residuals(tree, "pearson", standardised=True)


def test_declared_families_and_trees_from_files(tmp_path: Path) -> None:
    stays = {"days": [1, 2, 1, 4, 3, 6, 5, 9], "dose": [0, 0, 1, 1, 2, 2, 3, 3]}
    tree = eg.GLM("days ~ dose", stays, family=zero_truncated_poisson, link="log").fit()
    with pytest.raises(ArgumentError, match="residuals needs the declaration of the family 'zero_"):
        eg.residuals(tree)
    tree.to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as again:
        for kind in ("deviance", "anscombe"):
            found = eg.residuals(again, kind, family=zero_truncated_poisson)
            assert found.equals(eg.residuals(tree, kind, family=zero_truncated_poisson))
            assert np.isfinite(found).all()
    total = float((eg.residuals(tree, family=zero_truncated_poisson) ** 2).sum())
    assert total == pytest.approx(float(tree["fit_stats"]["deviance"]), rel=DEFAULT)


@pytest.mark.slow
def test_an_estimated_shape_is_taken_at_its_estimate() -> None:
    quine = eg.load_data("quine")
    free = eg.GLM("days ~ sex + age", quine, family="negative_binomial").fit()
    at = eg.families.negative_binomial(alpha=float(free["fit"]["alpha"]))
    fixed = eg.GLM("days ~ sex + age", quine, family=at).fit()
    for kind in ("pearson", "deviance", "anscombe"):
        found = eg.residuals(free, kind, standardised=True)
        np.testing.assert_allclose(found, eg.residuals(fixed, kind, standardised=True), rtol=1e-6)


def test_a_shape_at_its_edge_leaves_the_family_of_the_limit() -> None:
    data = {"y": [2, 3, 3, 4, 4, 5], "x": [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]}
    with pytest.warns(FitWarning):
        edge = eg.GLM("y ~ x", data, family="negative_binomial").fit()
    poisson = eg.GLM("y ~ x", data, family="poisson").fit()
    np.testing.assert_allclose(eg.residuals(edge), eg.residuals(poisson), rtol=RELATIVE)
    new = {"x": [0.5]}
    interval = eg.predict(edge, new, interval="new")["interval"]
    assert interval.equals(eg.predict(poisson, new, interval="new")["interval"])


def test_sampling_weights_leave_residuals_but_no_variance_of_them() -> None:
    data = {"y": [2.0, 3.0, 5.0, 4.0, 9.0], "x": [0, 1, 2, 3, 4], "s": [1, 4, 2, 1, 1]}
    tree = eg.GLM("y ~ x", data, family="poisson", sampling_weights="s").fit()
    mu = eg.predict(tree)["estimate"]
    found = eg.residuals(tree, "pearson")
    np.testing.assert_allclose(found, (data["y"] - mu) / np.sqrt(mu), rtol=DEFAULT)
    with pytest.raises(ArgumentError, match="is not defined with sampling weights"):
        eg.residuals(tree, "pearson", standardised=True)
    with pytest.raises(ArgumentError, match="influence is not defined with sampling weights"):
        eg.influence(tree)
    assert eg.predict(tree, {"x": [1]}).estimate.notnull().all()


def test_impossible_calls_are_refused() -> None:
    tree = fitted(0)
    with pytest.raises(ArgumentError, match=r"kind='pearson_residual' is not known"):
        eg.residuals(tree, "pearson_residual")
    with pytest.raises(ArgumentError, match="goes with pearson, deviance, anscombe residuals, not"):
        eg.residuals(tree, "working", standardised=True)
    with pytest.raises(ResultError, match="residuals takes a DataTree, not a Dataset"):
        eg.residuals(tree["fit"].to_dataset())  # type: ignore[arg-type]
