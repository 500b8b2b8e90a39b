"""Small-sample covariances against geepack and clubSandwich, the normal model against nlme."""

import numpy as np
import pytest

import expfam_glm as eg
from tests.references import array, model_of, read
from tests.tolerances import RELATIVE

NAME = "gee_covariance"
# geepack's α stops where its own rule does.
FORMULA = 1e-7


def of(kind):
    return pytest.mark.parametrize("case", read(NAME)[kind], ids=lambda case: case["id"])


def close(found, expected, tolerance=RELATIVE):
    scale = np.sqrt(np.diag(expected))
    gap = np.abs(found - expected) / np.outer(scale, scale)
    assert np.max(gap) < tolerance


@pytest.mark.slow
@of("jackknife")
def test_jackknives_agree_with_geepack(case):
    """geepack takes the number of parameters of φ and α off K as well."""
    tree = model_of(NAME, case).gee(
        case["groups"], case["correlation"], ddof="geepack", tol=1e-11,
        cov=["jackknife", "jackknife-one-step"],
    )  # fmt: skip
    assert tree["fit"]["coef"].values.tolist() == case["coef"]
    K, p = case["clusters"], len(case["coef"])
    factor = (K - p) / (K - p - case["nuisance"])
    full, one_step = tree["fit"]["covariance"].values[:2]
    close(one_step, factor * array(case["one_step"]))
    close(full, factor * array(case["full"]), 1e-6)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["id"], marks=[pytest.mark.slow] * (case["data"] != "pigs"))
        for case in read(NAME)["formulas"]
    ],
)
def test_published_formulas_agree(case):
    """Written out in R, cluster by cluster, at geepack's estimates; the score test too."""
    names = {name: name.replace("_", "-") for name in case["covariances"]}
    tree = model_of(NAME, case).gee(
        case["groups"], case["correlation"], ddof="geepack", tol=1e-11, cov=[*names.values()],
        draws=10,
    )  # fmt: skip
    assert tree["fit"]["coef"].values.tolist() == case["coef"]
    for name, given in names.items():
        found = tree["fit"]["covariance"].sel(cov_type=given).values
        close(found, array(case["covariances"][name]), FORMULA)
    test = eg.hypotheses(tree, list(case["tested"]), test="score", cov_type="robust")
    assert test.statistic == pytest.approx(case["score"], rel=FORMULA)


@of("corrected")
def test_cr0_and_cr3_agree_with_clubsandwich(case):
    tree = model_of(NAME, case).gee(
        case["groups"], case["correlation"], alpha=case["alpha"] or None, tol=1e-11,
        cov=["robust", "mancl-derouen"],
    )  # fmt: skip
    se = tree["fit"]["se"].values
    # glm stops by its deviance
    assert np.max(np.abs(tree["fit"]["beta"].values - array(case["beta"])) / se) < 1e-6
    for found, name in zip(tree["fit"]["covariance"].values, ("CR0", "CR3"), strict=False):
        close(found, array(case[name]["covariance"]), 1e-6)


@of("corrected")
def test_satterthwaite_agrees_with_clubsandwich(case):
    for cov, name in (("robust", "CR0"), ("mancl-derouen", "CR3")):
        tree = model_of(NAME, case).gee(
            case["groups"], case["correlation"], alpha=case["alpha"] or None, cov=cov,
            df="satterthwaite", tol=1e-11,
        )  # fmt: skip
        np.testing.assert_allclose(tree["fit"]["df"], array(case[name]["df"]), rtol=1e-5)


@of("compound")
def test_the_normal_likelihood_under_compound_symmetry(case):
    """Balanced data: β̂ is the same for any α; α and φ of the likelihood differ by little."""
    tree = model_of(NAME, case).gee(case["groups"], "exchangeable", tol=1e-11)
    fit = tree["fit"]
    for method in ("ML", "REML"):
        np.testing.assert_allclose(fit["beta"], array(case[method]["beta"]), rtol=1e-7)
    assert float(fit["phi"]) == pytest.approx(case["REML"]["sigma2"], rel=0.03)
    assert float(fit["alpha"]) == pytest.approx(case["REML"]["alpha"], abs=0.05)
    held = model_of(NAME, case).gee(
        case["groups"], "exchangeable", alpha=case["ML"]["alpha"], phi=case["ML"]["sigma2"]
    )
    np.testing.assert_allclose(held["fit"]["beta"], array(case["ML"]["beta"]), rtol=1e-7)


@pytest.mark.parametrize("family", ["poisson", "normal"])
def test_independence_is_the_glm_with_clustered_errors(family):
    """B⁻¹CB⁻¹ from the likelihood fit's own β̂, by hand."""
    data = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase * treatment + age", data, family=family)
    mle = model.fit(tol=1e-12)
    gee = model.gee("patient", "independence", tol=1e-12)
    np.testing.assert_allclose(gee["fit"]["beta"], mle["fit"]["beta"], rtol=1e-10)
    X, y = model.problem.X, model.problem.y
    mu = np.exp(X @ mle["fit"]["beta"].values) if family == "poisson" else (
        X @ mle["fit"]["beta"].values
    )  # fmt: skip
    W = mu if family == "poisson" else np.ones_like(mu)
    M = np.linalg.inv((X * W[:, None]).T @ X)
    groups = data["patient"].to_numpy()
    u = np.stack([(X * (y - mu)[:, None])[groups == g].sum(axis=0) for g in np.unique(groups)])
    close(gee["fit"]["covariance"].values[0], M @ u.T @ u @ M, 1e-10)
