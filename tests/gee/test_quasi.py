"""Generalised estimating equations of quasi families, against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

import expfam_glm as eg


@pytest.mark.parametrize("power", [1.5, 2.0])
def test_gee_of_a_power_variance_agrees_with_statsmodels(power):
    data = eg.load_data("seizures")
    family = eg.families.quasi(lambda mu: mu**power)
    formula = "seizures ~ lbase + treatment + age"
    ours = eg.GLM(formula, data, family=family).gee(groups="patient", ddof="p", tol=1e-12)
    theirs = sm.GEE.from_formula(
        formula, "patient", data,
        family=sm.families.Tweedie(var_power=power),
        cov_struct=sm.cov_struct.Exchangeable(),
    ).fit(ctol=1e-11, maxiter=500)  # fmt: skip
    names = [str(name).replace("[", "[T.") for name in ours["fit"]["coef"].values]
    np.testing.assert_allclose(ours["fit"]["beta"].values, theirs.params[names], rtol=1e-7)
    np.testing.assert_allclose(ours["fit"]["se"].values, theirs.bse[names], rtol=1e-6)
    assert float(ours["fit"]["alpha"]) == pytest.approx(theirs.cov_struct.dep_params, rel=1e-6)
    assert float(ours["fit"]["phi"]) == pytest.approx(theirs.scale, rel=1e-6)


def test_gee_of_the_secant_under_independence_is_its_likelihood_fit():
    model = eg.GLM("seizures ~ lbase + age", eg.load_data("seizures"), family="hyperbolic_secant")
    gee = model.gee(groups="patient", correlation="independence")
    np.testing.assert_allclose(
        gee["fit"]["beta"].values, model.fit()["fit"]["beta"].values, rtol=1e-6
    )
