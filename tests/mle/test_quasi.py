"""Quasi families from a variance function alone: fits against R, edges of the mean space."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

import expfam_glm as eg
from expfam_glm.errors import FitWarning
from tests.references import array, cases, data_of
from tests.tolerances import BETA_IN_SE, RELATIVE

VARIANCES = {
    "1": lambda mu: 1.0,
    "mu": lambda mu: mu,
    "mu**1.2": lambda mu: mu**1.2,
    "mu**1.5": lambda mu: mu**1.5,
    "mu**2": lambda mu: mu**2,
    "mu**3": lambda mu: mu**3,
    "mu*(1-mu)": lambda mu: mu * (1 - mu),
    "(mu*(1-mu))**2": lambda mu: (mu * (1 - mu)) ** 2,
}
CASES = {case["id"]: case for case in cases("quasi")}


def model_of(case) -> eg.GLM:
    family = eg.families.quasi(VARIANCES[case["variance"]], mean=getattr(eg, case["mean"]))
    return eg.GLM(
        case["formula"], data_of("quasi", case), family=family, link=case["link"],
        weights=case["weights"],
    )  # fmt: skip


def assert_estimates(tree, case):
    fit, stats = tree["fit"], tree["fit_stats"]
    se = array(case["se"])
    assert np.max(np.abs(fit["beta"].values - array(case["beta"])) / se) < BETA_IN_SE
    np.testing.assert_allclose(fit["se"].values, se, rtol=RELATIVE)
    assert float(fit["phi"]) == pytest.approx(case["phi"], rel=RELATIVE)
    assert float(stats["pearson_chi2"]) == pytest.approx(case["pearson_chi2"], rel=RELATIVE)


@pytest.mark.parametrize("name", [name for name in CASES if name != "wedderburn-edges"])
def test_fit_agrees_with_r(name):
    case = CASES[name]
    tree = model_of(case).fit(tol=1e-10)
    assert_estimates(tree, case)
    stats = tree["fit_stats"]
    assert float(stats["deviance"]) == pytest.approx(case["deviance"], rel=1e-10)
    assert float(stats["null_deviance"]) == pytest.approx(case["null_deviance"], rel=RELATIVE)
    assert np.isnan(stats["loglik"])
    assert "no likelihood" in tree.attrs["warnings"]


def test_responses_at_an_end_with_infinite_deviance_have_estimates():
    case = CASES["wedderburn-edges"]
    model = model_of(case)
    assert (model.problem.y == 0).any()
    with pytest.warns(FitWarning, match="the deviance is infinite: the variance function"):
        tree = model.fit(tol=1e-10)
    assert_estimates(tree, case)
    assert tree["fit_stats"]["deviance"] == np.inf
    assert "deviance is infinite" in tree.attrs["warnings"]


def test_a_variance_function_of_ones_own_against_statsmodels():
    """V = μ + μ²/3 is the negative binomial's, with a free dispersion."""
    data = eg.load_data("quine")
    family = eg.families.quasi(lambda mu: mu + mu**2 / 3)
    tree = eg.GLM("days ~ sex + age", data, family=family).fit(tol=1e-10)
    theirs = sm.GLM.from_formula(
        "days ~ sex + age", data, family=sm.families.NegativeBinomial(alpha=1 / 3)
    ).fit(scale="X2", tol=1e-14, maxiter=200)
    np.testing.assert_allclose(tree["fit"]["beta"].values, theirs.params, rtol=1e-8)
    np.testing.assert_allclose(tree["fit"]["se"].values, theirs.bse, rtol=1e-8)
    assert float(tree["fit_stats"]["deviance"]) == pytest.approx(theirs.deviance, rel=1e-10)


def test_canonical_link():
    family = eg.families.quasi(lambda mu: mu**1.5)
    data = eg.load_data("clotting")
    tree = eg.GLM("time ~ log(u) + lot", data, family=family, link=family.canonical_link).fit()
    theirs = sm.GLM.from_formula(
        "time ~ np.log(u) + lot", data,
        family=sm.families.Tweedie(var_power=1.5, link=sm.families.links.Power(-0.5)),
    ).fit(scale="X2", tol=1e-14, maxiter=200)  # fmt: skip
    expected = -2 * np.asarray(theirs.params)  # θ = −2/√μ
    np.testing.assert_allclose(tree["fit"]["beta"].values, expected, rtol=1e-7)
    np.testing.assert_allclose(tree["fit"]["se"].values, 2 * np.asarray(theirs.bse), rtol=1e-7)
