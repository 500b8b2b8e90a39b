"""What generalised estimating equations refuse, and what they warn of."""

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import (
    ArgumentError,
    ConvergenceError,
    CorrelationError,
    DataError,
    FitWarning,
    SeparationError,
)
from tests.gee.trial import FORMULA, fit_of, same, with_gaps


@pytest.fixture(scope="module")
def seizures():
    return with_gaps()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"groups": "clinic"}, DataError, "groups 'clinic' is not in the data"),
        ({"groups": np.ones(3)}, DataError, "3"),
        ({"groups": np.ones(228)}, DataError, "one cluster only"),
        ({"groups": np.arange(228)}, CorrelationError, "every cluster has one row only"),
        ({"time": "weeks", "correlation": "ar1"}, DataError, "time 'weeks' is not in the data"),
        ({"time": "treatment", "correlation": "ar1"}, DataError, "must hold numbers or dates"),
        ({"time": "age", "correlation": "ar1"}, DataError, r"occurs more than once in cluster"),
        ({"time": "age", "correlation": "unstructured"}, DataError, "occurs more than once"),
        ({"correlation": "toeplitz-ish"}, ArgumentError, "'exchangeable'"),
        ({"cov": "HC3"}, ArgumentError, "'robust', 'naive'"),
        ({"ddof": "n"}, ArgumentError, "'geepack'"),
        ({"phi": -1.0}, ArgumentError, "phi=-1"),
        ({"tol": 0.0}, ArgumentError, "tol=0"),
        ({"max_iterations": 0}, ArgumentError, "max_iterations=0"),
    ],
)
def test_bad_arguments(seizures, arguments, error, says):
    with pytest.raises(error, match=says):
        fit_of(seizures, **arguments)


def test_missing_clusters_and_times(seizures):
    holes = seizures.astype({"patient": float, "visit": float})
    holes.loc[[3, 8], "patient"] = np.nan
    with pytest.raises(DataError, match=r"'patient'.*row 3|patient.*\b3\b"):
        fit_of(holes)
    with pytest.raises(DataError, match="visit"):
        fit_of(seizures.assign(visit=seizures["visit"].where(seizures["visit"] < 4)), "ar1")


def test_dropped_rows_leave_no_order_to_count(seizures):
    data = seizures.assign(age=seizures["age"].where(seizures.index != 7))
    model = eg.GLM(FORMULA, data, family="poisson", missing="drop")
    with pytest.raises(ArgumentError, match=r"1 row\(s\) .* give time="):
        model.gee("patient", "ar1")
    same(model.gee("patient", "ar1", time="visit"), fit_of(data.drop(index=7), "ar1"))
    same(model.gee("patient"), fit_of(data.drop(index=7)))


def test_freq_weights_are_refused_with_a_reason(seizures):
    with pytest.raises(ArgumentError, match="which of them share a cluster"):
        fit_of(seizures.assign(f=2.0), roles={"freq_weights": "f"})


def test_an_exchangeable_correlation_below_its_bound():
    rng = np.random.default_rng(2)
    e = rng.normal(size=(40, 4))
    e -= e.mean(axis=1, keepdims=True) - 0.01 * rng.normal(size=(40, 1))
    y = np.append(e.reshape(-1), 0.1 * rng.normal(size=9)) + 5
    groups = np.append(np.repeat(np.arange(40), 4), np.full(9, 40))
    model = eg.GLM.from_arrays(y, np.ones((169, 1)), family="normal")
    with pytest.raises(CorrelationError, match=r"alpha = -0\.\d+.* up to 9 rows need -0.125 <"):
        model.gee(groups)


def test_an_unstructured_correlation_that_is_not_positive_definite():
    rng = np.random.default_rng(8)
    e = rng.normal(size=(60, 1)) * [[1.0, 1.2, 0.2]] + 0.1 * rng.normal(size=(60, 3))
    model = eg.GLM.from_arrays(e.reshape(-1) + 5, np.ones((180, 1)), family="normal")
    says = r"unstructured .* not positive definite: for clusters of 3 rows at times 0, 1, 2 .*alpha"
    with pytest.raises(CorrelationError, match=says):
        model.gee(np.repeat(np.arange(60), 3), "unstructured")


def test_an_ar1_correlation_that_would_reach_one():
    rng = np.random.default_rng(8)
    e = np.repeat(rng.normal(size=30), 4) * np.tile([0.5, 2, 2, 0.5], 30)
    model = eg.GLM.from_arrays(e + 5 + 1e-3 * rng.normal(size=120), np.ones((120, 1)),
                               family="normal")  # fmt: skip
    with pytest.raises(CorrelationError, match=r"AR\(1\)"):
        model.gee(np.repeat(np.arange(30), 4), "ar1", phi=1.0)


def test_times_that_no_cluster_shares(seizures):
    with pytest.raises(CorrelationError, match=r"no cluster has both times of"):
        fit_of(seizures.assign(when=np.arange(len(seizures))), "unstructured", time="when")
    odd = np.where(seizures["patient"] % 2 == 1, seizures["visit"], 10 + seizures["visit"])
    with pytest.raises(CorrelationError, match=r"of 16 of these pairs: \(1, 11\)"):
        fit_of(seizures.assign(when=odd), "unstructured", time="when")


def test_too_few_pairs_under_ddof_p(seizures):
    few = seizures[seizures["patient"].isin([1, 11, 12, 29, 30, 31])]
    few = few[(few["visit"] == 1) | (few["patient"] == 12)]
    model = eg.GLM("seizures ~ lbase + treatment + age", few, family="poisson")
    with pytest.raises(CorrelationError, match="less 4 coefficients"):
        model.gee("patient", "unstructured", time="visit", ddof="p")


def test_ar1_between_real_times_stops_at_zero_and_says_so():
    rng = np.random.default_rng(3)
    e = rng.normal(size=(50, 2))
    y = np.column_stack([e[:, 0], 0.5 * e[:, 1] - e[:, 0]]).reshape(-1) + 4
    model = eg.GLM.from_arrays(y, np.ones((100, 1)), family="normal")
    with pytest.warns(FitWarning, match="at its bound 0"):
        tree = model.gee(np.repeat(np.arange(50), 2), "ar1", time=np.tile([0.0, 0.5], 50))
    assert float(tree["fit"]["alpha"]) == 0
    assert "bound" in tree.attrs["warnings"]


def test_few_clusters_are_a_warning(seizures):
    few = seizures[seizures["patient"].isin([5, 11, 29, 30])]
    with pytest.warns(FitWarning, match="4 clusters .* rank is at most 3"):
        tree = fit_of(few, "independence", formula="seizures ~ lbase + age + visit")
    assert np.linalg.matrix_rank(tree["fit"]["covariance"][0].values, tol=1e-12) <= 3


def test_a_perfect_fit_is_refused():
    x = np.arange(12.0)
    model = eg.GLM.from_arrays(2 + 3 * x, np.column_stack([np.ones(12), x]), family="normal")
    with (
        pytest.warns(FitWarning, match="perfect"),
        pytest.raises(CorrelationError, match="perfect"),
    ):
        model.gee(np.repeat(np.arange(4), 3))


def test_too_many_coefficients():
    y = np.array([1.0, 2.0, 4.0, 3.0])
    model = eg.GLM.from_arrays(y, np.column_stack([np.ones(4), y**2, y**3, np.sqrt(y)]),
                               family="poisson", weights=np.ones(4))  # fmt: skip
    with pytest.raises(DataError, match="4 rows and 4 coefficients"):
        model.gee(np.array([0, 0, 1, 1]))


def test_separated_data_have_no_start():
    x = np.arange(-10, 10) + 0.5
    model = eg.GLM.from_arrays((x > 0).astype(float), np.column_stack([np.ones(20), x]),
                               family="binomial")  # fmt: skip
    with pytest.raises(SeparationError):
        model.gee(np.repeat(np.arange(5), 4))


def test_too_few_iterations(seizures):
    with pytest.raises(
        ConvergenceError, match=r"2 iterations.*beta = .*alpha = .*phi = "
    ) as caught:
        fit_of(seizures, "unstructured", max_iterations=2)
    assert caught.value.state.beta.shape == (5,)
    assert np.max(np.abs(caught.value.state.step)) > 1e-8
    assert "under independence" in str(caught.value)


def test_several_groupings_are_told_of_nested_ones() -> None:
    data = {"y": [1.0, 2, 3, 4], "centre": [1, 1, 2, 2], "id": [1, 2, 3, 4]}
    model = eg.GLM("y ~ 1", data, family="normal")
    with pytest.raises(ArgumentError, match=r"one grouping.*groups='centre'.*Nested\('id'\)"):
        model.gee(["centre", "id"], "exchangeable")


@pytest.mark.parametrize("given", ["name", "array"])
@pytest.mark.parametrize("role", ["groups", "time"])
def test_rows_without_a_cluster_are_dropped_with_the_others(given: str, role: str) -> None:
    rng = np.random.default_rng(0)
    x, where, when = rng.normal(size=60), np.repeat(np.arange(20.0), 3), np.tile(np.arange(3.0), 20)
    lost = np.zeros(60, bool)
    x[7], lost[[7, 20, 41]] = np.nan, True
    (where if role == "groups" else when)[[20, 41]] = np.nan
    data = {"y": rng.poisson(2, 60), "x": x, "where": where, "when": when}
    short = eg.GLM("y ~ center(x)", {k: v[~lost] for k, v in data.items()}, family="poisson")
    model = eg.GLM("y ~ center(x)", data, family="poisson", missing="drop")
    names = {"groups": "where", "time": "when"}
    own = names if given == "name" else {key: data[name] for key, name in names.items()}
    expected = short.gee(**names, correlation="ar1", draws=10)
    found = model.gee(**own, correlation="ar1", draws=10)
    np.testing.assert_allclose(found["fit"]["beta"], expected["fit"]["beta"], rtol=1e-12)
    assert "3 of 60 rows had missing values and were dropped (row 7, 20, 41)" in found.attrs[
        "warnings"]  # fmt: skip
    if role == "groups":
        for one in (model, model.compress()):
            clustered = one.fit(cov="CR1", groups=own["groups"], draws=10)
            assert float(clustered["fit_stats"]["n_observations"]) == 57
