"""QIC, QICu and CIC."""

import numpy as np
import pytest

import expfam_glm as eg


def criteria(tree):
    return {name: float(tree["fit_stats"][name]) for name in ("qic", "qicu", "cic")}


@pytest.fixture(scope="module")
def model():
    return eg.GLM("seizures ~ lbase * treatment + age", eg.load_data("seizures"), family="poisson")


def test_the_quasi_likelihood_is_the_integral(model):
    """statsmodels integrates (y − t)/V(t) from y to μ by a trapezium rule of 1000 points."""
    import statsmodels.api as sm

    tree = model.gee("patient", ddof="p", phi=4.0)
    theirs = sm.GEE(model.problem.y, model.problem.X, groups=tree["constant_data"]["groups"].values,
                    family=sm.families.Poisson()).fit()  # fmt: skip
    theirs.model.cached_means = None
    theirs.model.update_cached_means(tree["fit"]["beta"].values)
    _, _, qicu = theirs.model.qic(tree["fit"]["beta"].values, 4.0, np.eye(5))
    assert criteria(tree)["qicu"] == pytest.approx(qicu, rel=1e-3)
    deviance = float(tree["fit_stats"]["deviance"])
    assert criteria(tree)["qicu"] == pytest.approx(deviance / 4 + 2 * 5, rel=1e-12)


@pytest.mark.parametrize("correlation", ["independence", "exchangeable", "ar1"])
def test_the_penalty_compares_robust_with_independence(model, correlation):
    tree = model.gee("patient", correlation, time="visit", phi=4.0)
    X, beta = model.problem.X, tree["fit"]["beta"].values
    information = (X * np.exp(X @ beta)[:, None]).T @ X / 4.0
    found = criteria(tree)
    assert found["cic"] == pytest.approx(
        np.trace(information @ tree["fit"]["covariance"][0].values), rel=1e-10
    )
    assert found["qic"] - found["qicu"] == pytest.approx(2 * (found["cic"] - 5), rel=1e-9)


def test_when_the_model_is_right_the_penalty_counts_coefficients():
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(20_000), rng.normal(size=(20_000, 2))])
    y = rng.poisson(np.exp(X @ [0.2, 0.3, -0.2])).astype(float)
    tree = eg.GLM.from_arrays(y, X, family="poisson").gee(np.arange(20_000) // 4, "independence")
    assert criteria(tree)["cic"] == pytest.approx(3, rel=0.05)


def test_geepack_agrees_where_the_convention_is_the_same(model):
    """geepack 1.3.9, `QIC(geeglm(…))`: φ is left out of Q, the information is that of the fit under
    independence (so that CIC differs for AR(1)), and terms of Q in y alone are dropped."""
    independent, ar1 = (
        model.gee("patient", name, time="visit", ddof="geepack") for name in ("independence", "ar1")
    )
    assert criteria(independent)["cic"] == pytest.approx(9.88647376560656, rel=1e-9)
    gap = float(ar1["fit_stats"]["deviance"] - independent["fit_stats"]["deviance"])
    assert -gap / 2 == pytest.approx(2978.49443297173866 - 2979.46736079264747, abs=1e-8)


def test_rjc_is_zero_where_robust_and_naive_agree(model):
    tree = model.gee("patient", "exchangeable")
    robust, naive = tree["fit"]["covariance"].values
    values = np.linalg.eigvals(np.linalg.inv(naive) @ robust).real
    expected = np.hypot(1 - values.mean(), 1 - (values**2).mean())
    assert float(tree["fit_stats"]["rjc"]) == pytest.approx(expected, rel=1e-9)
