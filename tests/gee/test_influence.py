"""Influence of clusters."""

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import AliasWarning
from tests.gee import dense
from tests.gee.test_dense import clustered
from tests.gee.trial import FORMULA, with_gaps


def test_literal_formulas():
    data = clustered(4, "poisson", "log")
    glm = eg.GLM.from_arrays(data["y"], data["X"], family="poisson", weights=data["w"])
    tree = glm.gee(data["groups"], "exchangeable", tol=1e-12)
    literal = dense.dense_gee(
        data["y"], data["X"], data["groups"], data["time"], ("poisson", "log"), "exchangeable",
        w=data["w"], start=tree["fit"]["beta"].values,
    )  # fmt: skip
    found = eg.influence(tree)
    B = np.linalg.inv(literal.naive)
    for part in literal.parts:
        own = part.D.T @ np.linalg.inv(part.V)
        gap = np.linalg.solve(B - own @ part.D, own @ part.S)
        one = found.sel(cluster=data["groups"][part.rows[0]])
        np.testing.assert_allclose(one["dfbeta"], gap, rtol=1e-8, atol=1e-12)
        assert float(one["cooks_distance"]) == pytest.approx(gap @ B @ gap / 4, rel=1e-8)
        assert float(one["leverage"]) == pytest.approx(np.trace(own @ part.D @ literal.naive))
        assert int(one["size"]) == part.rows.size
    assert float(found["leverage"].sum()) == pytest.approx(4)


def test_independence_with_single_rows_is_the_hat_matrix():
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(30), rng.normal(size=30)])
    y = X @ [1.0, 2.0] + rng.normal(size=30)
    glm = eg.GLM.from_arrays(y, X, family="normal")
    found = eg.influence(glm.gee(np.arange(30), "independence"))
    H = X @ np.linalg.inv(X.T @ X) @ X.T
    np.testing.assert_allclose(found["leverage"], np.diag(H), rtol=1e-10)
    for k in (0, 7, 29):
        without = np.linalg.lstsq(np.delete(X, k, 0), np.delete(y, k), rcond=None)[0]
        full = np.linalg.lstsq(X, y, rcond=None)[0]
        np.testing.assert_allclose(found["dfbeta"][k], full - without, rtol=1e-8)


def test_dfbeta_is_near_a_fit_without_the_cluster():
    data = with_gaps()
    model = eg.GLM(FORMULA, data, family="poisson")
    tree = model.gee("patient", "ar1", time="visit")
    found = eg.influence(tree)
    without = eg.GLM(FORMULA, data[data["patient"] != 49], family="poisson").gee(
        "patient", "ar1", time="visit"
    )
    gap = tree["fit"]["beta"].values - without["fit"]["beta"].values
    scale = np.abs(gap).max()
    assert np.max(np.abs(found["dfbeta"].sel(cluster=49).values - gap)) < 0.15 * scale


def test_aliased_coefficients_have_no_influence():
    data = with_gaps().assign(twice=lambda d: 2 * d["age"])
    model = eg.GLM(FORMULA + " + twice", data, family="poisson")
    with pytest.warns(AliasWarning):
        tree = model.gee("patient")
    found = eg.influence(tree)
    assert "twice" not in found["coef"].values
    plain = eg.GLM(FORMULA, data, family="poisson")
    expected = eg.influence(plain.gee("patient"))
    np.testing.assert_allclose(found["cooks_distance"], expected["cooks_distance"], rtol=1e-6)


def test_refits_leave_each_cluster_out():
    data = with_gaps()
    model = eg.GLM(FORMULA, data, family="poisson")
    tree = model.gee("patient", "exchangeable", cov=["robust", "jackknife"], tol=1e-11)
    found = eg.influence(tree, refit=True)
    gaps = found["dfbeta"].values
    jackknife = (found.sizes["cluster"] - 5) / found.sizes["cluster"] * gaps.T @ gaps
    np.testing.assert_allclose(
        jackknife, tree["fit"]["covariance"].sel(cov_type="jackknife").values, rtol=1e-6
    )
    without = eg.GLM(FORMULA, data[data["patient"] != 49], family="poisson").gee(
        "patient", "exchangeable", tol=1e-11
    )
    gap = tree["fit"]["beta"].values - without["fit"]["beta"].values
    np.testing.assert_allclose(found["dfbeta"].sel(cluster=49), gap, rtol=1e-7)
    np.testing.assert_allclose(
        found["dfbetas"].sel(cluster=49), gap / tree["fit"]["se"].values, rtol=1e-7
    )
    V = tree["fit"]["covariance"].sel(cov_type="naive").values
    assert float(found["cooks_distance"].sel(cluster=49)) == pytest.approx(
        gap @ np.linalg.inv(V) @ gap / 5, rel=1e-6
    )
