"""Bad input on the likelihood road: each has its own error, with names, values and a way out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.sparse import coo_array

import expfam_glm as eg
from expfam_glm.errors import (
    AliasWarning,
    ArgumentError,
    ConvergenceError,
    DataError,
    ExpfamError,
    FitWarning,
    FormulaError,
    SeparationError,
)

N = 30
RNG = np.random.default_rng(20)
X1 = RNG.normal(size=N)
X = np.column_stack([np.ones(N), X1])
COUNTS = RNG.poisson(2.0, N).astype(float)
GROUP = np.arange(N) % 3
DUMMIES = np.column_stack([np.ones(N), GROUP == 1, GROUP == 2]).astype(float)
GOOD = {
    "normal": COUNTS - 1,
    "poisson": COUNTS,
    "binomial": (COUNTS > 1).astype(float),
    "gamma": COUNTS + 0.5,
    "inverse_gaussian": COUNTS + 0.5,
    "quasi_poisson": COUNTS + 0.5,
    "quasi_binomial": COUNTS / 10,
    "negative_binomial": COUNTS,
}


def family_of(name: str) -> str | eg.Family:
    return eg.families.negative_binomial(0.5) if name == "negative_binomial" else name


def model(y: Any = COUNTS, design: Any = X, family: Any = "poisson", **roles: Any) -> eg.GLM:
    return eg.GLM.from_arrays(y, design, family=family, **roles)


def changed(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values = np.array(values, float)
    values[row] = value
    return values


@contextmanager
def refused(error: type[ExpfamError], words: str) -> Iterator[Any]:
    """Expect exactly this error; its message has the words and is a sentence."""
    with pytest.raises(ExpfamError, match=words) as caught:
        yield caught
    assert type(caught.value) is error
    assert str(caught.value).endswith((".", "?"))


def sound(tree: xr.DataTree) -> xr.DataTree:
    """A tree that claims to have converged has finite numbers, or says why not."""
    fit, stats = tree["fit"], tree["fit_stats"]
    numbers = [
        *fit["beta"].values,
        *fit["se"].values,
        float(fit["phi"]),
        *map(float, stats.values()),
    ]
    assert np.all(np.isfinite(numbers)) or tree.attrs["warnings"]
    return tree


# ---- responses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("poisson", -1, r"integers in \[0, inf\) of 'poisson'; found row 3: -1\.0.*quasi family"),
        ("poisson", 1.5, r"found row 3: 1\.5"),
        ("negative_binomial", -2, r"of 'negative_binomial'; found row 3: -2\.0"),
        ("negative_binomial", 0.5, r"row 3: 0\.5"),
        ("binomial", 0.5, r"row 3: 0\.5.*give trials=.*weights=.*'quasi_binomial'"),
        ("binomial", -1, r"integers in \[0, 1\] of 'binomial'; found row 3: -1\.0"),
        ("binomial", 2, r"row 3: 2\.0"),
        ("gamma", 0, r"\(0, inf\) of 'gamma'; found row 3: 0\.0.*choose a family"),
        ("gamma", -1, r"row 3: -1\.0"),
        ("inverse_gaussian", 0, r"of 'inverse_gaussian'; found row 3: 0\.0"),
        ("quasi_poisson", -0.1, r"\[0, inf\) of 'quasi_poisson'; found row 3: -0\.1"),
        ("quasi_binomial", -0.1, r"\[0, 1\] of 'quasi_binomial'; found row 3: -0\.1"),
        ("quasi_binomial", 1.1, r"row 3: 1\.1"),
    ],
)
def test_responses_outside_the_support(name, value, words):
    y = changed(GOOD[name], 3, value)
    with refused(DataError, rf"response y: 1 value\(s\) outside the support .*{words}"):
        model(y, family=family_of(name))


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, r"missing values in 1 of 30 rows: 'y' \(row 3\)\..*missing='drop'"),
        (np.inf, r"'y' has infinite values \(row 3: inf\)"),
        (-np.inf, r"row 3: -inf"),
    ],
)
def test_responses_that_are_not_finite(name, value, words):
    with refused(DataError, words):
        model(changed(GOOD[name], 3, value), family=family_of(name))


def test_many_bad_responses_are_counted_and_a_few_shown():
    with refused(DataError, "and 25 more") as caught:
        model(-1 - COUNTS)
    error = caught.value
    assert "30 value(s)" in str(error) and str(error).count("row ") == 5


def test_row_numbers_are_those_of_the_data_as_given():
    y = changed(changed(COUNTS, 1, np.nan), 7, -1)
    with refused(DataError, "found row 7: -1"):
        model(y, missing="drop")
    weights = changed(np.ones(N), 0, 0)
    with refused(DataError, r"found row 7: -1 \(weight 1\)"):
        model(y, missing="drop", weights=weights)
    with refused(DataError, "weights .*row 9: -2"):
        model(y, missing="drop", weights=changed(weights, 9, -2))
    with refused(DataError, "exposure .*row 9: 0"):
        model(y, missing="drop", exposure=changed(np.ones(N), 9, 0))
    with refused(DataError, "row 9: 5 of 1"):
        model(
            changed(changed(np.ones(N), 2, np.nan), 9, 5),
            family="binomial",
            trials=np.ones(N),
            missing="drop",
        )


def test_a_bad_response_of_weight_zero_does_not_matter():
    y = changed(COUNTS, 3, -1)
    ours = model(y, weights=changed(np.ones(N), 3, 0)).fit()
    without = model(np.delete(y, 3), np.delete(X, 3, axis=0)).fit()
    np.testing.assert_allclose(ours["fit"]["beta"], without["fit"]["beta"], rtol=1e-10)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.array(["a"] * N), "'y' must be numeric"),
        (COUNTS + 1j, "complex128"),
        (COUNTS[:, None], r"'y' must be one column, but has shape \(30, 1\)"),
        (COUNTS[:-1], "'y' has 29 values, but the data have 30 rows"),
        (None, "one value for each row"),
        (3.0, "one value for each row"),
    ],
)
def test_responses_of_another_kind(y, words):
    with refused(DataError, words):
        model(y)


# ---- designs and columns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("design", "words"),
    [
        (changed(X, (4, 1), np.nan), r"'x1' \(row 4\)"),
        (changed(X, (4, 1), np.inf), r"'x1' has infinite values \(row 4: inf\)"),
        (X[:-1], "'y' has 30 values, but the data have 29 rows"),
        (X[:, :, None], "one or two dimensions, not 3"),
        (np.zeros((0, 2)), "no rows"),
        (np.zeros((N, 0)), "no columns"),
        (None, "X must have one or two dimensions"),
    ],
)
def test_bad_designs(design, words):
    with refused(DataError, words):
        model(COUNTS, design)


DATA = {"y": COUNTS, "x": X1, "group": GROUP}


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ({"weights": "wieghts"}, "'wieghts' is not in the data"),
        ({"offset": "offs"}, "offset 'offs' is not in the data"),
        ({"exposure": "years"}, "exposure 'years' is not in the data"),
        ({"freq_weights": "f"}, "freq_weights 'f' is not in the data"),
        ({"trials": "n"}, "trials 'n' is not in the data"),
        ({"weights": np.ones(N - 1)}, "'weights' has 29 values, but the data have 30 rows"),
        ({"offset": 3.0}, "'offset' must have one value for each row"),
    ],
)
def test_unknown_columns_and_wrong_lengths(roles, words):
    with refused(DataError, words):
        eg.GLM("y ~ x", DATA, family="poisson", **roles)


def test_unknown_columns_in_a_formula():
    with pytest.raises(ExpfamError, match="'z'"):
        eg.GLM("y ~ z", DATA, family="poisson")
    with pytest.raises(ExpfamError, match="'w'"):
        eg.GLM("w ~ x", DATA, family="poisson")


ROLES = ("weights", "freq_weights", "exposure", "offset", "trials")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, r"missing values in 1 of 30 rows: '{}' \(row 2\)"), (np.inf, r"'{}' has infinite")],
)
def test_roles_that_are_not_finite(role, value, words):
    values = changed(np.full(N, 20.0), 2, value)
    family = "binomial" if role == "trials" else "poisson"
    with refused(DataError, words.format(role)):
        model(family=family, **{role: values})


@pytest.mark.parametrize("role", ["weights", "freq_weights"])
def test_weights_negative_or_all_zero(role):
    negative = changed(np.ones(N), 2, -1)
    with refused(DataError, rf"{role} must not be negative; found row 2: -1\.0.*weight 0"):
        model(**{role: negative})
    with refused(DataError, f"{role} are all zero; at least one row must count"):
        model(**{role: np.zeros(N)})


def test_weights_that_leave_no_row():
    half = (np.arange(N) < 15).astype(float)
    with refused(DataError, "no row is left to fit"):
        model(weights=half, freq_weights=1 - half)


def test_fractional_weights_of_counts():
    with refused(
        DataError, r"row 0: . \(weight 0\.7\).*needs y·w to be a whole number.*quasi family"
    ):
        model(COUNTS + 1, weights=np.full(N, 0.7))


@pytest.mark.parametrize("value", [0.0, -1.0, 2.5])
def test_trials_that_are_no_positive_whole_numbers(value):
    with refused(DataError, f"trials must be positive whole numbers; found row 2: {value}"):
        model(family="binomial", trials=changed(np.full(N, 20.0), 2, value))


def test_trials_below_successes_and_successes_that_are_none():
    trials = np.full(N, 20.0)
    for value, shown in ((21, "21 of 20"), (-1, "-1 of 20"), (2.5, r"2\.5 of 20")):
        y = changed(COUNTS, 2, value)
        with refused(
            DataError,
            rf"y: successes must be whole numbers between 0 and trials; found row 2: "
            rf"{shown}.*a proportion goes with weights=",
        ):
            model(y, family="binomial", trials=trials)
    sound(model(COUNTS + 0.5, family="quasi_binomial", trials=trials).fit())


@pytest.mark.parametrize("name", ["normal", "poisson", "gamma"])
def test_trials_with_another_family(name):
    with refused(ArgumentError, rf"trials go with a family on \[0, 1\] .*not '{name}'"):
        model(GOOD[name], family=name, trials=np.full(N, 20.0))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_exposure_that_is_not_positive(value):
    with refused(DataError, f"exposure must be positive; found row 2: {value}"):
        model(exposure=changed(np.ones(N), 2, value))


@pytest.mark.parametrize(
    ("name", "link"), [("gamma", "inverse"), ("normal", "identity"), ("binomial", "logit")]
)
def test_exposure_without_a_meaning(name, link):
    with refused(
        ArgumentError, f"exposure has a meaning under a log link.*'{name}' with the '{link}'"
    ):
        model(GOOD[name], family=name, link=link, exposure=np.ones(N))


# ---- words and numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"information": "obs"}, "information='obs' is not known; use one of 'expected'"),
        ({"dispersion": "person"}, "dispersion='person' is not known; use one of 'pearson'"),
        ({"dispersion": None}, "dispersion=None is not known"),
        ({"dispersion": True}, "dispersion=True is not known"),
        ({"dispersion": -1.0}, r"dispersion=-1\.0 must be a positive number"),
        ({"dispersion": np.nan}, "dispersion=nan must be a positive number"),
        ({"tol": 0}, r"tol=0 must be a number in \(0, 1\)"),
        ({"tol": "small"}, "tol='small'"),
        ({"max_iterations": 0}, "max_iterations=0 must be a whole number from 1"),
        ({"max_iterations": 2.5}, r"max_iterations=2\.5"),
        ({"ci_prob": 1.5}, r"ci_prob=1\.5"),
        ({"chains": 0}, "chains=0"),
        ({"draws": -1}, "draws=-1"),
        ({"start": [1.0]}, r"start=\[1\.0\] must be 2 finite number\(s\), one for each of x0, x1"),
        ({"start": [1.0, np.nan]}, "must be 2 finite"),
        ({"start": ["a", "b"]}, "must be 2 finite"),
        ({"start": [[1.0, 0.0]]}, "must be 2 finite"),
    ],
)
def test_unknown_words_and_numbers_without_sense(options, words):
    with refused(ArgumentError, words):
        model(GOOD["normal"], family="normal").fit(**options)


@pytest.mark.parametrize("number", [2, np.int64(2), np.float32(2.0), np.float64(2.0)])
def test_a_dispersion_may_be_any_kind_of_number(number):
    assert float(model(GOOD["normal"], family="normal").fit(dispersion=number)["fit"]["phi"]) == 2


def test_a_known_dispersion_is_not_estimated():
    for method in (2.0, "ml", "deviance"):
        with refused(
            ArgumentError, "the dispersion of 'poisson' is known to be 1; use the quasi family"
        ):
            model().fit(dispersion=method)


def test_unknown_links_and_roles():
    with refused(ArgumentError, "link='lgo' is not known; use one of"):
        model(link="lgo")
    with refused(ArgumentError, "missing='omit' is not known"):
        model(missing="omit")
    with pytest.raises(TypeError, match="weight"):
        model(weight=np.ones(N))


# ---- collinear columns ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["poisson", "normal", "gamma", "binomial"])
def test_collinear_columns_are_named_and_nan(name):
    design = np.column_stack([X, 2 * X1 - 3, np.sin(X1), np.zeros(N)])
    labels = ["one", "x", "same", "sine", "zero"]
    link = "log" if name == "gamma" else None
    with pytest.warns(AliasWarning, match=r"same, zero are linear combinations of earlier columns"):
        tree = model(GOOD[name], design, family=name, link=link, labels=labels).fit()
    gone = [False, False, True, False, True]
    for variable in ("beta", "se", "p_value", "statistic"):
        assert np.isnan(tree["fit"][variable].values).tolist() == gone
    assert np.isnan(np.diag(tree["fit"]["covariance"].values[0])).tolist() == gone
    assert "same, zero" in tree.attrs["warnings"]
    smaller = model(GOOD[name], design[:, [0, 1, 3]], family=name, link=link).fit()
    for variable in ("beta", "se"):
        np.testing.assert_allclose(
            tree["fit"][variable].values[[0, 1, 3]], smaller["fit"][variable], rtol=1e-9
        )
    assert float(tree["fit_stats"]["df_residual"]) == N - 3


def test_more_columns_than_rows():
    design = RNG.normal(size=(4, 6))
    with pytest.warns(AliasWarning, match="x4, x5 are linear") as seen:
        tree = model(COUNTS[:4] + 1, design).fit()
    assert {warning.filename for warning in seen} == {__file__}  # the user's own line
    assert np.isnan(tree["fit"]["beta"].values).tolist() == [False] * 4 + [True] * 2


def test_a_start_for_aliased_columns_too():
    design = np.column_stack([X, X1])
    with pytest.warns(AliasWarning):
        tree = model(design=design).fit(start=[0.5, 0.1, 7.0])
    np.testing.assert_allclose(tree["fit"]["beta"].values[:2], model().fit()["fit"]["beta"])


# ---- existence of a maximum ----------------------------------------------------------------------

BINARY_LINKS = ("logit", "probit", "cloglog", "loglog", "cauchit")
ABOVE = (X1 > 0).astype(float)
TIED = np.where(np.abs(X1) < 0.4, 0.0, X1)
QUASI = np.where(TIED == 0, np.arange(N) % 2, TIED > 0).astype(float)


@pytest.mark.parametrize("link", BINARY_LINKS)
@pytest.mark.parametrize("family", ["binomial", "quasi_binomial"])
def test_complete_separation(family, link):
    with refused(
        SeparationError, r"responses are separated: .*x → \+∞.*no finite maximum exists"
    ) as caught:
        model(ABOVE, family=family, link=link, labels=["one", "x"]).fit()
    error = caught.value
    assert "sample()" in str(error)


@pytest.mark.parametrize("link", BINARY_LINKS)
def test_quasi_complete_separation_names_only_what_runs_off(link):
    assert 0 < QUASI[TIED == 0].sum() < (TIED == 0).sum()
    design = np.column_stack([np.ones(N), TIED])
    with refused(SeparationError, r"x → \+∞ the likelihood") as caught:
        model(QUASI, design, family="binomial", link=link, labels=["one", "x"]).fit()
    error = caught.value
    assert "one" not in str(error).split("along")[1].split("no finite")[0]


@pytest.mark.parametrize("link", BINARY_LINKS)
@pytest.mark.parametrize(("y", "way"), [(np.zeros(N), "−"), (np.ones(N), r"\+")])
def test_all_responses_at_one_edge(link, y, way):
    with refused(SeparationError, rf"one → {way}∞"):
        model(y, DUMMIES[:, :1], family="binomial", link=link, labels=["one"]).fit()


@pytest.mark.parametrize("family", ["poisson", "quasi_poisson", "negative_binomial"])
def test_a_group_of_zero_counts(family):
    y = np.where(GROUP == 1, 0.0, COUNTS + 1)
    labels = ["one", "second", "third"]
    with refused(SeparationError, "direction with second → −∞ the likelihood"):
        model(y, DUMMIES, family=family_of(family), link="log", labels=labels).fit()
    with refused(SeparationError, "one → −∞"):
        model(0 * y, DUMMIES[:, :1], family=family_of(family), labels=["one"]).fit()


def test_separation_with_trials_factors_weights_and_aliased_columns():
    data = {"s": np.where(GROUP == 2, 6.0, 3.0), "n": np.full(N, 6.0), "g": GROUP, "x": X1}
    with refused(SeparationError, r"C\(g\)\[2\] → \+∞ the likelihood"):
        eg.GLM("s ~ C(g)", data, family="binomial", trials="n").fit()
    kept = np.where(np.arange(N) < 25, 1.0, 0.0)
    y = np.where(kept > 0, ABOVE, 1 - ABOVE)  # only rows of weight zero overlap
    with refused(SeparationError, "separated"):
        model(y, family="binomial", weights=kept).fit()
    sound(model(y, family="binomial").fit())
    twice = np.column_stack([DUMMIES[:, 0], GROUP == 2, GROUP == 2]).astype(float)
    with warnings.catch_warnings(), refused(SeparationError, r"x1 → \+∞ the likelihood"):
        warnings.simplefilter("ignore", AliasWarning)  # which may come first
        model(data["s"], twice, family="binomial", trials=data["n"]).fit()


def test_separation_beyond_one_linear_program():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(9000, 3))
    design = np.column_stack([np.ones(9000), x])
    score = x @ [1.0, -2.0, 0.5] + 0.1
    with refused(SeparationError, r"x1 → \+∞, x2 → −∞, x3 → \+∞"):
        model((score > 0).astype(float), design, family="binomial").fit()
    y = (score > 0).astype(float)
    nearest = np.argsort(np.abs(score))[:40]
    y[nearest] = 1 - y[nearest]
    sound(model(y, design, family="binomial").fit())


def test_means_near_the_edge_without_separation():
    x = np.concatenate([X1, [40.0, -40.0]])
    y = np.concatenate([(X1 + np.sin(7 * X1) > 0), [1.0, 0.0]]).astype(float)
    tree = sound(model(y, np.column_stack([np.ones(x.size), x]), family="binomial").fit())
    mean = 1 / (1 + np.exp(-(tree["fit"]["beta"].values @ [1, 40])))
    assert mean > 1 - 1e-12 and float(tree["fit_stats"]["pearson_chi2"]) > 1


@pytest.mark.parametrize("family", ["binomial", "quasi_binomial"])
@pytest.mark.parametrize("link", ["logit", "probit", "cauchit"])
def test_rows_whose_variance_underflows_leave_the_statistics_finite(family, link):
    x = np.concatenate([X1, [2000.0, -3000.0]])
    y = np.concatenate([(X1 + np.sin(7 * X1) > 0), [1.0, 0.0]]).astype(float)
    tree = model(y, np.column_stack([np.ones(x.size), x]), family=family, link=link).fit()
    near = model(y[:N], family=family, link=link).fit()
    assert np.isfinite(tree["fit"]["se"].values).all()
    assert float(tree["fit_stats"]["pearson_chi2"]) == pytest.approx(
        float(near["fit_stats"]["pearson_chi2"]), rel=0.2
    )


@pytest.mark.parametrize("link", ["identity", "sqrt"])
def test_a_maximum_at_a_finite_edge_is_none(link):
    y = np.where(GROUP == 1, 0.0, COUNTS + 1)
    with refused(
        ConvergenceError, r"no maximum exists inside the linear predictors \(0, inf\)"
    ) as caught:
        model(y, DUMMIES, link=link).fit()
    error = caught.value
    assert "row 1: y = 0" in str(error) and "row 4" in str(error) and "row 2:" not in str(error)
    assert error.state.shape == (3,)


@pytest.mark.parametrize(("link", "edge"), [("identity", 1.0), ("log", 1.0), ("identity", 0.0)])
def test_a_proportion_at_a_finite_edge(link, edge):
    y = np.where(GROUP == 1, edge, np.arange(N) % 2)
    with refused(ConvergenceError, rf"no maximum exists inside.*y = {edge:g}"):
        model(y, DUMMIES, family="binomial", link=link).fit()


def test_tiny_means_inside_are_no_edge():
    """Rates of 1e-9 a person-day under the identity link are an ordinary maximum."""
    exposure = np.full(N, 1e9)
    tree = sound(model(COUNTS, DUMMIES, link="identity", exposure=exposure).fit())
    groups = [COUNTS[GROUP == g].mean() for g in range(3)]
    expected = 1e-9 * np.array([groups[0], groups[1] - groups[0], groups[2] - groups[0]])
    np.testing.assert_allclose(tree["fit"]["beta"], expected, rtol=1e-8)


@pytest.mark.parametrize("link", ["log", "inverse", "sqrt"])
def test_normal_means_that_run_to_zero(link):
    y = np.where(GROUP == 1, -1.0 - np.arange(N) / 100, COUNTS + 2)
    with refused(ConvergenceError, "did not converge"):
        model(y, DUMMIES, family="normal", link=link).fit()


@pytest.mark.parametrize(
    ("y", "family", "link", "words"),
    [
        (np.zeros(N), "poisson", "identity", r"every response is 0, at the edge"),
        (COUNTS, "poisson", "logit", r"mean response .* does not lie inside \(0, 1\)"),
        (-1 - COUNTS, "normal", "log", r"does not lie inside \(0, inf\), the means of 'normal'"),
    ],
)
def test_a_mean_response_that_the_link_does_not_take(y, family, link, words):
    with refused(DataError, words):
        model(y, family=family, link=link).fit()


# ---- iterations ----------------------------------------------------------------------------------


def test_too_few_iterations():
    with refused(
        ConvergenceError, r"did not converge in 1 iterations.*standard errors long.*x0 ="
    ) as caught:
        model().fit(max_iterations=1)
    error = caught.value
    assert error.state.beta.shape == (2,) and error.state.decrement > 1e-8
    tree = model().fit(start=error.state.beta)
    np.testing.assert_allclose(tree["fit"]["beta"], model().fit()["fit"]["beta"], rtol=1e-9)


def test_starts_that_are_not_admissible():
    with refused(
        ConvergenceError, r"start is not admissible: under the link 'identity'.*\(0, inf\)"
    ):
        model(link="identity").fit(start=[-1.0, 0.0])
    with refused(ConvergenceError, "likelihood must be finite"):
        model().fit(start=[1000.0, 0.0])


def test_no_admissible_linear_predictor_at_all():
    with refused(
        ConvergenceError, r"no admissible start.*'identity'.*\(0, inf\).*link that takes every"
    ):
        model(COUNTS, X1, link="identity").fit()


@pytest.mark.parametrize(
    ("y", "design", "family", "link"),
    [
        (COUNTS, np.column_stack([np.ones(N), 1e200 * X1]), "poisson", "log"),
        (COUNTS, np.column_stack([np.ones(N), 1e-200 * X1]), "poisson", "log"),
        (1e200 * (COUNTS + 1), X, "gamma", "log"),
        (1e-200 * (COUNTS + 1), X, "gamma", "log"),
        (1e300 * COUNTS, X, "normal", "identity"),
    ],
)
def test_sizes_beyond_floating_point(y, design, family, link):
    with refused(DataError, "rescale it"):
        model(y, design, family=family, link=link).fit()


LINE = 1 + 2 * X1 + np.cos(np.arange(N))
TWEEDIE = eg.families.tweedie(1.5)


@pytest.mark.parametrize(
    ("y", "column", "family", "says"),
    [
        (1e-200 * (COUNTS + 1), X1, TWEEDIE, "response .* too small"),
        (1e200 * (COUNTS + 1), X1, TWEEDIE, "response .* too large"),
        (1e153 * LINE, X1, "normal", "response .* too large .* dividing by 1e153"),
        (1e-160 * LINE, X1, "normal", "response .* too small"),
        (1e-162 * LINE, X1, "normal", "response .* too small"),
        (1e-200 * LINE, X1, "normal", "response .* too small"),
        (LINE, 1e-160 * X1, "normal", "column x1 .* too small .* dividing by 1e-160"),
        (LINE, 1e160 * X1, "normal", "column x1 .* too large"),
    ],
)
def test_squares_beyond_floating_point(y, column, family, says):
    with refused(DataError, says):
        model(y, np.column_stack([np.ones(N), column]), family=family)


@pytest.mark.parametrize("factor", [1e-150, 1e-100, 1e100, 1e150])
@pytest.mark.parametrize(
    ("y", "family", "link", "power"),
    [(LINE, "normal", "identity", 2), (COUNTS + 1, "normal", "log", 2),
     (COUNTS + 1, TWEEDIE, "log", 0.5), (COUNTS + 1, "gamma", "log", 0)],
)  # fmt: skip
def test_extreme_units_change_nothing_but_units(y, family, link, power, factor):
    plain, far = (model(v, family=family, link=link).fit()["fit"] for v in (y, y * factor))
    unit = factor if link == "identity" else 1.0
    np.testing.assert_allclose(far["se"], plain["se"] * unit, rtol=1e-8)
    slope, se = (float(plain[name][1]) * unit for name in ("beta", "se"))
    np.testing.assert_allclose(far["beta"][1], slope, atol=1e-7 * se)
    np.testing.assert_allclose(far["phi"], plain["phi"] * factor**power, rtol=1e-8)


@pytest.mark.parametrize(
    ("family", "link"),
    [("normal", "inverse"), ("normal", "power(3)"), ("gamma", "identity"), ("binomial", "cauchit"),
     ("inverse_gaussian", "log"), ("poisson", "inverse"), ("binomial", "identity")],
)  # fmt: skip
def test_slow_convergence_is_not_taken_for_rounding(family, link):
    """Fisher scoring that creeps, or that overshoots unless damped, must go on to the end."""
    rng = np.random.default_rng(7)
    done = 0
    for _ in range(8):
        n = int(rng.integers(12, 50))
        design = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
        y = rng.gamma(2.0, size=n) if family in ("normal", "gamma", "inverse_gaussian") else (
            rng.binomial(1, 0.4, n) if family == "binomial" else rng.poisson(3.0, n))  # fmt: skip
        try:
            tree = model(y.astype(float), design, family=family, link=link).fit(draws=9, chains=1)
        except (ConvergenceError, SeparationError):
            continue
        sound(tree)
        assert float(tree["fit_stats"]["decrement"]) < 1e-7  # rounding, where tol is not reached
        done += 1
    assert done >= 2


@pytest.mark.parametrize(
    ("link", "seed"), [("inverse", 23), ("power(3)", 29), ("power(3)", 37)], ids=str
)
def test_overshooting_steps_are_damped_below_the_rounding_of_the_likelihood(link, seed):
    """Undamped, the last steps grow where the likelihood no longer shows it: they end at 3e-7."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 50))
    design = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    tree = model(rng.gamma(2.0, size=n), design, family="normal", link=link).fit()
    assert float(tree["fit_stats"]["decrement"]) < 1e-8


# ---- perfect and saturated fits ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "design", "family", "link", "beta"),
    [
        (1 + 2 * X1, X, "normal", "identity", [1, 2]),
        (np.full(N, 3.0), X[:, :1], "normal", "identity", [3]),
        (np.zeros(N), X, "normal", "identity", [0, 0]),
        (np.exp(1 + 0.2 * X1), X, "gamma", "log", [1, 0.2]),
        (np.exp(1 + 0.2 * X1), X, "inverse_gaussian", "log", [1, 0.2]),
        (np.full(N, 4.0), X[:, :1], "gamma", "inverse", [0.25]),
        (np.full(N, 4.0), X[:, :1], "quasi_poisson", "log", [np.log(4)]),
    ],
)
def test_a_perfect_fit_has_no_standard_errors(y, design, family, link, beta):
    with pytest.warns(FitWarning, match="the fit is perfect: .*no standard errors"):
        tree = model(y, design, family=family, link=link).fit()
    np.testing.assert_allclose(tree["fit"]["beta"], beta, rtol=1e-12, atol=1e-14)
    assert float(tree["fit"]["phi"]) == 0 and np.isnan(tree["fit"]["se"].values).all()
    assert np.isnan(float(tree["fit_stats"]["loglik"]))
    assert "perfect" in tree.attrs["warnings"] and "likelihood" in tree.attrs["warnings"]


def test_known_dispersion_is_not_perfect():
    tree = model(np.full(N, 3.0), X[:, :1]).fit()
    assert tree["fit"]["se"].item() == pytest.approx((3.0 * N) ** -0.5)
    assert tree.attrs["warnings"] == "" and abs(float(tree["fit_stats"]["deviance"])) < 1e-12


def test_a_saturated_model_with_known_dispersion():
    design = np.column_stack([np.ones(4), np.eye(4)[:, 1:]])
    y = np.array([1.0, 4, 2, 9])
    tree = sound(model(y, design).fit())
    np.testing.assert_allclose(tree["fit"]["beta"], np.log([1, 4, 2, 9]), atol=1e-9)
    assert float(tree["fit_stats"]["df_residual"]) == 0
    np.testing.assert_allclose(tree["fit"]["se"], np.sqrt([1, 1.25, 1.5, 1 + 1 / 9]), rtol=1e-8)


@pytest.mark.parametrize(
    ("family", "link"), [("normal", "identity"), ("gamma", "log"), ("quasi_poisson", "log")]
)
def test_a_saturated_model_with_free_dispersion(family, link):
    design = np.column_stack([np.ones(4), np.eye(4)[:, 1:]])
    with pytest.warns(FitWarning) as caught:
        tree = model([1.0, 4, 2, 9], design, family=family, link=link).fit()
    assert any("as many coefficients as observations" in str(w.message) for w in caught)
    assert np.isnan(tree["fit"]["se"].values).all() and tree.attrs["warnings"]
    assert not np.isfinite(float(tree["fit"]["phi"])) or float(tree["fit"]["phi"]) == 0


def test_quasi_families_say_why_they_have_no_likelihood():
    tree = model(COUNTS, family="quasi_poisson").fit()
    for name in ("loglik", "aic", "bic"):
        assert np.isnan(float(tree["fit_stats"][name]))
    assert "quasi family has no likelihood" in tree.attrs["warnings"]


def test_observed_information_that_is_not_positive_definite():
    """At β = 0 the likelihood of these rows is stationary and lowest, by symmetry."""
    y, offset = np.array([1.0, 1, 0, 0]), np.array([-5.0, -5, 5, 5])
    rows = model(y, np.array([1.0, -1, 1, -1]), family="binomial", link="cauchit", offset=offset)
    with refused(
        ConvergenceError, "observed information is not positive definite.*'expected'"
    ) as caught:
        rows.fit(information="observed", start=[0.0])
    error = caught.value
    assert error.state.shape == (1, 1) and error.state[0, 0] < 0


# ---- what was given is left alone ----------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_not_written_to(order):
    given = {
        "y": COUNTS + 1, "X": np.array(X, order=order), "weights": np.full(N, 2.0),
        "freq_weights": np.full(N, 3.0), "offset": np.full(N, 0.1), "exposure": np.full(N, 2.0),
    }  # fmt: skip
    before = {name: values.copy() for name, values in given.items()}
    for values in given.values():
        values.flags.writeable = False
    roles = {name: values for name, values in given.items() if name not in ("y", "X")}
    for family, link in (("poisson", "log"), ("gamma", "log"), ("poisson", "sqrt")):
        model(given["y"], given["X"], family=family, link=link, **roles).fit(information="observed")
    trials = np.full(N, 20.0)
    trials.flags.writeable = False
    model(given["y"], given["X"], family="binomial", trials=trials).fit()
    for name, values in given.items():
        np.testing.assert_array_equal(values, before[name])


def test_frames_are_not_written_to():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"y": COUNTS, "x": X1, "w": 1.0, "g": GROUP.astype(str)})
    before = frame.copy(deep=True)
    eg.GLM("y ~ x + g", frame, family="poisson", weights="w").fit()
    pandas.testing.assert_frame_equal(frame, before)


def test_warnings_of_a_fit_are_ours_or_none():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, y in GOOD.items():
            link = "log" if name in ("gamma", "inverse_gaussian") else None
            sound(model(y, family=family_of(name), link=link).fit())
    assert not caught


@pytest.mark.filterwarnings("ignore:.* clusters are few")
def test_dropped_rows_are_counted_and_named_in_the_result():
    y = [1.0, 2.0, np.nan, 4.0, 6.0, 5.0]
    data = {"y": y, "x": [0.0, 1.0, 2.0, np.nan, 4.0, 5.0], "g": list("aabbbc")}
    with pytest.raises(DataError, match=r"2 of 6 rows: 'y' \(row 2\), 'x' \(row 3\)"):
        eg.GLM("y ~ x", data, family="poisson")
    model = eg.GLM("y ~ x", data, family="poisson", missing="drop")
    tree = model.fit(cov=["HC0", "CR0"], groups="g")
    assert tree.attrs["rows_dropped"] == 2
    assert "2 of 6 rows had missing values and were dropped (row 2, 3)" in tree.attrs["warnings"]
    assert tree["constant_data"]["groups"].values.tolist() == ["a", "a", "b", "c"]
    kept = {name: [v for k, v in enumerate(values) if k not in (2, 3)]
            for name, values in data.items()}  # fmt: skip
    again = eg.GLM("y ~ x", kept, family="poisson").fit(cov="HC0")
    np.testing.assert_allclose(tree["fit"]["se"], again["fit"]["se"])


# ---- what is no formula, no column, no option ----------------------------------------------------

FRAME = {"y": COUNTS, "x": X1, "z": X1**2}


@pytest.mark.parametrize("formula", [5, None, b"y ~ x", ["y ~ x"]])
def test_what_is_no_text_is_no_formula(formula: Any) -> None:
    with refused(FormulaError, "a formula is text"):
        eg.GLM(formula, FRAME, family="poisson")


@pytest.mark.parametrize(
    "term",
    ["I(x*9**9**9)", "I(x*(1<<10**9))", "I(x*(0 or 9)**(9**9))", "I([0]*10**10)", "I(-9**9**9.5)"],
)
def test_endless_constants_of_strangers_are_refused(term: str) -> None:
    with refused(FormulaError, "without bounds"):
        eg.GLM(f"y ~ x + {term}", FRAME, family="poisson", allow_code=False)


def test_powers_of_variables_and_small_constants_are_allowed() -> None:
    for term in ("I(x**2)", "I(x*2**10)", "I(x**(3**2))", "I(2*x)", "I(2.5**x)", "(x + z)**2"):
        eg.GLM(f"y ~ {term}", FRAME, family="poisson", allow_code=False)


@pytest.mark.parametrize("power", ["(x+z)**1000", "(x+z)^(21)", "(x+z+y)**20", "((x+z)**9)**20"])
def test_interactions_without_end_are_refused(power: str) -> None:
    with refused(FormulaError, "too many to multiply out"):
        eg.GLM(f"y ~ {power}", FRAME, family="poisson")


def test_columns_and_options_of_another_kind() -> None:
    sparse = coo_array(X1[:, None])
    with refused(DataError, "'x' is sparse"):
        eg.GLM("y ~ x", FRAME | {"x": sparse}, family="poisson")
    if np.finfo(np.longdouble).max > np.finfo(float).max:
        big = X1.astype(np.longdouble)
        big[3] = np.longdouble("1e1000")
        with refused(DataError, "'x' holds numbers beyond the range of doubles .row 3"):
            eg.GLM("y ~ x", FRAME | {"x": big}, family="poisson")
        with refused(DataError, "beyond the range"):
            model(design=big[:, None])
    with refused(ArgumentError, "cov=5"):
        model().fit(cov=5)  # type: ignore[arg-type]
    with refused(ArgumentError, "cov=5"):
        model().gee(GROUP, cov=5)  # type: ignore[arg-type]
    for tiny in (1e-300, 1e300):
        with refused(ArgumentError, "positive number, from 1e-100"):
            model().fit(penalty=tiny)
    with refused(ArgumentError, "no memory holds"):
        model().fit(draws=10**12)
    tree = eg.GLM("y ~ x", FRAME, family="poisson").fit()
    with refused(ArgumentError, "is empty"):
        eg.adjusted_predictions(tree, {"x": []})


def test_names_in_two_unicode_normalisations() -> None:
    data = {"y": COUNTS, "e\u0301": X1}
    for formula in ("y ~ \u00e9", "y ~ I(\u00e9 + 1)"):
        with refused(FormulaError, "Unicode normalisation"):
            eg.GLM(formula, data, family="poisson")
    with refused(DataError, "Unicode normalisation"):
        eg.GLM("y ~ 1", data, family="poisson", offset="\u00e9")
    composed = {"y": COUNTS, "\u00e9": X1}
    first, second = (
        eg.GLM(f"y ~ {name}", composed, family="poisson").fit(draws=10)["fit"]["beta"]
        for name in ("\u00e9", "e\u0301")  # as Python composes its own names
    )
    assert first.equals(second)
    with refused(FormulaError, "Unicode normalisation"):  # quoted names stay as they are
        eg.GLM("y ~ `e\u0301`", composed, family="poisson")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f.logpdf("a", mu=1.0), "y must hold real numbers; got 'a'"),
        (lambda f: f.logpdf(1j, mu=1.0), "y must hold real numbers"),
        (lambda f: f.logpdf([1, 2], mu=[1.0, 2.0, 3.0]), r"do not fit: y \(2,\), mu \(3,\)"),
        (lambda f: f.logpdf(np.nan, mu=2.0), "y must not be NaN; found row 0"),
        (lambda f: f.cdf("a", mu=2.0), "must hold real numbers"),
        (lambda f: f.cdf([1, 2], mu=[1.0, 2.0, 3.0]), "do not fit"),
        (lambda f: f.random(mu="a"), "mu must hold real numbers"),
        (lambda f: f.random(mu=1.0, size="a"), "size='a' does not hold"),
    ],
)
def test_functions_of_a_family_refuse_what_is_no_number(call, words):
    with pytest.raises(ExpfamError, match=words):
        call(eg.families.poisson)


def test_small_slips_get_the_right_hint() -> None:
    data = {"y": [1, 2, 4, 9], "x": [0.0, 1.0, 2.0, 3.0]}
    with pytest.raises(ArgumentError, match="perhaps 'HC0'"):
        eg.GLM("y ~ x", data, family="poisson").fit(cov="hc0")
    with pytest.raises(ExpfamError, match="'y ~ 1' for an intercept only"):
        eg.GLM("y", data, family="poisson")
    assert dir(eg) == sorted([*eg.__all__, "__version__"])


def test_true_and_false_are_no_numbers() -> None:
    model = eg.GLM("y ~ x", {"y": [1, 2, 1, 3, 2, 4], "x": np.arange(6.0)}, family="poisson")
    groups = [0, 0, 1, 1, 2, 2]
    for fit in (
        lambda: model.fit(max_iterations=True),
        lambda: model.gee(groups, max_iterations=True),
        lambda: model.gee(groups, correlation="exchangeable", alpha=True),
        lambda: model.gee(groups, phi=True),
    ):
        with pytest.raises(ArgumentError, match="=True must be a"):
            fit()


def test_words_that_are_bytes_are_shown_as_they_are() -> None:
    model = eg.GLM("y ~ 1", {"y": [1, 2, 1]}, family="poisson")
    for fit in (model.fit, lambda cov: model.gee([0, 1, 2], cov=cov)):
        with pytest.raises(ArgumentError, match=r"cov=b'HC0' is not known"):
            fit(cov=b"HC0")


def test_no_columns_and_new_whole_numbers_are_told() -> None:
    data = {"y": [1, 2, 1, 3, 2, 4], "k": [0, 1, 2, 0, 1, 2]}
    tree = eg.GLM("y ~ C(k)", data, family="poisson").fit(draws=10)
    with pytest.raises(ExpfamError, match="the data have no columns"):
        eg.predict(tree, {})
    with pytest.raises(DataError, match=r"levels \(0, 1, 2\): row 0: 3\.$"):
        eg.predict(tree, {"k": [3, 1]})


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ I(x^2)", r"Powers are written \*\*"),
        ("y ~ C(g, Treatment('Q'))", "names a level that is not there; the levels are b, c"),
        ("g ~ x", r"such as I\(g == 'c'\)"),
    ],
)
def test_mistakes_in_formulas_are_told_how_to_mend(formula: str, message: str) -> None:
    data = {"y": [1, 2, 3, 4], "x": [0.5, 1.0, 2.0, 4.0], "g": ["b", "c", "b", "c"]}
    with pytest.raises((FormulaError, DataError), match=message):
        eg.GLM(formula, data, family="poisson")


def test_words_that_are_no_names_lead_to_those_that_are() -> None:
    with pytest.raises(ArgumentError, match='"beetles": Flour beetles'):
        eg.load_data()
    model = eg.GLM("y ~ 1", {"y": [1, 2, 3]}, family="poisson")
    with pytest.raises(ArgumentError, match="cov='CR1S', groups="):
        model.fit(cov="cluster")


def test_whole_levels_are_shown_as_whole_numbers() -> None:
    data = {"y": [1, 2, 3, 4], "p": np.array([1, 2, 1, 2])}
    tree = eg.GLM("y ~ C(p)", data, family="poisson").fit(draws=10)
    with pytest.raises(DataError, match=r"row 1: 5\."):
        eg.predict(tree, {"p": np.array([1.0, 5.0])})
