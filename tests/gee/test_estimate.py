"""From a model to the result tree: what must not change it, what must, and what is refused."""

import arviz as az
import numpy as np
import pandas as pd
import pytest

import expfam_glm as eg
from expfam_glm.errors import (
    AliasWarning,
    ArgumentError,
    ConvergenceError,
    CorrelationError,
    DataError,
    FitWarning,
    SeparationError,
)
from tests.tolerances import DEFAULT

ALL = ["independence", "exchangeable", "ar1", "unstructured"]
FORMULA = "seizures ~ lbase * treatment + age"


@pytest.fixture(scope="module")
def seizures():
    """Clusters of one to four visits: some rows of the trial are left out."""
    data = eg.load_data("seizures")
    return data.drop(index=[1, 2, 3, 10, 40, 41, 77, 120]).reset_index(drop=True)


def fit_of(data, correlation="exchangeable", formula=FORMULA, family="poisson", roles=None, **more):
    more = {"groups": "patient", "time": "visit"} | more
    return eg.GLM(formula, data, family=family, **(roles or {})).gee(
        correlation=correlation, **more
    )


def same(one, other, tolerance=DEFAULT):
    """Whether two fits have the same estimates and covariances."""
    for name in ("beta", "se", "phi", "working_correlation", "covariance"):
        np.testing.assert_allclose(
            one["fit"][name].values, other["fit"][name].values, rtol=tolerance, atol=tolerance**1.5
        )


# ---- invariances ---------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", ALL)
def test_the_order_of_rows_and_the_names_of_clusters_do_not_matter(seizures, correlation):
    first = fit_of(seizures, correlation)
    order = np.random.default_rng(1).permutation(len(seizures))
    shuffled = seizures.iloc[order].assign(patient=lambda d: "né " + (1000 - d.patient).astype(str))
    same(first, fit_of(shuffled, correlation))


@pytest.mark.parametrize("correlation", ["ar1", "unstructured"])
def test_without_times_the_order_of_rows_in_a_cluster_counts(correlation):
    data = eg.load_data("seizures")
    mixed = data.sort_values(["visit", "treatment", "age"])
    given, counted = fit_of(data, correlation), fit_of(mixed, correlation, time=None)
    np.testing.assert_allclose(counted["fit"]["se"], given["fit"]["se"], rtol=DEFAULT)
    assert counted["fit"]["working_correlation"].coords["time"].values.tolist() == [0, 1, 2, 3]
    assert "time" not in counted["constant_data"]


@pytest.mark.parametrize("correlation", ALL)
def test_another_basis_of_the_design_gives_the_same_fit(seizures, correlation):
    model = eg.GLM(FORMULA, seizures, family="poisson").problem
    A = np.random.default_rng(3).normal(size=(5, 5)) + 2 * np.eye(5)
    y, groups, time = model.y, seizures["patient"], seizures["visit"]
    fits = [
        eg.GLM.from_arrays(y, X, family="poisson").gee(groups, correlation, time=time, tol=1e-11)
        for X in (model.X, model.X @ A)
    ]
    first, second = (fit["fit"] for fit in fits)
    np.testing.assert_allclose(A @ second["beta"].values, first["beta"].values, atol=1e-9)
    np.testing.assert_allclose(
        A @ second["covariance"].values @ A.T, first["covariance"].values, atol=1e-9
    )


@pytest.mark.parametrize("correlation", ALL)
def test_an_offset_is_a_coefficient_of_one(seizures, correlation):
    full = fit_of(seizures, correlation, phi=4.0, tol=1e-12)["fit"]
    data = seizures.assign(shift=float(full["beta"].sel(coef="age")) * seizures["age"])
    reduced = fit_of(data, correlation, formula="seizures ~ lbase * treatment", phi=4.0,
                     roles={"offset": "shift"}, tol=1e-12)["fit"]  # fmt: skip
    kept = reduced["coef"].values.tolist()
    np.testing.assert_allclose(reduced["beta"], full["beta"].sel(coef=kept), rtol=DEFAULT)
    np.testing.assert_allclose(reduced["working_correlation"], full["working_correlation"])


def test_trials_are_weights_on_proportions():
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.repeat(np.arange(30), 4), "x": rng.normal(size=120)})
    data["n"] = rng.integers(1, 9, 120)
    chance = 1 / (1 + np.exp(-data.x - rng.normal(size=30)[data.g]))
    data["s"] = rng.binomial(data.n, chance)
    data["share"] = data.s / data.n
    trials = eg.GLM("s ~ x", data, family="binomial", trials="n").gee("g")
    weights = eg.GLM("share ~ x", data, family="binomial", weights="n").gee("g")
    same(trials, weights, tolerance=1e-13)


def test_a_weight_of_zero_leaves_the_row_out(seizures):
    keep = np.ones(len(seizures))
    keep[[5, 6, 30]] = 0
    data = seizures.assign(keep=keep)
    for correlation in ALL:
        weighted = fit_of(data, correlation, roles={"weights": "keep"})
        same(weighted, fit_of(data[keep > 0], correlation), tolerance=1e-12)
        assert weighted["constant_data"].sizes["obs_id"] == len(seizures) - 3


def test_positions_count_rows_of_weight_zero(seizures):
    data = eg.load_data("seizures")
    keep = np.where(data["visit"] == 2, 0.0, 1.0)
    without_times = fit_of(data.assign(keep=keep), "ar1", time=None, roles={"weights": "keep"})
    same(without_times, fit_of(data[data["visit"] != 2], "ar1"), tolerance=1e-12)


def test_exposure_joins_the_offset(seizures):
    data = seizures.assign(t=2.0, log_t=np.log(2.0))
    exposed = fit_of(data, roles={"exposure": "t"})
    same(exposed, fit_of(data, roles={"offset": "log_t"}), tolerance=1e-13)


@pytest.mark.parametrize("correlation", ALL)
def test_a_family_and_its_quasi_family_agree(seizures, correlation):
    same(fit_of(seizures, correlation), fit_of(seizures, correlation, family="quasi_poisson"))


# ---- agreement with other roads --------------------------------------------------------------


def test_independence_is_the_glm(seizures):
    mle = eg.GLM(FORMULA, seizures, family="poisson").fit()
    gee = fit_of(seizures, "independence")
    np.testing.assert_allclose(gee["fit"]["beta"], mle["fit"]["beta"], rtol=1e-8)
    naive = gee["fit"]["covariance"].sel(cov_type="naive") / float(gee["fit"]["phi"])
    np.testing.assert_allclose(naive, mle["fit"]["covariance"][0], rtol=1e-7)
    for name in ("deviance", "pearson_chi2", "df_residual"):
        assert float(gee["fit_stats"][name]) == pytest.approx(float(mle["fit_stats"][name]))


@pytest.mark.parametrize("correlation", ["exchangeable", "independence"])
@pytest.mark.parametrize("family", ["Poisson", "Gaussian", "Gamma"])
def test_statsmodels_agrees_under_its_own_convention(seizures, family, correlation):
    import statsmodels.api as sm

    names = {"Poisson": ("poisson", "log"), "Gaussian": ("normal", "identity"),
             "Gamma": ("gamma", "log")}  # fmt: skip
    ours, link = names[family]
    data = seizures.assign(seizures=seizures["seizures"] + 0.5 * (family == "Gamma"))
    model = eg.GLM(FORMULA, data, family=ours, link=link)
    tree = model.gee("patient", correlation, ddof="p", tol=1e-11)
    structure = {"exchangeable": sm.cov_struct.Exchangeable,
                 "independence": sm.cov_struct.Independence}[correlation]()  # fmt: skip
    theirs = sm.GEE(
        model.problem.y, model.problem.X, groups=data["patient"].to_numpy(),
        family=getattr(sm.families, family)(getattr(sm.families.links, link.capitalize())()),
        cov_struct=structure,
    ).fit(scale="X2", ctol=1e-11, maxiter=500)  # fmt: skip
    se = tree["fit"]["se"].values
    assert np.max(np.abs(tree["fit"]["beta"].values - theirs.params) / se) < 1e-7
    np.testing.assert_allclose(se, theirs.bse, rtol=1e-6)
    np.testing.assert_allclose(tree["fit"]["covariance"][1], theirs.cov_naive, rtol=1e-6)
    assert float(tree["fit"]["phi"]) == pytest.approx(theirs.scale, rel=1e-7)
    if correlation == "exchangeable":
        assert float(tree["fit"]["alpha"]) == pytest.approx(structure.dep_params, abs=1e-7)


# ---- the tree ----------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", ALL)
def test_the_tree_holds_what_the_design_asks(seizures, correlation, tmp_path):
    tree = fit_of(seizures, correlation, ci_prob=0.9, chains=2, draws=50, random_seed=3)
    assert list(tree.children) == [
        "posterior", "fit", "fit_stats", "observed_data", "constant_data"
    ]  # fmt: skip
    assert tree["posterior"]["beta"].shape == (2, 50, 5)
    assert "phi" not in tree["posterior"]
    fit = tree["fit"]
    assert fit["cov_type"].values.tolist() == ["robust", "naive"]
    assert np.all(np.isinf(fit["df"]))
    np.testing.assert_allclose(fit["se"] ** 2, np.diagonal(fit["covariance"][0]), rtol=1e-12)
    assert ("alpha" in fit) == (correlation != "independence")
    R = fit["working_correlation"].values
    assert R.shape == (4, 4)
    np.testing.assert_array_equal(R, R.T)
    stats = {name: float(value) for name, value in tree["fit_stats"].data_vars.items()}
    assert stats["n_clusters"] == 59
    assert stats["max_cluster_size"] == 4
    assert stats["converged"] == 1
    assert stats["last_step"] < 1e-7
    attrs = tree.attrs
    assert attrs["correlation"] == correlation
    assert (attrs["groups"], attrs["time"], attrs["ddof"]) == ("patient", "visit", "none")
    assert tree["constant_data"]["groups"].values.tolist() == seizures["patient"].tolist()
    assert tree["constant_data"]["time"].values.tolist() == seizures["visit"].tolist()
    tree.to_netcdf(tmp_path / "gee.nc")
    again = az.from_netcdf(tmp_path / "gee.nc")
    assert again["fit"].to_dataset().identical(tree["fit"].to_dataset())


def test_the_chosen_covariance_comes_first(seizures):
    tree, robust = fit_of(seizures, cov="naive"), fit_of(seizures)
    assert tree["fit"]["cov_type"].values.tolist() == ["naive", "robust"]
    np.testing.assert_array_equal(
        tree["fit"]["covariance"].sel(cov_type="robust"), robust["fit"]["covariance"][0]
    )
    assert tree["fit"]["se"].values[0] != robust["fit"]["se"].values[0]


def test_named_occasions_and_dates_are_labels(seizures):
    names = np.array(["week 2", "week 4", "week 6", "week 8"])[seizures["visit"] - 1]
    tree = fit_of(seizures.assign(when=names), "unstructured", time="when")
    assert tree["fit"]["alpha"].coords["alpha_pair"].values[0] == "week 2, week 4"
    same(tree, fit_of(seizures, "unstructured"), tolerance=1e-12)
    dates = np.datetime64("2024-02-25") + 14 * seizures["visit"].to_numpy()
    dated = fit_of(seizures.assign(when=dates), "ar1", time="when")
    visits = fit_of(seizures, "ar1")
    assert float(dated["fit"]["alpha"]) ** 14 == pytest.approx(float(visits["fit"]["alpha"]))
    same(dated, visits)


def test_large_matrices_are_shown_in_part():
    rng = np.random.default_rng(5)
    X = np.ones((240, 1))
    model = eg.GLM.from_arrays(rng.normal(size=240) + 2, X, family="normal")
    groups = np.repeat(np.arange(3), 80)
    for correlation in ("exchangeable", "ar1", "independence"):
        assert model.gee(groups, correlation)["fit"]["working_correlation"].shape == (50, 50)


def test_collinear_columns_get_nan_and_are_named(seizures):
    data = seizures.assign(twice=2 * seizures["age"])
    with pytest.warns(AliasWarning, match="twice"):
        tree = fit_of(data, formula=FORMULA + " + twice")
    plain = fit_of(seizures)["fit"]
    labels = plain["coef"].values.tolist()
    assert np.isnan(tree["fit"]["beta"].sel(coef="twice"))
    assert np.isnan(tree["fit"]["se"].sel(coef="twice"))
    np.testing.assert_allclose(tree["fit"]["beta"].sel(coef=labels), plain["beta"], rtol=1e-8)
    assert "twice" in tree.attrs["warnings"]


# ---- what is refused ---------------------------------------------------------------------------


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
    assert caught.value.state.length > 1e-8
