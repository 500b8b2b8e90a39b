"""The comparison of models: exact intervals, pulls and ratios, alignment, refusals, text.

Overlaps are held against `statistics.NormalDist`, and integrals of SciPy's densities.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from statistics import NormalDist

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy import integrate, stats

from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.results.compare import compare, format_comparison
from expfam_glm.results.comparison_table import comparison_sheet
from expfam_glm.results.summary import summary
from expfam_glm.spec.domain import Interval, Positive, Real
from expfam_glm.spec.scale import Scale
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


def test_probability_is_that_of_the_fits_where_they_agree() -> None:
    one, same, other = (likelihood_tree(made_up(), ci_prob=prob) for prob in (0.5, 0.5, 0.7))
    assert compare({"A": one, "B": same, "draws": sampled()}).attrs["ci_prob"] == 0.5
    assert compare({"A": one, "B": other}).attrs["ci_prob"] == az.rcParams["stats.ci_prob"]
    assert "ci50_lb" in str(summary(one)) and "ci60_lb" in str(summary(one, ci_prob=0.6))


def test_coefficients_within_groups_carry_a_note() -> None:
    mixed = sampled()
    mixed["constant_data/index_clinic"] = xr.DataArray([0, 1], dims="obs_id")
    trees = {"MLE": likelihood_tree(made_up()), "mixed": mixed}
    (note,) = (n for n in json.loads(compare(trees).attrs["notes"])["mixed"] if "within" in n)
    assert "clinic" in note and "population_average()" in note
    assert "within" not in compare({"mixed": mixed}).attrs["notes"]
    mixed.attrs["averaged_over"] = "clinic"
    assert "within" not in compare(trees).attrs["notes"]


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
        ({"A": 3}, "compare \\('A'\\) takes a DataTree, not a int"),
        ({"A": xr.DataTree()}, "compare \\('A'\\) needs .* it has no groups"),
        ({"A": xr.DataTree.from_dict({"prior": None})}, "it has prior"),
        ({"A": xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": 1.0})})}, "lack beta"),
        ({"A": xr.DataTree.from_dict({"fit": xr.Dataset()})}, "group fit .* lack beta"),
        ({"A": sampled(labels=("x", "y", "x", "z"))}, "the same name: x"),
    ],
)
def test_what_cannot_be_compared_is_refused(trees: object, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        compare(trees)  # type: ignore[arg-type]


def test_text_shows_every_number_with_three_figures_of_its_standard_error() -> None:
    lines = format_comparison(compare(three_roads(), ci_prob=0.9)).splitlines()
    head = "model estimate se 90% interval pull spread robust overlap"
    assert lines[0].split() == head.split()
    assert (
        lines[1].split()
        == "Intercept MLE -1.350 0.350 [-1.926, -0.774] 0.00 1.00 1.20 1.00".split()
    )
    assert (
        lines[4].split() == "age MLE 0.02300 0.00600 [0.01313, 0.03287] 0.00 1.00 1.20 1.00".split()
    )
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
    trees = {"A": likelihood_tree(aliased(made_up(fit={}), 1)), "B": sampled()}
    lines = format_comparison(compare(trees)).splitlines()
    assert lines[3].split() == ["age", "A", *["–"] * 7]
    assert not any(line.startswith("phi") for line in lines)


def moved(shift: float, stretch: float, **changes: object) -> xr.DataTree:
    """A likelihood tree whose coefficients are moved and stretched, in standard errors."""
    V = made_up().covariances["fisher"] * stretch**2
    return likelihood_tree(made_up(beta=BETA + shift * SE, covariances={"fisher": V}, **changes))


@pytest.mark.parametrize(("shift", "stretch"), [(0, 1), (0.5, 1), (-2, 0.3), (3, 4), (60, 1)])
def test_overlap_of_normal_distributions(shift: float, stretch: float) -> None:
    table = compare({"A": likelihood_tree(made_up()), "B": moved(shift, stretch)})
    expected = NormalDist(0, 1).overlap(NormalDist(shift, stretch))
    np.testing.assert_allclose(table["overlap"].sel(model="B"), expected, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(table["overlap"].sel(model="A"), 1, rtol=1e-6)


def test_overlap_of_t_and_normal() -> None:
    table = compare({"A": likelihood_tree(made_up()), "B": moved(0.7, 1.5, df=2.0)})
    both = integrate.quad(
        lambda z: min(stats.norm.pdf(z), stats.t.pdf(z, 2, 0.7, 1.5)), -40, 40, limit=500
    )
    np.testing.assert_allclose(table["overlap"].sel(model="B"), both[0], rtol=1e-4)


def test_overlap_of_draws_with_the_normal_distribution() -> None:
    table = compare({"A": likelihood_tree(made_up()), "B": sampled(0.5), "C": sampled(0.5)})
    root = np.sqrt(20.0)
    gamma = stats.gamma(20.0, loc=0.5 - root, scale=1 / root)
    expected = integrate.quad(lambda z: min(stats.norm.pdf(z), gamma.pdf(z)), -8, 8, limit=500)[0]
    # 4000 draws know a density to about two percent
    np.testing.assert_allclose(table["overlap"].sel(model="B"), expected, atol=0.02)
    again = compare({"B": sampled(0.5), "C": sampled(0.5)})
    np.testing.assert_allclose(again["overlap"].sel(model="C"), 1, rtol=1e-6)


def test_the_density_for_plots_is_the_distribution() -> None:
    table = compare({"A": moved(0, 1, df=5.0), "B": sampled()}).sel(coef="age")
    law = stats.t(5.0, BETA[1], SE[1])
    one = table.sel(model="A")
    np.testing.assert_allclose(one["density"], law.pdf(one["value"]), atol=1e-3 * law.pdf(BETA[1]))
    for model in ("A", "B"):
        drawn = table.sel(model=model)
        mass = np.trapezoid(drawn["density"], drawn["value"])
        assert mass == pytest.approx(1, abs=0.01)


def test_a_coefficient_that_one_model_lacks_has_no_overlap() -> None:
    trees = {"A": likelihood_tree(aliased(made_up(), 1)), "B": sampled(labels=("x", *LABELS[1:]))}
    table = compare(trees)["overlap"]
    assert np.isnan(table.sel(model="B", coef=["x", "age"])).all()
    assert np.isnan(table.sel(model="A", coef="age"))


def test_any_covariance_of_one_fit() -> None:
    tree = likelihood_tree(made_up())
    table = compare({"MLE": (tree, "all"), "HC0 alone": (tree, "HC0"), "GEE": (sampled(), "all")})
    names = ["MLE (fisher)", "MLE (HC0)", "HC0 alone", "GEE"]
    assert table["model"].values.tolist() == names
    np.testing.assert_allclose(table["se"].sel(model="MLE (HC0)"), 1.2 * SE)
    np.testing.assert_array_equal(table["se"][1], table["se"][2])
    np.testing.assert_allclose(table["interval"][1], np.transpose(
        stats.norm(BETA, 1.2 * SE).interval(table.attrs["ci_prob"])))  # fmt: skip
    np.testing.assert_allclose(table["robust_ratio"][:3], 1.2)
    assert np.isnan(table["robust_ratio"][3]).all()
    alone = compare({"MLE": (likelihood_tree(made_up(covariances={"HC0": np.eye(4)})), "all")})
    assert alone["model"].values.tolist() == ["MLE"]


def test_robust_over_naive_of_estimating_equations() -> None:
    table = compare({"GEE": likelihood_tree(made_up_gee())})
    np.testing.assert_allclose(table["robust_ratio"], 2)


def test_any_model_can_be_the_reference() -> None:
    table = compare(three_roads(), reference="GEE")
    assert table.attrs["reference"] == "GEE"
    np.testing.assert_allclose(table["spread_ratio"].sel(model="MLE"), 0.5)
    with pytest.raises(
        ArgumentError, match=r"reference='GE' is not known; use one of 'MLE', 'GEE'"
    ):
        compare(three_roads(), reference="GE")


def test_spread_and_interval_of_dispersion_and_shapes() -> None:
    estimate = made_up(
        fit={}, positive={"phi": (2.0, 0.1)}, shapes={"power": (1.4, 0.3, Scale(Interval(1, 2)))}
    )
    table = compare({"MLE": likelihood_tree(estimate), "Bayes": sampled(phi=1.9)}, ci_prob=0.9)
    law = stats.lognorm(0.1, scale=2.0)
    np.testing.assert_allclose(table["interval_phi"].sel(model="MLE"), law.interval(0.9))
    assert float(table["se_phi"].sel(model="MLE")) == pytest.approx(0.2)
    odds = np.log(0.4 / 0.6) + 0.3 * stats.norm.ppf([0.05, 0.95])
    np.testing.assert_allclose(table["interval_power"][0], 1 + 1 / (1 + np.exp(-odds)))
    assert float(table["se_power"][0]) == pytest.approx(0.3 * 0.4 * 0.6)
    draws = sampled(phi=1.9)["posterior"]["phi"]
    assert float(table["se_phi"].sel(model="Bayes")) == pytest.approx(float(draws.std(ddof=1)))
    np.testing.assert_allclose(table["interval_phi"][1], np.quantile(draws, [0.05, 0.95]))


@pytest.mark.parametrize(
    "domain",
    [Real, Positive, Interval(1, 2), Interval(0, 1), Interval(-2, None), Interval(None, 3.5)],
)
def test_a_working_scale_is_read_back(domain: object) -> None:
    scale = Scale(domain)
    again = Scale.read(scale.written("alpha"), "alpha")
    assert (again.domain.low, again.domain.high) == (domain.low, domain.high)
    with pytest.raises(ResultError, match="not the working scale"):
        Scale.read("sqrt(alpha)", "alpha")


def with_likelihood(k: float = 0.0) -> xr.DataTree:
    """A sampled tree with a log-likelihood; a large k makes one row hard to leave out."""
    tree = sampled()
    z = np.random.default_rng(3).normal(size=(4, 1000, 12))
    values = stats.norm.logpdf(0.3 * z)
    values[..., 0] -= k * z[..., 0] ** 2
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"y": (("chain", "draw", "obs_id"), values)}))
    return tree


def test_criteria_where_they_have_a_meaning() -> None:
    trees = {
        "MLE": likelihood_tree(made_up()),
        "GEE": likelihood_tree(made_up_gee(fit_stats={"qic": 51.5})),
        "Bayes": with_likelihood(),
    }
    table = compare(trees)
    np.testing.assert_array_equal(table["aic"], [48.0, np.nan, np.nan])
    np.testing.assert_array_equal(table["bic"], [50.0, np.nan, np.nan])
    np.testing.assert_array_equal(table["qic"], [np.nan, 51.5, np.nan])
    found = az.loo(trees["Bayes"])
    np.testing.assert_allclose(table["elpd"], [np.nan, np.nan, found.elpd])
    np.testing.assert_allclose(table["elpd_se"], [np.nan, np.nan, found.se])
    assert json.loads(table.attrs["criteria"]) == {
        "aic": {"GEE": "no likelihood", "Bayes": "see elpd"},
        "bic": {"GEE": "no likelihood", "Bayes": "see elpd"},
        "qic": {"MLE": "no GEE", "Bayes": "no GEE"},
        "elpd": {"MLE": "no posterior", "GEE": "no posterior"},
    }
    text = format_comparison(table)
    assert "AIC" in text and "no likelihood" in text and f"{found.elpd:.1f}" in text


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"calibrated": "HC0"}, {"aic": "see elpd", "elpd": "recalibrated"}),
        ({"held_phi": 2.0}, {"aic": "no density", "elpd": "quasi-posterior"}),
        ({}, {"aic": "see elpd", "elpd": "log_likelihood not stored"}),
    ],
)
def test_the_word_for_a_posterior_without_elpd(attrs: dict, words: dict) -> None:
    tree = sampled()
    tree.attrs |= attrs
    table = compare({"whole": with_likelihood(), "MLE": likelihood_tree(made_up()), "B": tree})
    found = json.loads(table.attrs["criteria"])
    assert {name: found[name]["B"] for name in words} == words


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("maximum quasi-likelihood", "quasi-likelihood"),
        ("penalised maximum likelihood", "no likelihood"),
    ],
)
def test_the_word_for_a_fit_without_aic(kind: str, word: str) -> None:
    stats_ = made_up().fit_stats | {"aic": np.nan, "bic": np.nan}
    tree = likelihood_tree(made_up(kind=kind, fit_stats=stats_))
    table = compare({"MLE": likelihood_tree(made_up()), "other": tree})
    assert json.loads(table.attrs["criteria"])["aic"] == {"other": word}


def test_an_unreliable_elpd_is_told_and_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compare({"Bayes": with_likelihood(k=2.0)})
    (note,) = json.loads(table.attrs["notes"])["Bayes"]
    assert "in 1 of 12 rows (Pareto k up to" in note
    assert f"Warning: Bayes: {note}" in format_comparison(table)


def of(**attrs: str) -> xr.DataTree:
    """A likelihood tree with other attributes."""
    return likelihood_tree(made_up(attrs=made_up().attrs | attrs))


def test_other_responses_links_and_families_are_refused_with_a_reason() -> None:
    first = of()
    with pytest.raises(ResultError, match=r"different responses .12 and 11 rows"):
        compare({"A": first, "B": likelihood_tree(made_up(n=11))})
    with pytest.raises(ResultError, match="'A' has the link log and 'B' the link identity"):
        compare({"A": first, "B": of(link="identity")})
    with pytest.raises(ResultError, match="two different links of the same name"):
        compare({"A": of(link_digest="1"), "B": of(link_digest="2")})
    with pytest.raises(ResultError, match=r"family poisson and 'B' of the family gamma: .*AIC"):
        compare({"A": first, "B": of(family="gamma")})
    table = compare({"A": first, "B": of(family="gamma")}, mixed_families=True)
    np.testing.assert_array_equal(table["pull"], 0)
    compare({"A": first, "B": of(family="quasi_poisson")})


@pytest.mark.parametrize(
    ("trees", "error", "message"),
    [
        ({"A": (1,)}, ResultError, r'write {"A": \(tree, "HC3"\)}'),
        ({"A": (likelihood_tree(made_up()), "HC9")}, ArgumentError, "cov_type='HC9' is not"),
        ({"A": (sampled(), "HC0")}, ArgumentError, "'A' has draws, which have their own spread"),
        (
            {"A": (likelihood_tree(made_up()), "all"), "A (HC0)": sampled()},
            ResultError,
            r"two models are called 'A \(HC0\)'",
        ),
    ],
)
def test_a_covariance_that_is_not_there(trees: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        compare(trees)


def test_latex_of_a_comparison() -> None:
    table = compare(three_roads(), ci_prob=0.9)
    sheet = comparison_sheet(table)
    lines = sheet.to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{llrrrrrrr}"
    rows = [line for line in lines if line.endswith(r" \\")]
    assert {line.count(" & ") for line in rows} == {8}
    assert r" & GEE & -1.350 & 0.700 & {[}-2.501, -0.199] & 0.00 & 2.00 & 2.00 & 0.68 \\" in rows
    assert r"90\% interval" in rows[0]
    assert any(line.startswith(r"C(centre){[}b/ü] & MLE") for line in rows)
    floating = sheet.to_latex("Seizures & drugs", "tab:x")
    assert floating.startswith("\\begin{table}\n\\centering\n\\caption{Seizures \\& drugs}")
    assert "\\label{tab:x}" in floating and floating.endswith("\\end{table}")


def test_equal_rows_once_are_the_same_data() -> None:
    def weighted(f: list[float], y: list[float]) -> xr.DataTree:
        n = len(y)
        constant = {"X": np.ones((n, 4)), "freq_weights": np.array(f)}
        return likelihood_tree(made_up(n=n, observed={"y": np.array(y)}, constant=constant))

    rows = weighted([1.0] * 5, [0.0, 2.0, 2.0, 2.0, 5.0])
    compare({"rows": rows, "cells": weighted([1.0, 3.0, 1.0], [0.0, 2.0, 5.0])})
    with pytest.raises(ResultError, match="different responses"):
        compare({"rows": rows, "cells": weighted([1.0, 3.0, 1.0], [0.0, 2.0, 6.0])})
    with pytest.raises(ResultError, match="different responses"):
        compare({"rows": rows, "cells": weighted([1.0, 2.0, 1.0], [0.0, 2.0, 5.0])})


def test_remarks_of_a_tree_stand_below_the_table_once() -> None:
    tree = likelihood_tree(made_up())
    tree.attrs["warnings"] = (
        "4 clusters are few for 3 coefficients: the CR0 covariance, which nothing corrects.\n"
        "2 of 9 rows had missing values and were dropped (row 1, 2)."
    )
    shown = str(summary(compare({"A": (tree, "all")})))
    assert shown.count("A (fisher): 4 clusters are few for 3 coefficients.\n") == 1
    assert shown.count("few for") == 1
    assert "A (fisher): 2 of 9 rows had missing values and were dropped (row 1, 2)." in shown
