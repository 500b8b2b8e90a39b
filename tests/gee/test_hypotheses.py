"""Wald and generalised score tests of linear hypotheses on trees of estimating equations."""

import numpy as np
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, RankError, ResultError
from tests.gee.trial import FORMULA, fit_of, with_gaps
from tests.references import model_of, read

L = np.array([[0.0, 0, 1, 0, 0], [0, 0, 0, 1, -1]])
NAME = "gee_covariance"


@pytest.fixture(scope="module")
def seizures():
    return with_gaps()


@pytest.fixture(scope="module")
def model(seizures):
    return eg.GLM(FORMULA, seizures, family="poisson")


@pytest.mark.parametrize("rhs", [[0.0, 0.0], [0.1, -0.05]])
@pytest.mark.parametrize("correlation", ["independence", "exchangeable"])
def test_statsmodels_agrees(model, seizures, correlation, rhs):
    """Its fit under a constraint; the working correlation is that of the restricted fit."""
    import statsmodels.api as sm

    tree = model.gee("patient", correlation, ddof="p", tol=1e-11)
    ours = eg.hypotheses(tree, L, rhs=rhs, test="score")
    structure = {"exchangeable": sm.cov_struct.Exchangeable,
                 "independence": sm.cov_struct.Independence}[correlation]()  # fmt: skip
    sm_model = sm.GEE(
        model.problem.y, model.problem.X, groups=seizures["patient"].to_numpy(),
        family=sm.families.Poisson(), cov_struct=structure, constraint=(L, np.array(rhs)),
    )  # fmt: skip
    sm_model.fit(scale="X2", ctol=1e-11, maxiter=500)
    theirs = sm_model.score_test_results
    # they count p coefficients in the moments of the restricted fit, we p − 2
    rel = 1e-6 if correlation == "independence" else 0.02
    assert ours.statistic == pytest.approx(theirs["statistic"], rel=rel)
    assert ours.df == theirs["df"] == 2
    assert ours.p_value == pytest.approx(theirs["p-value"], rel=3 * rel)
    wald = eg.hypotheses(tree, L, rhs=rhs)
    fit = tree["fit"]
    gap = L @ fit["beta"].values - rhs
    expected = gap @ np.linalg.inv(L @ fit["covariance"].values[0] @ L.T) @ gap
    assert wald.statistic == pytest.approx(expected, rel=1e-10)


def literal(y, X, groups, beta, alpha):
    """U, B and the meat with every V_k as a matrix; Poisson, log link, φ = 1."""
    p, mu = X.shape[1], np.exp(X @ beta)
    U, B, M = np.zeros(p), np.zeros((p, p)), np.zeros((p, p))
    for group in np.unique(groups):
        k = groups == group
        R = np.full((k.sum(),) * 2, alpha) + (1 - alpha) * np.eye(k.sum())
        V = R * np.sqrt(np.outer(mu[k], mu[k]))
        D = X[k] * mu[k][:, None]
        u = D.T @ np.linalg.solve(V, y[k] - mu[k])
        U, M, B = U + u, M + np.outer(u, u), B + D.T @ np.linalg.solve(V, D)
    return U, B, M


def test_the_score_statistics_are_literal_and_invariant(model, seizures):
    """α held: U, B and C under the hypothesis with every V_k as a matrix."""
    tree = model.gee("patient", "exchangeable", alpha=0.3)
    robust, naive = (
        eg.hypotheses(tree, "treatment[progabide]", test="score", cov_type=name).statistic
        for name in ("robust", "naive")
    )
    scaled = eg.hypotheses(tree, "-2 * treatment[progabide] = 0", test="score")
    assert scaled.statistic == pytest.approx(robust, rel=1e-9)
    y, X, groups = model.problem.y, model.problem.X, seizures["patient"].to_numpy()
    restricted = eg.GLM.from_arrays(y, np.delete(X, 2, axis=1), family="poisson")
    beta = np.insert(restricted.gee(groups, alpha=0.3, tol=1e-12)["fit"]["beta"].values, 2, 0.0)
    U, B, M = literal(y, X, groups, beta, 0.3)
    V = np.linalg.inv(B)
    step = (V @ U)[2]
    assert robust == pytest.approx(step**2 / (V @ M @ V)[2, 2], rel=1e-8)
    phi = float(tree["fit"]["phi"])
    assert naive == pytest.approx(step**2 / V[2, 2] / phi, rel=1e-8)


def test_under_independence_it_is_the_score_test_of_the_clustered_fit(seizures):
    model = eg.GLM(FORMULA, seizures, family="poisson")
    clustered = model.fit(cov="CR0", groups="patient", tol=1e-11)
    gee = model.gee("patient", "independence", tol=1e-11)
    text = "age = 0.02, lbase = 1"
    for test in ("wald", "score"):
        first, second = (eg.hypotheses(tree, text, test=test) for tree in (clustered, gee))
        assert first.statistic == pytest.approx(second.statistic, rel=1e-7)


def test_all_coefficients_at_once(model):
    tree = model.gee("patient", "ar1", time="visit")
    beta = tree["fit"]["beta"].values
    everything = eg.hypotheses(tree, np.eye(5), rhs=beta, test="score")
    assert everything.statistic == pytest.approx(0, abs=1e-10)
    assert everything.df == 5
    assert eg.hypotheses(tree, np.eye(5), rhs=beta).p_value == 1


def test_t_tests_become_f_tests(seizures):
    tree = fit_of(seizures, df="t")
    one = eg.hypotheses(tree, "treatment[progabide]")
    assert one.statistic == pytest.approx(float(tree["fit"]["statistic"][2]) ** 2)
    assert one.p_value == pytest.approx(float(tree["fit"]["p_value"][2]))
    assert (one.df, one.df_denominator) == (1, 54)


@pytest.mark.parametrize("case", read(NAME)["corrected"], ids=lambda case: case["id"])
@pytest.mark.parametrize(("cov", "name"), [("robust", "CR0"), ("mancl-derouen", "CR3")])
def test_satterthwaite_and_hotelling_agree_with_clubsandwich(case, cov, name):
    tree = model_of(NAME, case).gee(
        case["groups"], case["correlation"], alpha=case["alpha"] or None, cov=cov,
        df="satterthwaite", tol=1e-11, draws=50,
    )  # fmt: skip
    p = len(case["coef"])
    both = np.eye(p)[-2:]
    joint, equal = eg.hypotheses(tree, both), eg.hypotheses(tree, both[:1] - both[1:])
    np.testing.assert_allclose(joint.table["df"], case[name]["df"][-2:], rtol=1e-5)
    for found, expected in ((joint, case[name]["joint"]), (equal, case[name]["equal"])):
        assert found.df_denominator == pytest.approx(expected["df_denom"], rel=1e-5)
        assert found.statistic == pytest.approx(expected["Fstat"], rel=1e-5)
        assert found.p_value == pytest.approx(expected["p_val"], rel=1e-4)


@pytest.mark.parametrize(
    ("hypothesis", "error", "says"),
    [
        ([[1, 0]], ArgumentError, "one column for each of the 5"),
        ([[0, 0, 1, 0, 0], [0, 0, 2, 0, 0]], RankError, "follows from the earlier"),
        ([[0, 0, np.nan, 0, 0]], ArgumentError, "finite"),
        ([[0, 0, 0, 0, 0]], RankError, "says nothing"),
    ],
)
def test_hypotheses_that_make_no_sense(model, hypothesis, error, says):
    tree = model.gee("patient")
    for test in ("wald", "score"):
        with pytest.raises(error, match=says):
            eg.hypotheses(tree, hypothesis, test=test)


def halves(data):
    return data.assign(half=data["visit"] > 2)


def toeplitz(alpha, times):
    return np.where(np.subtract.outer(times, times) == 0, 1.0, alpha[0])


WORKING = {
    "m-dependent": eg.correlation.MDependent(1),
    "not stationary": eg.correlation.MDependent(2, stationary=False),
    "nested": eg.correlation.Nested("half"),
    "fixed": eg.correlation.Fixed(np.full((4, 4), 0.3) + 0.7 * np.eye(4), [1, 2, 3, 4]),
    "pattern": eg.correlation.Pattern([[0, "a", "b", "b"], ["a", 0, "a", "b"],
                                       ["b", "a", 0, "a"], ["b", "b", "a", 0]], [1, 2, 3, 4]),
    "custom": eg.correlation.Custom(toeplitz, [0.3], bounds=(0.0, 0.9)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WORKING))
def test_a_tree_from_a_file_recalls_its_clusters(seizures, tmp_path, name):
    """Working correlations with arguments: held by the tree, or asked for."""
    working = WORKING[name]
    tree = fit_of(halves(seizures), working, draws=50)
    tree.to_netcdf(tmp_path / "tree.nc")
    again = xr.open_datatree(tmp_path / "tree.nc")
    if name in ("fixed", "pattern", "custom"):
        with pytest.raises(ArgumentError, match=r"cannot hold; give the same value as corr"):
            eg.influence(again)
        more = {"correlation": working}
    else:
        more = {}
    found = eg.hypotheses(again, "age", test="score", **more)
    assert found.statistic == pytest.approx(
        eg.hypotheses(tree, "age", test="score", correlation=working).statistic, rel=1e-9
    )
    assert float(eg.influence(again, **more)["leverage"].sum()) == pytest.approx(5)
    with pytest.raises(ArgumentError, match="not with 'ar1'"):
        eg.association(again, correlation="ar1")


def test_positions_are_kept_where_rows_were_left_out(seizures):
    """Rows of weight zero have their place in a cluster, which the rest must not move into."""
    weights = np.where(seizures.index % 7 == 2, 0.0, 1.0)
    tree = eg.GLM(FORMULA, seizures, family="poisson", weights=weights).gee("patient", "ar1")
    score = eg.hypotheses(tree, "age = 0.02", test="score")
    beta = tree["fit"]["beta"].values
    null = eg.hypotheses(tree, np.eye(5), rhs=beta, test="score")
    assert null.statistic == pytest.approx(0, abs=1e-9)
    assert 0 < score.p_value < 1


def test_what_is_refused(model):
    tree = model.gee("patient", cov="pan")
    with pytest.raises(ArgumentError, match="has no pan covariance"):
        eg.hypotheses(tree, "age", test="score")
    with pytest.raises(ResultError, match="needs the likelihood"):
        eg.hypotheses(tree, "age", test="lr")
    fit = model.fit()
    with pytest.raises(ResultError, match=r"needs a tree of gee\(\)"):
        eg.association(fit)
    for call in (eg.influence, lambda t, **more: eg.hypotheses(t, "age", **more)):
        with pytest.raises(ArgumentError, match="is for trees of gee"):
            call(fit, correlation="ar1")
    with pytest.raises(ArgumentError, match="for single rows"):
        eg.influence(tree, residual="deviance")
