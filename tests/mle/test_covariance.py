"""Robust covariances against R's sandwich, clubSandwich and survey, and against each other."""

import warnings

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DataError, FitWarning, RankError, ResultError
from expfam_glm.mle.fit import fit
from tests.declared import DECLARED
from tests.problems import problem
from tests.references import array, cases, model_of
from tests.tolerances import BETA_IN_SE, DEFAULT, RELATIVE

SEIZURES = "seizures ~ lbase * treatment + age"
QUICK = {"draws": 10, "chains": 2}


def covariance(tree, name):
    return tree["fit"]["covariance"].sel(cov_type=name).values


@pytest.mark.parametrize("case", cases("covariance"), ids=lambda case: case["id"])
def test_covariance_agrees_with_r(case):
    types = list(case["covariances"])
    options = {key: case[key] for key in ("time", "lags") if case[key] is not None}
    if case["groups"]:
        options["groups"] = case["groups"] if len(case["groups"]) > 1 else case["groups"][0]
    uses_groups = any(name.startswith("CR") or name == "HAC" for name in types)
    assert uses_groups or not case["groups"]
    with warnings.catch_warnings():
        # some cases have as many coefficients as clusters, on purpose
        warnings.filterwarnings("ignore", ".*(do not carry|is zero in some|are few)", FitWarning)
        tree = model_of("covariance", case).fit(cov=types, tol=1e-11, **options, **QUICK)
    fit = tree["fit"]
    assert fit["coef"].values.tolist() == case["coef"]
    assert fit["cov_type"].values.tolist() == types
    for name, expected in case["covariances"].items():
        V = array(expected)
        # a variance can be zero but for rounding: of the effects of the clusters themselves
        real = np.diag(V) > 1e-16 * np.diag(V).max()
        assert real[:2].all()
        V = V[np.ix_(real, real)]
        scale = np.sqrt(np.outer(np.diag(V), np.diag(V)))
        np.testing.assert_allclose(
            covariance(tree, name)[np.ix_(real, real)] / scale, V / scale, rtol=0, atol=RELATIVE,
            err_msg=name,
        )  # fmt: skip
    se = np.sqrt(np.diag(array(case["covariances"][types[0]])))
    assert np.max(np.abs(fit["beta"].values - array(case["beta"])) / se) < BETA_IN_SE
    np.testing.assert_allclose(fit["se"], se, rtol=RELATIVE)
    if case["df"] is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", ".*(do not carry|is zero in some|are few)", FitWarning
            )
            first = model_of("covariance", case).fit(cov="CR2", tol=1e-11, **options, **QUICK)
        df = first["fit"]["df"].values[real]
        np.testing.assert_allclose(df, array(case["df"])[real], rtol=RELATIVE)


def test_types_of_one_fit_differ_and_each_first_one_is_used():
    """HC1–HC3 are not HC0 under another name, and order tells which one the tests use."""
    model = eg.GLM(SEIZURES, eg.load_data("seizures"), family="poisson")
    types = ["HC0", "HC1", "HC2", "HC3", "fisher"]
    tree = model.fit(cov=types)
    spread = np.sqrt([covariance(tree, name)[1, 1] for name in types])
    assert len(set(spread.round(8))) == len(types)
    for name in types:
        first = model.fit(cov=[name, "fisher"] if name != "fisher" else "fisher")
        se = np.sqrt(np.diag(covariance(first, name)))
        np.testing.assert_allclose(first["fit"]["se"], se)
        np.testing.assert_allclose(first["fit"]["statistic"], first["fit"]["beta"] / se)
        draws = first["posterior"]["beta"].values.reshape(-1, se.size)
        np.testing.assert_allclose(draws.std(axis=0, ddof=1), se, rtol=DEFAULT)
        assert first.attrs["cov_type"] == name


@pytest.mark.parametrize("name", [*DECLARED, "negative_binomial", "gamma-log", "binomial-cloglog"])
def test_the_meat_is_that_of_the_log_density(name):
    """Scores by numerical differentiation of the log-density, for declared families too."""
    p = problem(name)
    tree = fit(p, cov=["HC0", "fisher"], dispersion=1.0 if p.family.phi is None else "pearson",
               tol=1e-11, **QUICK)  # fmt: skip
    beta = tree["fit"]["beta"].values
    w = np.ones(p.row_count) if p.w is None else p.w
    step = 1e-6 * np.sqrt(np.diag(covariance(tree, "fisher")))

    def rows(at):
        mu = p.link.inverse(p.X @ at + (0 if p.offset is None else p.offset))
        return p.family.logpdf(p.y, mu, 1.0, weights=w)

    scores = np.stack([(rows(beta + d) - rows(beta - d)) / (2 * d[j])
                       for j, d in enumerate(np.diag(step))], axis=1)  # fmt: skip
    bread = covariance(tree, "fisher")
    V = bread @ scores.T @ scores @ bread
    # central differences: half of the digits
    np.testing.assert_allclose(covariance(tree, "HC0"), V, rtol=1e-5, atol=1e-5 * V.max())


@pytest.mark.parametrize("cov", ["HC0", "HC1", "HC2", "HC3"])
def test_frequencies_are_repeated_rows(cov):
    data = eg.load_data("quine")
    f = np.arange(len(data)) % 3
    again = data.loc[np.repeat(data.index, f)]
    formula = "days ~ sex + age"
    weighted = eg.GLM(formula, data, family="quasi_poisson", freq_weights=f).fit(cov=cov)
    repeated = eg.GLM(formula, again, family="quasi_poisson").fit(cov=cov)
    np.testing.assert_allclose(weighted["fit"]["se"], repeated["fit"]["se"], rtol=DEFAULT)


@pytest.mark.parametrize("cov", ["CR0", "CR1", "CR1S", "CR2", "CR3"])
@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_frequencies_within_clusters_are_repeated_rows(cov, family):
    data = eg.load_data("seizures")
    data["seizures"] += 1  # gamma too
    f = np.arange(len(data)) % 3
    again = data.loc[np.repeat(data.index, f)]
    formula, options = "seizures ~ lbase + treatment", {"family": family, "link": "log"}
    weighted = eg.GLM(formula, data, freq_weights=f, **options).fit(cov=cov, groups="patient")
    repeated = eg.GLM(formula, again, **options).fit(cov=cov, groups="patient")
    for name in ("se", "df"):
        np.testing.assert_allclose(weighted["fit"][name], repeated["fit"][name], rtol=RELATIVE)


def test_clusters_of_one_row_are_rows():
    data = eg.load_data("quine")
    data["row"] = np.arange(len(data))
    model = eg.GLM("days ~ sex + age", data, family="poisson")
    tree = model.fit(cov=["CR0", "HC0", "CR3", "HC3", "CR1"], groups="row")
    n = len(data)
    np.testing.assert_allclose(covariance(tree, "CR0"), covariance(tree, "HC0"), rtol=DEFAULT)
    np.testing.assert_allclose(covariance(tree, "CR3"), covariance(tree, "HC3"), rtol=DEFAULT)
    rescaled = covariance(tree, "HC0") * n / (n - 1)
    np.testing.assert_allclose(covariance(tree, "CR1"), rescaled, rtol=DEFAULT)


def test_independence_gee_is_cr0():
    data = eg.load_data("seizures")
    model = eg.GLM(SEIZURES, data, family="poisson")
    gee = model.gee("patient", "independence")
    fit = model.fit(cov="CR0", groups="patient")
    np.testing.assert_allclose(fit["fit"]["se"], gee["fit"]["se"], rtol=RELATIVE)


def test_order_of_rows_and_names_of_clusters_do_not_matter():
    data = eg.load_data("seizures")
    mixed = data.sample(frac=1, random_state=3)
    mixed["patient"] = "p" + mixed["patient"].astype(str)
    types = ["CR2", "CR0", "CR3", "HC2", "HAC"]
    first, second = (
        eg.GLM(SEIZURES, d, family="poisson").fit(cov=types, groups="patient", time="visit")
        for d in (data, mixed)
    )
    np.testing.assert_allclose(first["fit"]["covariance"], second["fit"]["covariance"], rtol=1e-9)
    np.testing.assert_allclose(first["fit"]["df"], second["fit"]["df"], rtol=1e-9)


def test_another_basis_of_the_columns():
    """X → XA gives V → A⁻¹VA⁻ᵀ, whatever the meat; A brings scales from 10⁻⁸ to 10⁸."""
    data = eg.load_data("seizures")
    frame = eg.GLM(SEIZURES, data, family="poisson").problem.frame
    A = np.diag([1e8, 1.0, 1e-8, 1e4, 1e-4])
    types = ["HC0", "HC3", "CR1", "CR2", "CR3", "HAC"]
    groups = data["patient"].to_numpy()
    first, second = (
        eg.GLM.from_arrays(frame.y, X, family="poisson").fit(
            cov=types, groups=groups, time=data["visit"].to_numpy()
        )
        for X in (frame.X, frame.X @ A)
    )
    for name in types:
        V = A @ covariance(second, name) @ A.T
        np.testing.assert_allclose(V, covariance(first, name), rtol=1e-7, err_msg=name)


def test_observed_bread():
    """With another link than the canonical one the bread matters; Stata's choice is the other."""
    data = eg.load_data("leukaemia")
    model = eg.GLM("time ~ ag + log(wbc)", data, family="gamma", link="log")
    expected, observed = (model.fit(cov=["HC0", "fisher"], information=kind)
                          for kind in ("expected", "observed"))  # fmt: skip
    assert observed["fit"]["cov_type"].values.tolist() == ["HC0", "observed"]
    phi = float(expected["fit"]["phi"])
    bread_e = np.linalg.inv(covariance(expected, "fisher") / phi)
    bread_o = np.linalg.inv(covariance(observed, "observed") / phi)
    meat = bread_e @ covariance(expected, "HC0") @ bread_e
    V = np.linalg.inv(bread_o) @ meat @ np.linalg.inv(bread_o)
    np.testing.assert_allclose(covariance(observed, "HC0"), V, rtol=1e-7)


def test_sampling_weights():
    data = eg.load_data("seizures")
    data["pw"] = 1.0 + data["age"] / 10
    model, scaled = (
        eg.GLM(SEIZURES, data.assign(pw=data["pw"] * c), family="poisson", sampling_weights="pw")
        for c in (1, 7.5)
    )
    first, second = (m.fit(cov=["HC0", "CR2"], groups="patient") for m in (model, scaled))
    for name in ("beta", "covariance", "phi"):
        np.testing.assert_allclose(first["fit"][name], second["fit"][name], rtol=1e-9)
    assert model.fit()["fit"]["cov_type"].values.tolist() == ["HC0"]
    for name in ("loglik", "aic", "bic"):
        assert np.isnan(first["fit_stats"][name])
    assert "no likelihood" in first.attrs["warnings"]
    with pytest.raises(ArgumentError, match="sampling_weights"):
        model.fit(cov="fisher")
    with pytest.raises(ArgumentError, match="sampling_weights"):
        model.gee("patient")
    for road in (model.to_pymc, model.sample):
        with pytest.raises(ArgumentError, match="sampling_weights"):
            road()
    # y·w need not be whole: no density is asked for
    np.testing.assert_allclose(
        first["fit"]["beta"],
        eg.GLM(SEIZURES, data, family="quasi_poisson", weights="pw").fit()["fit"]["beta"],
        rtol=1e-9,
    )


def test_groups_and_time_stay_in_the_tree():
    data = eg.load_data("seizures")
    model = eg.GLM(SEIZURES, data, family="poisson")
    with pytest.warns(FitWarning, match="4 clusters of visit"):
        tree = model.fit(cov=["CR1", "CR0"], groups=["patient", "visit"])
    assert tree.attrs["groups"] == "patient, visit"
    assert np.array_equal(tree["constant_data"]["groups"], data["patient"])
    assert np.array_equal(tree["constant_data"]["groups2"], data["visit"])
    serial = model.fit(cov="HAC", groups="patient", time="visit", lags=1)
    assert serial.attrs["hac_lags"] == 1
    assert np.array_equal(serial["constant_data"]["time"], data["visit"])
    columns = [data["patient"].to_numpy(), data["visit"].to_numpy()]
    with pytest.warns(FitWarning, match="4 clusters do not"):
        by_array = model.fit(cov=["CR1"], groups=columns)
    np.testing.assert_array_equal(by_array["fit"]["se"], tree["fit"]["se"])


def test_hac_without_lags_is_hc0_and_its_default_bandwidth_is_stated():
    data = eg.load_data("quine")
    model = eg.GLM("days ~ sex + age", data, family="poisson")
    tree = model.fit(cov=["HAC", "HC0"], lags=0)
    np.testing.assert_allclose(covariance(tree, "HAC"), covariance(tree, "HC0"), rtol=DEFAULT)
    assert model.fit(cov="HAC").attrs["hac_lags"] == int(4 * (len(data) / 100) ** (2 / 9))


def test_refusals():
    data = eg.load_data("seizures")
    model = eg.GLM(SEIZURES, data, family="poisson")
    for options, message in (
        ({"cov": "HC4"}, "'HC4' is not known"),
        ({"cov": []}, "no covariance"),
        ({"cov": ["HC0", "HC0"]}, "twice"),
        ({"cov": "CR2"}, "needs groups="),
        ({"groups": "patient"}, "does not use it"),
        ({"cov": "HC0", "groups": "patient"}, "does not use it"),
        ({"cov": "CR0", "groups": "patient", "time": "visit"}, "only cov='HAC'"),
        ({"cov": "HC0", "lags": 2}, "only cov='HAC'"),
        ({"cov": "HAC", "lags": -1}, "whole number"),
        ({"cov": "CR2", "groups": ["patient", "visit"]}, "one grouping variable"),
    ):
        with pytest.raises(ArgumentError, match=message):
            model.fit(**options)
    with pytest.raises(DataError, match="'patients' is not in the data"):
        model.fit(cov="CR0", groups="patients")
    with pytest.raises(DataError, match="one cluster only"):
        model.fit(cov="CR0", groups=np.ones(len(data)))
    with pytest.raises(DataError, match="more than once"):
        model.fit(cov="HAC", time="visit")
    with pytest.raises(ArgumentError, match="freq_weights"):
        eg.GLM(SEIZURES, data, family="poisson", freq_weights="visit").fit(cov="HAC")


def test_a_row_that_determines_a_coefficient_has_no_hc3():
    data = {"y": [1.0, 2.5, 3.0, 4.5, 9.0], "x": [0.0, 1, 2, 3, 0], "alone": [0.0, 0, 0, 0, 1]}
    model = eg.GLM("y ~ x + alone", data, family="normal")
    for cov in ("HC2", "HC3"):
        with pytest.raises(RankError, match="row 4: "):
            model.fit(cov=cov)
    with pytest.raises(RankError, match="without the cluster b"):
        model.fit(cov="CR3", groups=np.array(["a", "a", "c", "d", "b"]))


def test_a_variance_of_zero_is_remarked():
    """The scores of a cluster's own effect sum to zero within the cluster."""
    data = {"y": [1.0, 2.5, 3, 4.5, 9, 2, 4, 4], "x": [0, 1] * 4, "g": list("aabbccdd")}
    with (
        pytest.warns(FitWarning, match="4 clusters of g do not carry"),
        pytest.warns(FitWarning, match="zero in some direction"),
    ):
        eg.GLM("y ~ x + g", data, family="normal").fit(cov="CR0", groups="g")


def test_a_coefficient_that_one_cluster_determines_is_named():
    """Beside the others: its scores sum to zero in every cluster, so that V I e = 0."""
    rng = np.random.default_rng(1)
    groups, x = np.repeat(np.arange(12), 4), rng.normal(size=48)
    data = {"y": rng.poisson(np.exp(0.5 + 0.3 * x)), "x": x, "alone": (groups == 3).astype(float)}
    model = eg.GLM("y ~ x + alone", data, family="poisson")
    for road in (
        lambda: model.fit(cov=["CR0", "fisher"], groups=groups),
        lambda: model.gee(groups, "exchangeable"),
    ):
        with pytest.warns(FitWarning, match="cancel along alone, as where one of them alone"):
            tree = road()
        V = tree["fit"]["covariance"].values
        direction = np.linalg.solve(V[1], [0.0, 0.0, 1.0])  # I e
        assert direction @ V[0] @ direction < 1e-9 * (direction @ V[1] @ direction)
        with pytest.raises(ResultError, match="zero in a direction that is tested"):
            eg.hypotheses(tree, direction[None] / np.abs(direction).max())
    with pytest.raises(RankError, match="without the cluster 3"):
        model.fit(cov="CR3", groups=groups)


def test_a_perfect_or_saturated_fit_has_no_robust_covariance():
    with pytest.warns(FitWarning, match="residuals vanish"):
        tree = eg.GLM("y ~ x", {"y": [1, 4], "x": [0, 1]}, family="poisson").fit(cov="HC1")
    assert np.isnan(tree["fit"]["se"]).all()
    with pytest.warns(FitWarning, match="perfect"):
        data = {"y": [1.0, 2, 3, 4], "x": [0, 1, 2, 3]}
        tree = eg.GLM("y ~ x", data, family="normal").fit(cov="HC3")
    assert np.isnan(tree["fit"]["se"]).all()


@pytest.mark.filterwarnings("ignore:.* clusters are few")  # numbers are compared, not trusted
def test_several_groupings_can_have_no_covariance():
    """A difference of covariances need not be one: it is refused, not drawn from."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(30):
        data = {"y": rng.poisson(3, 24), "x": rng.normal(size=24)}
        groups = [rng.integers(0, 8, 24), rng.integers(0, 8, 24)]
        model = eg.GLM("y ~ x", data, family="poisson")
        try:
            tree = model.fit(cov="CR0", groups=groups, **QUICK)
        except (RankError, ResultError) as error:
            found += 1
            assert "CR0" in str(error)
        else:
            assert np.isfinite(tree["fit"]["se"]).all()
    assert found


def test_a_declared_family_has_every_covariance():
    p = problem("zero_truncated_poisson")
    model = eg.GLM.from_arrays(p.y, p.X, family=p.family)
    types = ["CR2", "HC0", "HC1", "HC2", "HC3", "CR0", "CR1", "CR1S", "CR3", "HAC", "fisher"]
    tree = model.fit(cov=types, groups=np.repeat(np.arange(15), 4), time=np.tile(np.arange(4), 15))
    ratio = np.sqrt(tree["fit"]["covariance"].values[:, 1, 1]) / tree["fit"]["se"].values[1]
    assert np.all((0.5 < ratio) & (ratio < 2))
