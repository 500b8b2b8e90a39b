"""The comparison of models: exact intervals, pulls and ratios, alignment, refusals, text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.results.compare import compare, format_comparison
from expfam_glm.tree import likelihood_tree
from tests.fabricated import BETA, LABELS, SE, aliased, made_up, made_up_gee, sampled, three_roads


def test_estimates_and_standard_errors_of_each_road() -> None:
    trees = three_roads()
    table = compare(trees)
    draws = trees["Bayes"]["posterior"]["beta"]
    np.testing.assert_array_equal(table["estimate"].sel(model="MLE"), BETA)
    np.testing.assert_allclose(table["se"].sel(model="GEE"), 2 * SE)
    np.testing.assert_allclose(table["estimate"].sel(model="Bayes"), draws.mean(["chain", "draw"]))
    np.testing.assert_allclose(table["se"].sel(model="Bayes"), draws.std(["chain", "draw"], ddof=1))
    assert table["estimate"].dims == ("model", "coef")
    assert table["interval"].dims == ("model", "coef", "ci_bound")


def test_pull_and_spread_are_relative_to_the_first() -> None:
    table = compare(three_roads())
    np.testing.assert_array_equal(table["pull"].sel(model=["MLE", "GEE"]), 0)
    np.testing.assert_allclose(
        table["pull"].sel(model="Bayes"), (table["estimate"].sel(model="Bayes") - BETA) / SE
    )
    np.testing.assert_allclose(table["spread_ratio"].sel(model="MLE"), 1)
    np.testing.assert_allclose(table["spread_ratio"].sel(model="GEE"), 2)
    turned = compare(dict(reversed(three_roads().items())))
    assert turned.attrs["reference"] == "Bayes"
    np.testing.assert_allclose(
        turned["spread_ratio"].sel(model="MLE"), 1 / table["spread_ratio"].sel(model="Bayes")
    )


@pytest.mark.parametrize("prob", [0.3, 0.89, 0.99])
@pytest.mark.parametrize("df", [None, 8.0])
def test_intervals_are_exact_at_any_probability(prob: float, df: float | None) -> None:
    tree = likelihood_tree(made_up(df=df), ci_prob=0.5)
    table = compare({"A": tree}, ci_prob=prob)
    law = stats.norm(BETA, SE) if df is None else stats.t(df, BETA, SE)
    np.testing.assert_allclose(table["interval"][0], np.transpose(law.interval(prob)))
    inner = table.attrs["inner_prob"]
    assert inner == (0.5 if prob > 0.5 else prob / 2)
    np.testing.assert_allclose(table["inner_interval"][0], np.transpose(law.interval(inner)))
    assert table.attrs["ci_prob"] == prob


def test_intervals_of_draws_are_those_of_arviz() -> None:
    tree = sampled()
    table = compare({"Bayes": tree}, ci_prob=0.8)
    expected = tree["posterior"].dataset.azstats.eti(prob=0.8)["beta"]
    np.testing.assert_allclose(table["interval"][0], expected, rtol=1e-12)


def test_probability_is_arviz_setting_by_default() -> None:
    assert compare(three_roads()).attrs["ci_prob"] == az.rcParams["stats.ci_prob"]
    with pytest.raises(ArgumentError, match=r"ci_prob=1\.5"):
        compare(three_roads(), ci_prob=1.5)


def test_dispersion_and_shapes() -> None:
    trees = {
        "MLE": likelihood_tree(made_up(fit={}, positive={"phi": (2.0, 0.1), "alpha": (0.7, 0.2)})),
        # its alpha is a correlation, not the shape of the family
        "GEE": likelihood_tree(made_up_gee()),
        "Bayes": sampled(phi=1.9, alpha=0.6),
        "known": sampled(),
    }
    table = compare(trees)
    posterior = trees["Bayes"]["posterior"]
    np.testing.assert_array_equal(table["phi"], [2.0, 4.4, float(posterior["phi"].mean()), np.nan])
    np.testing.assert_array_equal(
        table["alpha"], [0.7, np.nan, float(posterior["alpha"].mean()), np.nan]
    )


def test_kinds_are_told() -> None:
    assert json.loads(compare(three_roads()).attrs["kind"]) == {
        "MLE": "maximum likelihood, fisher covariance",
        "GEE": "GEE, robust covariance",
        "Bayes": "NUTS",
    }


def test_coefficients_are_aligned_by_name() -> None:
    shuffled = tuple(reversed(LABELS))
    other = sampled(labels=("age", "new", "Intercept", "C(centre)[b/ü]"))
    table = compare({"A": likelihood_tree(made_up()), "B": other})
    assert table["coef"].values.tolist() == [*LABELS, "new"]
    assert np.isnan(table["estimate"].sel(model="A", coef="new"))
    assert np.isnan(table["pull"].sel(model="B", coef=[LABELS[3], "new"])).all()
    found = table["estimate"].sel(model="B", coef="Intercept")
    assert float(found) == pytest.approx(float(other["posterior"]["beta"][..., 2].mean()))
    same = compare({"A": likelihood_tree(made_up()), "B": sampled(labels=shuffled)})
    assert same["coef"].values.tolist() == list(LABELS)
    assert np.isfinite(same["estimate"]).all()


def test_an_aliased_coefficient_stays_nan() -> None:
    table = compare({"A": likelihood_tree(aliased(made_up(), 1)), "B": sampled()})
    assert np.isnan(table["estimate"].sel(model="A", coef="age"))
    assert np.isnan(table["pull"].sel(model="B", coef="age"))
    assert np.isfinite(table["estimate"].sel(model="B", coef="age"))


def test_draws_may_have_their_dimensions_in_any_order() -> None:
    tree = sampled()
    turned = xr.DataTree.from_dict(
        {"posterior": tree["posterior"].to_dataset().transpose("coef", "draw", "chain")}
    )
    xr.testing.assert_allclose(compare({"A": tree}), compare({"A": turned}))


def test_trees_from_files_compare_the_same(tmp_path: Path) -> None:
    trees = three_roads()
    again = {}
    for name, tree in trees.items():
        tree.to_netcdf(tmp_path / f"{name}.nc")
        again[name] = xr.open_datatree(tmp_path / f"{name}.nc")
    table = compare(trees)
    xr.testing.assert_identical(compare(again), table)
    for tree in again.values():
        tree.close()
    table.to_netcdf(tmp_path / "table.nc")
    with xr.open_dataset(tmp_path / "table.nc") as reread:
        xr.testing.assert_identical(reread.load(), table)
        assert format_comparison(reread) == format_comparison(table)


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        ({}, "no trees"),
        (xr.DataTree(), "a mapping of model names"),
        ([xr.DataTree()], "not a list"),
        ({"A": 3}, "model 'A' is a int, not a DataTree"),
        ({"A": xr.DataTree()}, "model 'A' has neither .* it has no groups"),
        ({"A": xr.DataTree.from_dict({"prior": None})}, "it has prior"),
        ({"A": xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": 1.0})})}, "holds mu"),
        ({"A": xr.DataTree.from_dict({"fit": xr.Dataset()})}, "'fit' holds nothing"),
        ({"A": sampled(labels=("x", "y", "x", "z"))}, "the same name: x"),
    ],
)
def test_what_cannot_be_compared_is_refused(trees: object, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        compare(trees)  # type: ignore[arg-type]


def test_text_shows_every_number_with_three_figures_of_its_standard_error() -> None:
    lines = format_comparison(compare(three_roads(), ci_prob=0.9)).splitlines()
    assert lines[0].split() == "model estimate se 90% interval pull spread".split()
    assert lines[1].split() == "Intercept MLE -1.350 0.350 [-1.926, -0.774] 0.00 1.00".split()
    assert lines[4].split() == "age MLE 0.02300 0.00600 [0.01313, 0.03287] 0.00 1.00".split()
    assert lines[5].split()[:3] == ["GEE", "0.02300", "0.01200"]
    assert "phi" in lines[13] and lines[15].split() == ["Bayes", "–"]
    assert "Bayes: NUTS" in lines
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize("size", [1e-30, 1e-4, 1.0, 1e5, 1e30])
def test_text_of_any_size_is_readable(size: float) -> None:
    estimate = made_up(beta=BETA * size, covariances={"fisher": np.diag((SE * size) ** 2)})
    text = format_comparison(compare({"A": likelihood_tree(estimate)}))
    assert max(map(len, text.splitlines())) < 110
    assert "0.00 " in text.splitlines()[1]


def test_text_marks_what_does_not_exist() -> None:
    trees = {"A": likelihood_tree(replace(aliased(made_up(), 1), fit={})), "B": sampled()}
    lines = format_comparison(compare(trees)).splitlines()
    assert lines[3].split() == ["age", "A", "–", "–", "–", "–", "–"]
    assert not any(line.startswith("phi") for line in lines)
