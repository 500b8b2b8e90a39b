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
    with pytest.warns(FitWarning, match="covariance .robust. is zero"):
        eg.GLM("z ~ 1", data, family="normal").gee(np.arange(12) // 2)


def test_nearly_perfect_is_not_perfect():
    y = 1e13 + np.array([1.0, 2, 4, 3, 6])
    tree = eg.GLM("y ~ x", {"y": y, "x": np.arange(5.0)}, family="normal").fit()
    assert float(tree["fit"]["phi"]) == pytest.approx(0.9, rel=1e-2)


def test_residuals_of_many_roundings_are_not_perfect():
    """Residuals of size 1 at 1e14, where doubles are 0.016 apart, by a factor of two levels."""
    noise = np.array([1.0, -1, 2, -2, 0, 1, -1, 0.5])
    data = {"y": 1e14 + noise, "f": [*"aaaabbbb"]}
    tree = eg.GLM("y ~ f", data, family="normal").fit()
    within = [part - part.mean() for part in np.split(data["y"] - 1e14, 2)]
    assert float(tree["fit"]["phi"]) == pytest.approx(np.sum(np.square(within)) / 6, rel=0.05)
    exact = eg.GLM("y ~ f", data | {"y": 1e14 + np.repeat([1.0, 3], 4)}, family="normal")
    with pytest.warns(FitWarning, match="the fit is perfect"):
        assert float(exact.fit()["fit"]["phi"]) == 0


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


@pytest.mark.parametrize("term", ["{None}", "x + {None}", "I(None)", "{None}:x"])
def test_a_term_without_values_does_not_vanish(term):
    with pytest.raises(FormulaError, match="gives no values but None"):
        eg.GLM(f"y ~ {term}", DATA, family="poisson")


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


@pytest.mark.parametrize("how", [{"x": [0, 0]}, {"x": 0}, {"z": "iqr"}, {"f": ["a", "a"]}], ids=str)
def test_a_value_is_not_compared_with_itself(how):
    data = DATA | {"z": [0] * 11 + [1], "f": [*"ab"] * 6}
    tree = eg.GLM("y ~ x + z + f", data, family="poisson").fit()
    with pytest.raises(ArgumentError, match="with itself; give two different"):
        eg.comparisons(tree, how)


def test_a_tree_without_its_estimates():
    tree = eg.GLM("y ~ x", DATA, family="poisson").fit()
    del tree["fit"]
    with pytest.raises(ResultError, match="has lost the group 'fit'"):
        eg.deviance_table(tree)


def test_counts_beyond_the_integers_stay_positive():
    tree = eg.GLM("y ~ x", DATA, family="poisson").fit()
    far = {"x": [20.0, 40.0]}
    assert np.all(eg.predict(tree, far, interval="new")["interval"] >= 0)
    drawn = eg.predict(tree, far, kind="draws")["predictions"]
    assert drawn["y"].dtype.kind == "f" and np.all(drawn["y"] >= 0)
    large = drawn["mu"].values > 1e10  # ten standard deviations of a count are 1e-4 of it
    np.testing.assert_allclose(drawn["y"].values[large], drawn["mu"].values[large], rtol=1e-4)
    counts = np.array([2.0**64, 2, 3, 1])
    for y in (counts, counts / 2048):  # 2⁵³ is the first that stays a double
        kept = eg.GLM("y ~ 1", {"y": np.floor(y)}, family="poisson").fit()["observed_data"]["y"]
        np.testing.assert_array_equal(kept, np.floor(y))


@pytest.mark.parametrize("text", ["x = 1e999", "x = 1e308", "1e308 * x = 1", "x = 1e60 * 1e60"])
def test_a_hypothesis_of_huge_numbers_is_none(text):
    tree = eg.GLM("y ~ x", DATA, family="poisson").fit()
    with pytest.raises(ArgumentError, match=r"too large|beyond floating"):
        eg.hypotheses(tree, text)
    with pytest.raises(ArgumentError, match="none beyond 1e"):
        eg.hypotheses(tree, [[0, 1]], rhs=[1e308])


def test_all_columns_are_all_columns():
    data = pd.DataFrame(DATA | {3: np.arange(12.0)})
    with pytest.raises(DataError, match=r"not text \(3\); rename the columns to text"):
        eg.GLM("y ~ .", data, family="poisson")
    with pytest.raises(DataError, match="rename the columns to text"):
        eg.GLM.from_arrays(Y, data[["x", 3]], family="poisson")
    assert eg.GLM("y ~ I(x**2.0)", data, family="poisson")  # no `.` of its own


def test_odds_of_counts_are_none():
    tree = eg.GLM("y ~ x", DATA, family="poisson").fit()
    with pytest.raises(ArgumentError, match=r"'poisson' must lie inside \(0, 1\) to have odds"):
        eg.comparisons(tree, comparison="lnor")
