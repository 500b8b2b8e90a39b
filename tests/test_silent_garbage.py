"""Results that looked fine and were not: each was returned in silence once."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import expfam_glm as eg
from expfam_glm.errors import (
    ArgumentError,
    ConvergenceError,
    DataError,
    FitWarning,
    FormulaError,
    ResultError,
)

Y = np.array([1, 2, 3, 4, 2, 5, 1, 0, 2, 3, 4, 6])
DATA = {"y": Y, "x": np.linspace(0, 1, 12)}


def test_a_mean_that_runs_off_to_the_edge_of_the_link_is_no_fit():
    data = {"q": [-1.0, -2, 0, 5, 6, 7], "x": [0.0, 0, 0, 1, 1, 1]}
    with pytest.raises(ConvergenceError):
        eg.GLM("q ~ x", data, family="normal", link="log").fit()


@pytest.mark.filterwarnings("ignore:.* clusters are few")  # numbers are compared, not trusted
def test_cluster_names_beyond_the_exact_doubles_stay_apart():
    names = [10**17 + 20 * (i // 2) + i % 2 for i in range(6) for _ in (0, 1)]
    model = eg.GLM("y ~ x", DATA, family="poisson")
    for kind in (None, object):
        tree = model.gee(np.array(names, dtype=kind))
        assert int(tree["fit_stats"]["n_clusters"]) == 6


@pytest.mark.filterwarnings("ignore:.* clusters are few")  # numbers are compared, not trusted
def test_a_robust_covariance_of_zero_is_told():
    data = {"z": [1.0, -1.0] * 6}
    with pytest.warns(FitWarning, match="robust covariance is zero"):
        eg.GLM("z ~ 1", data, family="normal").gee(np.arange(12) // 2)


def test_nearly_perfect_is_not_perfect():
    y = 1e13 + np.array([1.0, 2, 4, 3, 6])
    tree = eg.GLM("y ~ x", {"y": y, "x": np.arange(5.0)}, family="normal").fit()
    assert float(tree["fit"]["phi"]) == pytest.approx(0.9, rel=1e-2)


def test_gamma_deviance_keeps_its_digits_near_the_mean():
    data = {"y": 1 + 1e-8 * np.array([1, 2, 4, 3, 6.0]), "x": np.arange(1.0, 6.0)}
    model = eg.GLM("y ~ x", data, family="gamma", link="log")
    pearson = float(model.fit()["fit"]["phi"])
    assert float(model.fit(dispersion="deviance")["fit"]["phi"]) == pytest.approx(pearson, rel=1e-6)


def test_comparisons_of_what_does_not_belong_together():
    first = eg.GLM("y ~ x", DATA, family="poisson").fit()
    other = eg.GLM("y ~ x", DATA, family="poisson", link="sqrt").fit()
    with pytest.raises(ResultError, match="link"):
        eg.compare({"a": first, "b": other})
    turned = eg.GLM("y ~ x", DATA | {"y": Y[::-1]}, family="poisson").fit()
    with pytest.raises(ResultError, match="different responses"):
        eg.compare({"a": first, "b": turned})


@pytest.mark.parametrize(
    "options",
    [{"chains": "a"}, {"draws": 1.5}, {"random_seed": -1}, {"ci_prob": "a"}, {"chains": True}],
)
def test_options_are_checked_before_the_fit(options):
    model = eg.GLM("y ~ x", DATA, family="poisson")
    with pytest.raises(ArgumentError):
        model.fit(**options)
    with pytest.raises(ArgumentError):
        model.gee(np.arange(12) // 3, **options)


def test_a_seed_of_none_is_a_fresh_one():
    tree = eg.GLM("y ~ x", DATA, family="poisson").fit(random_seed=None)
    assert tree.attrs["random_seed"] >= 0


def test_series_with_other_row_labels_are_not_paired_by_position():
    y, x = pd.Series(Y), pd.Series(DATA["x"])
    eg.GLM("y ~ x", {"y": y, "x": x}, family="poisson")
    with pytest.raises(DataError, match=r"'x' and 'y' are pandas Series"):
        eg.GLM("y ~ x", {"y": y, "x": x[::-1]}, family="poisson")


def test_the_response_does_not_explain_itself():
    with pytest.raises(FormulaError, match="the response 'y' is among"):
        eg.GLM("y ~ x + y", DATA, family="poisson")
    with pytest.raises(DataError, match="offset='y' is the response"):
        eg.GLM("y ~ x", DATA, family="poisson", offset="y")


@pytest.mark.parametrize("role", ["weights", "freq_weights", "sampling_weights"])
def test_weights_beyond_the_range_of_sums_are_refused(role):
    weights = np.ones(12)
    weights[3] = 1e-310
    with pytest.raises(DataError, match=f"{role} must lie between"):
        eg.GLM("y ~ x", DATA, family="normal", **{role: weights})


@pytest.mark.parametrize("exponent", [None, "a", [1], True, 1e300, -1e-300, np.nan])
def test_impossible_exponents_of_a_power_link(exponent):
    with pytest.raises(ArgumentError, match="the exponent must be 0"):
        eg.links.power(exponent)


def test_responses_that_are_all_at_the_edge():
    data = DATA | {"y": np.ones(12)}
    with pytest.raises(DataError, match="every response is 1, at the edge"):
        eg.GLM("y ~ x", data, family="binomial", link="log").fit()


@pytest.mark.parametrize("dispersion", [np.array([1.0, 2]), 1j, None, "pearsen"])
def test_impossible_dispersions(dispersion):
    with pytest.raises(ArgumentError, match="dispersion="):
        eg.GLM("y ~ x", DATA, family="normal").fit(dispersion=dispersion)


def test_a_signalling_decimal():
    with pytest.raises(DataError, match="signalling NaN"):
        eg.GLM("y ~ x", DATA | {"x": [Decimal("sNaN")] * 12}, family="normal")


def test_an_option_that_no_figure_takes():
    table = eg.compare({"a": eg.GLM("y ~ x", DATA, family="poisson").fit()})
    with pytest.raises(ArgumentError, match="does not take one of ax"):
        eg.plot_comparison(table, ax=5)
