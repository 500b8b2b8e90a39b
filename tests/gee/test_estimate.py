"""From a model to the result tree: what must not change it, and what it holds."""

import arviz as az
import numpy as np
import pandas as pd
import pytest

import expfam_glm as eg
from expfam_glm.errors import AliasWarning
from tests.gee.trial import ALL, FORMULA, fit_of, same, with_gaps
from tests.tolerances import DEFAULT


@pytest.fixture(scope="module")
def seizures():
    return with_gaps()


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


@pytest.mark.filterwarnings("ignore:.* clusters are few")  # numbers are compared, not trusted
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
