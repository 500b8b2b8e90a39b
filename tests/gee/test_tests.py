"""Wald and generalised score tests."""

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.gee.tests import score_test, wald_test
from tests.gee.trial import FORMULA, fit_of, with_gaps

L = np.array([[0.0, 0, 1, 0, 0], [0, 0, 0, 1, -1]])


@pytest.fixture(scope="module")
def seizures():
    return with_gaps()


@pytest.fixture(scope="module")
def model(seizures):
    return eg.GLM(FORMULA, seizures, family="poisson")


@pytest.mark.parametrize("c", [0.0, [0.1, -0.05]])
@pytest.mark.parametrize("correlation", ["independence", "exchangeable"])
def test_statsmodels_agrees(model, seizures, correlation, c):
    """Its fit under a constraint; the working correlation is that of the restricted fit."""
    import statsmodels.api as sm

    tree = model.gee("patient", correlation, ddof="p", tol=1e-11)
    ours = score_test(model.problem, tree, L, c, tol=1e-11)
    structure = {"exchangeable": sm.cov_struct.Exchangeable,
                 "independence": sm.cov_struct.Independence}[correlation]()  # fmt: skip
    target = np.broadcast_to(c, 2)
    sm_model = sm.GEE(
        model.problem.y, model.problem.X, groups=seizures["patient"].to_numpy(),
        family=sm.families.Poisson(), cov_struct=structure, constraint=(L, target),
    )  # fmt: skip
    sm_model.fit(scale="X2", ctol=1e-11, maxiter=500)
    theirs = sm_model.score_test_results
    # they count p coefficients in the moments of the restricted fit, we p − 2
    rel = 1e-6 if correlation == "independence" else 0.02
    assert ours.statistic == pytest.approx(theirs["statistic"], rel=rel)
    assert ours.df == theirs["df"] == 2
    assert ours.p_value == pytest.approx(theirs["p-value"], rel=3 * rel)
    wald = wald_test(tree, L, c)
    fit = tree["fit"]
    gap = L @ fit["beta"].values - target
    expected = gap @ np.linalg.inv(L @ fit["covariance"].values[0] @ L.T) @ gap
    assert wald.statistic == pytest.approx(expected, rel=1e-10)


def test_the_score_statistic_is_invariant_and_literal(model, seizures):
    """α held: U, B and C under the hypothesis with every V_k as a matrix."""
    tree = model.gee("patient", "exchangeable", alpha=0.3)
    ours = score_test(model.problem, tree, [0, 0, 1, 0, 0])
    twice = score_test(model.problem, tree, [0, 0, -2, 0, 0])
    assert twice.statistic == pytest.approx(ours.statistic, rel=1e-9)
    y, X, groups = model.problem.y, model.problem.X, seizures["patient"].to_numpy()
    restricted = eg.GLM.from_arrays(y, np.delete(X, 2, axis=1), family="poisson")
    beta = np.insert(restricted.gee(groups, alpha=0.3, tol=1e-12)["fit"]["beta"].values, 2, 0.0)
    mu = np.exp(X @ beta)
    B, C, U = np.zeros((5, 5)), np.zeros((5, 5)), np.zeros(5)
    for group in np.unique(groups):
        k = groups == group
        R = np.full((k.sum(),) * 2, 0.3) + 0.7 * np.eye(k.sum())
        V = R * np.sqrt(np.outer(mu[k], mu[k]))
        D = X[k] * mu[k][:, None]
        u = D.T @ np.linalg.solve(V, y[k] - mu[k])
        U, C, B = U + u, C + np.outer(u, u), B + D.T @ np.linalg.solve(V, D)
    M = np.linalg.inv(B)
    assert ours.statistic == pytest.approx((M @ U)[2] ** 2 / (M @ C @ M)[2, 2], rel=1e-8)


def test_all_coefficients_at_once(model):
    tree = model.gee("patient", "ar1", time="visit")
    everything = score_test(model.problem, tree, np.eye(5), tree["fit"]["beta"].values)
    assert everything.statistic == pytest.approx(0, abs=1e-10)
    assert everything.df == 5
    assert wald_test(tree, np.eye(5), tree["fit"]["beta"].values).p_value == 1


def test_t_tests_become_f_tests(seizures):
    tree = fit_of(seizures, df="t")
    one = wald_test(tree, [0, 0, 1, 0, 0])
    assert one.statistic == pytest.approx(float(tree["fit"]["statistic"][2]) ** 2)
    assert one.p_value == pytest.approx(float(tree["fit"]["p_value"][2]))
    assert (one.df, one.df_denominator) == (1, 54)
    satterthwaite = fit_of(seizures, df="satterthwaite")
    single = wald_test(satterthwaite, [0, 0, 1, 0, 0])
    assert single.p_value == pytest.approx(float(satterthwaite["fit"]["p_value"][2]))
    with pytest.raises(ArgumentError, match="belong to single coefficients"):
        wald_test(satterthwaite, L)


@pytest.mark.parametrize(
    ("hypothesis", "says"),
    [
        ([1, 0], "must have 5 columns"),
        ("treatment", "must be numbers"),
        ([[0, 0, 1, 0, 0], [0, 0, 2, 0, 0]], "linearly dependent"),
        ([0, 0, np.nan, 0, 0], "finite"),
        ([0, 0, 0, 0, 0], "linearly dependent"),
    ],
)
def test_hypotheses_that_make_no_sense(model, hypothesis, says):
    tree = model.gee("patient")
    for test in (wald_test, lambda tree, L: score_test(model.problem, tree, L)):
        with pytest.raises(ArgumentError, match=says):
            test(tree, hypothesis)


def test_what_a_tree_must_be(model, seizures):
    with pytest.raises(ResultError, match=r"result of gee\(\)"):
        score_test(model.problem, model.fit(), [0, 0, 1, 0, 0])
    tree = model.gee("patient", eg.correlation.MDependent(1), time="visit")
    with pytest.raises(ArgumentError, match="has arguments; give"):
        score_test(model.problem, tree, [0, 0, 1, 0, 0])
    given = eg.correlation.MDependent(1)
    assert score_test(model.problem, tree, [0, 0, 1, 0, 0], correlation=given).df == 1
    with pytest.raises(ArgumentError, match="not with 'ar1'"):
        score_test(model.problem, tree, [0, 0, 1, 0, 0], correlation="ar1")
    other = eg.GLM(FORMULA, seizures.drop(index=[0]), family="poisson")
    with pytest.raises(ResultError, match="belong to different data"):
        score_test(other.problem, tree, [0, 0, 1, 0, 0], correlation=given)
