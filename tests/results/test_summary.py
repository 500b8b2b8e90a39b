"""The summary of one fit: its table, its text, and what it says of trees from files."""

from __future__ import annotations

import re
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.results.compare import compare, format_comparison
from expfam_glm.results.summary import _cell, summary
from expfam_glm.tree import likelihood_tree
from tests.fabricated import LABELS, aliased, made_up, made_up_gee, sampled, three_roads


def test_the_table_of_a_fit_is_what_the_tree_holds() -> None:
    tree = likelihood_tree(made_up(), ci_prob=0.5)
    table = summary(tree, ci_prob=0.95).table
    assert table.columns.tolist() == ["estimate", "se", "z", "p_value", "ci95_lb", "ci95_ub"]
    assert table.index.tolist() == list(LABELS)
    for column, name in (("estimate", "beta"), ("se", "se"), ("z", "statistic"), ("p_value",) * 2):
        np.testing.assert_array_equal(table[column], tree["fit"][name])
    expected = likelihood_tree(made_up(), ci_prob=0.95)["fit"]["interval"]
    np.testing.assert_array_equal(table[["ci95_lb", "ci95_ub"]], expected)


def test_t_tests_show_their_degrees_of_freedom() -> None:
    table = summary(likelihood_tree(made_up(df=8.0))).table
    assert table.columns.tolist()[2:4] == ["t", "df"]
    assert (table["df"] == 8).all()


def test_the_text_reads_like_the_summary_of_a_glm() -> None:
    text = str(summary(likelihood_tree(made_up()), ci_prob=0.9))
    assert text.splitlines() == [
        "y ~ age * C(centre)",
        "family poisson, link log; maximum likelihood, fisher covariance; 12 observations",
        "",
        "                    estimate       se      z   p_value  ci90_lb  ci90_ub",
        "Intercept             -1.350    0.350  -3.86  0.000115   -1.926   -0.774",
        "age                  0.02300  0.00600   3.83  0.000126  0.01313  0.03287",
        "C(centre)[b/ü]        0.9500   0.0900  10.56    <2e-16   0.8020   1.0980",
        "age:C(centre)[b/ü]    -0.350    0.220  -1.59     0.112   -0.712    0.012",
        "",
        "Further covariances in the tree: HC0",
        "Dispersion phi: 1 (fixed by the family)",
        "Null deviance: 44.25",
        "Residual deviance: 12.50 on 8 degrees of freedom",
        "Pearson chi-squared: 11.00 on 8 degrees of freedom",
        "Log-likelihood: -20.00; AIC: 48.00; BIC: 50.00",
        "Converged after 5 iterations.",
    ]


def test_the_text_says_what_must_be_known() -> None:
    estimate = made_up(
        positive={"phi": (2.0, 0.125)},
        fit={},
        fit_stats={
            "loglik": np.nan,
            "QIC": 3.0,
            "n_iterations": 100,
            "converged": False,
            "decrement": 0.25,
            "n_observations": 118,
            "n_clusters": 59,
        },
    )
    estimate.attrs["rows_dropped"] = 2
    estimate.attrs["warnings"] = "age is huge\ncentre is tiny"
    lines = str(summary(likelihood_tree(aliased(estimate, 1)))).splitlines()
    assert lines[1].endswith("118 observations; 59 clusters; 2 rows with missing values dropped")
    assert "NOT CONVERGED in 100 iterations." in lines
    assert lines[-2:] == ["Warning: age is huge", "Warning: centre is tiny"]
    assert "Log-likelihood: not defined; QIC: 3.00" in lines
    assert any("standard error of its logarithm 0.125" in line for line in lines)
    assert next(line for line in lines if line.startswith("age ")).split() == ["age"] + ["–"] * 6


def test_how_near_the_maximum_the_fit_came() -> None:
    estimate = made_up(fit_stats={"n_iterations": 4, "converged": 1, "decrement": 2.1e-11})
    line = str(summary(likelihood_tree(estimate))).splitlines()[-1]
    assert line == "Converged after 4 iterations, within 2e-11 standard errors of the maximum."


def test_a_gee_shows_its_working_correlation() -> None:
    estimate = made_up_gee()
    estimate.attrs["correlation"] = "exchangeable"
    text = str(summary(likelihood_tree(estimate)))
    assert "GEE, robust covariance, exchangeable working correlation" in text
    assert "alpha: 0.35" in text


def test_a_gee_counts_in_whole_numbers_and_says_how_near_it_came() -> None:
    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase", seizures, family="poisson")
    text = str(summary(model.gee(groups="patient")))
    assert "236 observations; 59 clusters of at most 4" in text
    assert "n_clusters" not in text and "last_step" not in text and "59.00" not in text
    assert re.search(r"Converged after 1 iteration, the last step \S+ standard errors long\.", text)
    assert re.search(r"QIC: \d+\.\d\d; QICu: \d+\.\d\d; CIC: ", text)


def test_a_quasi_family_is_not_fitted_by_maximum_likelihood() -> None:
    tree = eg.GLM("days ~ sex", eg.load_data("quine"), family="quasi_poisson").fit()
    lines = str(summary(tree)).splitlines()
    assert "maximum quasi-likelihood, fisher covariance" in lines[1]
    assert any("(Pearson's chi-squared over its degrees of freedom)" in line for line in lines)
    assert lines[-1].startswith("Warning: a quasi family has no likelihood")


def test_a_given_dispersion_is_not_called_so_twice() -> None:
    data = {"y": [1.0, 2.0, 4.0, 3.0], "x": [0.0, 1.0, 2.0, 3.0]}
    tree = eg.GLM("y ~ x", data, family="normal").fit(dispersion=0.5)
    assert "Dispersion phi: 0.5 (given)" in str(summary(tree)).splitlines()


def test_what_the_sampler_found_is_a_warning() -> None:
    tree = sampled()
    tree.attrs["diagnosis"] = "nothing to report"
    assert "Warning" not in str(summary(tree))
    tree.attrs["diagnosis"] = "the chains do not agree (R-hat up to 1.0101, above 1.01)"
    assert str(summary(tree)).splitlines()[-1] == f"Warning: {tree.attrs['diagnosis']}"


def test_a_comparison_is_shown_as_text_and_html() -> None:
    table = compare(three_roads() | {"a<b": sampled()})
    sheet = summary(table)
    assert str(sheet) == format_comparison(table)
    page = sheet._repr_html_()
    assert page.count("<tr>") == str(sheet).splitlines().index("")
    assert "a&lt;b" in page and "a<b" not in page
    with pytest.raises(ArgumentError, match="a comparison has its own intervals"):
        summary(table, ci_prob=0.9)


def test_the_table_of_draws_is_arviz_summary() -> None:
    tree = sampled(phi=1.9)
    table = summary(tree, ci_prob=0.9).table
    expected = az.summary(tree, ci_prob=0.9, round_to="none")
    assert table.columns.tolist() == [
        *("mean", "sd", "eti90_lb", "eti90_ub", "ess_bulk", "ess_tail", "r_hat")
    ]
    assert table.index.tolist() == [*LABELS, "phi"]
    np.testing.assert_allclose(table, expected[table.columns], rtol=1e-12)


def test_percents_are_not_rounded_down() -> None:
    assert "eti29_lb" in summary(sampled(), ci_prob=0.29).table
    assert "eti99.9_lb" in summary(sampled(), ci_prob=0.999).table


def test_the_text_of_draws_shows_the_sampler() -> None:
    lines = str(summary(sampled())).splitlines()
    assert lines[0] == "family poisson, link log; NUTS, 4 chains of 1000 draws"
    assert lines[-1].startswith("Sampling: divergences 0, largest r_hat 1.00")


def test_groups_show_their_spreads_and_correlations() -> None:
    tree = sampled()
    rng = np.random.default_rng(0)
    posterior = tree["posterior"].to_dataset()
    effects = ["Intercept", "age"]
    rho = rng.uniform(-0.5, 0.5, (4, 1000))
    matrix = np.ones((4, 1000, 2, 2))
    matrix[..., 0, 1] = matrix[..., 1, 0] = rho
    each = ("chain", "draw", "effect_g")
    posterior = posterior.assign(
        sd_g=(each, rng.uniform(1, 2, (4, 1000, 2))), corr_g=((*each, "effect_g2"), matrix)
    ).assign_coords(effect_g=effects, effect_g2=effects)
    tree["posterior"] = xr.DataTree(posterior)
    table = summary(tree, ci_prob=0.9).table
    assert table.index.tolist()[len(LABELS) :] == [
        "sd_g[Intercept]", "sd_g[age]", "corr_g[Intercept, age]",
    ]  # fmt: skip
    spread = posterior["sd_g"].sel(effect_g="age").values
    assert table.loc["sd_g[age]", "mean"] == pytest.approx(spread.mean(), rel=1e-12)
    ends = table.loc["corr_g[Intercept, age]", ["eti90_lb", "eti90_ub"]]
    np.testing.assert_allclose(ends.astype(float), np.quantile(rho, [0.05, 0.95]), atol=1e-3)


def test_the_largest_rhat_is_that_of_the_diagnosis() -> None:
    tree = sampled()
    tree.attrs["max_rhat"] = 1.012301
    assert "largest r_hat 1.0124" in str(summary(tree))


def test_a_parameter_that_does_not_move_has_no_rhat_and_no_warning() -> None:
    tree = sampled()
    tree["posterior"]["beta"][..., 1] = 0.5
    table = summary(tree).table
    assert table["r_hat"].isna().tolist() == [False, True, False, False]
    assert table["sd"].iloc[1] == 0
    assert "–" in str(summary(tree))


@pytest.mark.parametrize("road", ["fit", "draws"])
def test_trees_from_files_have_the_same_summary(tmp_path: Path, road: str) -> None:
    tree = likelihood_tree(made_up_gee()) if road == "fit" else sampled(phi=1.9)
    tree.to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as again:
        assert str(summary(again)) == str(summary(tree))


def test_html_escapes_names() -> None:
    estimate = made_up(labels=("a<b", "x & y", "u", "v"))
    estimate.attrs["warnings"] = "1 < 2"
    page = summary(likelihood_tree(estimate))._repr_html_()
    assert "a&lt;b" in page and "x &amp; y" in page and "1 &lt; 2" in page
    assert "a<b" not in page
    assert page.count("<tr>") == 5


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (3, "not a int"),
        (xr.DataTree(), "no groups"),
        (xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": 1.0})}), "lack beta"),
    ],
)
def test_what_is_no_result_tree_is_refused(tree: object, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        summary(tree)  # type: ignore[arg-type]


def test_an_impossible_probability_is_refused() -> None:
    with pytest.raises(ArgumentError, match="ci_prob=2"):
        summary(sampled(), ci_prob=2)


def test_sampling_weights_are_no_maximum_likelihood() -> None:
    data = {"y": [1.0, 2, 4, 3], "w": [1.0, 2, 1, 1]}
    tree = eg.GLM("y ~ 1", data, family="poisson", sampling_weights="w").fit(draws=10)
    assert "; weighted scores of a sample, no likelihood, HC0 covariance" in str(summary(tree))


def test_large_degrees_of_freedom_have_all_their_digits() -> None:
    assert [_cell("df", value, 2) for value in (20180.0, 8.1234567)] == ["20180", "8.123"]
