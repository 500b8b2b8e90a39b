"""Families and links in statsmodels' GLM and GEE: its results are ours, and its own families'."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import statsmodels.api as sm

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, MissingPackageError
from expfam_glm.mle.fit import fit
from expfam_glm.numerics.random import draw
from tests.declared import DECLARED, zero_truncated_poisson
from tests.problems import NAMES, problem

L = sm.families.links
OWN = {
    "normal": sm.families.Gaussian(),
    "normal-weighted": sm.families.Gaussian(),
    "normal-log": sm.families.Gaussian(L.Log()),
    "poisson": sm.families.Poisson(),
    "poisson-sqrt": sm.families.Poisson(L.Sqrt()),
    "poisson-exposure": sm.families.Poisson(),
    "binomial": sm.families.Binomial(),
    "binomial-probit": sm.families.Binomial(L.Probit()),
    "binomial-cloglog": sm.families.Binomial(L.CLogLog()),
    "gamma": sm.families.Gamma(L.InversePower()),
    "gamma-log": sm.families.Gamma(L.Log()),
    "inverse_gaussian": sm.families.InverseGaussian(),
    "inverse_gaussian-log": sm.families.InverseGaussian(L.Log()),
    "negative_binomial": sm.families.NegativeBinomial(alpha=0.8),
}
# They say so of the inverse and square-root links, which leave the mean space.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not respect the domain")
# Their stopping rule, on the deviance, leaves the estimate that far from the maximum.
CLOSE = {"rtol": 1e-7, "atol": 1e-9}


def hosted(name, family=None):
    """statsmodels' fit of a problem, by our family or another one."""
    p = problem(name)
    model = sm.GLM(
        p.y, p.X, family=family or p.family.to_statsmodels(p.link), offset=p.offset,
        var_weights=p.w,
    )  # fmt: skip
    return model.fit(tol=1e-14, maxiter=300, start_params=fit(p)["fit"]["beta"].values)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_glm_equals_ours(name):
    p = problem(name)
    tree, theirs = fit(p, tol=1e-10), hosted(name)
    stats = tree["fit_stats"]
    np.testing.assert_allclose(theirs.params, tree["fit"]["beta"].values, **CLOSE)
    np.testing.assert_allclose(theirs.bse, tree["fit"]["se"].values, **CLOSE)
    assert theirs.deviance == pytest.approx(float(stats["deviance"]), rel=1e-9)
    assert theirs.scale == pytest.approx(float(tree["fit"]["phi"]), rel=1e-7)
    assert theirs.null_deviance == pytest.approx(float(stats["null_deviance"]), rel=1e-7)
    if p.family.phi is not None:
        assert theirs.llf == pytest.approx(float(stats["loglik"]), rel=1e-10)
        assert theirs.aic == pytest.approx(float(stats["aic"]), rel=1e-10)
        return
    ml = float(fit(p, dispersion="ml")["fit"]["phi"])
    at_ml = theirs.family.loglike(p.y, theirs.mu, 1.0 if p.w is None else p.w, scale=ml)
    assert at_ml == pytest.approx(float(stats["loglik"]), rel=1e-9)


@pytest.mark.parametrize("name", OWN)
def test_glm_equals_their_own_family(name):
    ours, theirs = hosted(name), hosted(name, OWN[name])
    np.testing.assert_allclose(ours.params, theirs.params, **CLOSE)
    np.testing.assert_allclose(ours.bse, theirs.bse, **CLOSE)
    for part in ("deviance", "null_deviance", "pearson_chi2", "scale"):
        assert getattr(ours, part) == pytest.approx(getattr(theirs, part), rel=1e-7), part
    np.testing.assert_allclose(ours.resid_deviance, theirs.resid_deviance, rtol=1e-6, atol=1e-9)
    # theirs: the weighted inverse Gaussian and normal differ, the normal's is concentrated, and
    # weights of a binomial are no trials
    if name in ("poisson", "poisson-exposure", "negative_binomial", "gamma-log", "normal-log"):
        assert ours.llf == pytest.approx(theirs.llf, rel=1e-8)


@pytest.mark.parametrize("name", ["poisson", "gamma", "negative_binomial"])
def test_anscombe_residuals_equal_theirs(name):
    np.testing.assert_allclose(
        hosted(name).resid_anscombe_unscaled, hosted(name, OWN[name]).resid_anscombe_unscaled,
        rtol=1e-6, atol=1e-8,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OWN, *DECLARED])
def test_the_observed_information_equals_ours(name):
    theirs = hosted(name)
    ours = fit(problem(name), information="observed", tol=1e-10)
    covariance = np.linalg.inv(-theirs.model.hessian(theirs.params, scale=1.0, observed=True))
    a = float(ours["fit"]["phi"])
    np.testing.assert_allclose(
        np.sqrt(np.diag(covariance) * a), ours["fit"]["se"].values, rtol=1e-6
    )


def test_a_formula_a_summary_and_a_prediction():
    data = eg.load_data("quine")
    absent = data[data["days"] > 0]
    model = sm.GLM.from_formula(
        "days ~ ethnicity + sex", absent, family=zero_truncated_poisson.to_statsmodels()
    )
    theirs = model.fit(tol=1e-13)
    ours = eg.GLM("days ~ ethnicity + sex", absent, family=zero_truncated_poisson).fit()
    np.testing.assert_allclose(theirs.params, ours["fit"]["beta"].values, rtol=1e-8)
    text = str(theirs.summary())
    assert "zero_truncated_poisson" in text
    mean = theirs.predict(absent[:2])
    expected = zero_truncated_poisson.mean(model.exog[:2] @ theirs.params)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)


def test_exposure_under_our_log_link():
    doctors = eg.load_data("doctors")
    theirs = sm.GLM.from_formula(
        "deaths ~ smoker", doctors, family=eg.families.poisson.to_statsmodels(),
        exposure=doctors["person_years"],
    ).fit(tol=1e-13)  # fmt: skip
    ours = eg.GLM("deaths ~ smoker", doctors, family="poisson", exposure="person_years").fit()
    np.testing.assert_allclose(theirs.params, ours["fit"]["beta"].values, rtol=1e-8)


@pytest.mark.parametrize("name", ["gamma", "quasi"])
def test_gee_equals_ours(name):
    data = eg.load_data("seizures")
    family = eg.families.quasi(lambda mu: mu**1.5)
    if name == "gamma":
        data, family = data[data["seizures"] > 0], eg.families.gamma
    formula = "seizures ~ lbase + age"
    theirs = sm.GEE.from_formula(
        formula, "patient", data, family=family.to_statsmodels("log"),
        cov_struct=sm.cov_struct.Exchangeable(),
    ).fit(ctol=1e-12, maxiter=500)  # fmt: skip
    ours = eg.GLM(formula, data, family=family, link="log").gee("patient", ddof="p", tol=1e-12)
    np.testing.assert_allclose(theirs.params, ours["fit"]["beta"].values, rtol=1e-7)
    np.testing.assert_allclose(theirs.bse, ours["fit"]["se"].values, rtol=1e-6)
    assert theirs.scale == pytest.approx(float(ours["fit"]["phi"]), rel=1e-6)
    assert theirs.cov_struct.dep_params == pytest.approx(float(ours["fit"]["alpha"]), rel=1e-6)


def test_gee_of_a_declared_family_and_of_the_poisson():
    data = eg.load_data("quine")
    absent = data[data["days"] > 0]
    family = zero_truncated_poisson
    theirs = sm.GEE.from_formula(
        "days ~ sex", "age", absent, family=family.to_statsmodels(),
        cov_struct=sm.cov_struct.Independence(),
    ).fit(ctol=1e-12)  # fmt: skip
    ours = eg.GLM("days ~ sex", absent, family=family).gee("age", "independence")
    np.testing.assert_allclose(theirs.params, ours["fit"]["beta"].values, rtol=1e-7)
    np.testing.assert_allclose(theirs.bse, ours["fit"]["se"].values, rtol=1e-6)
    both = [
        sm.GEE.from_formula(
            "days ~ sex", "age", data, family=one, cov_struct=sm.cov_struct.Exchangeable()
        ).fit(ctol=1e-12)
        for one in (eg.families.poisson.to_statsmodels(), sm.families.Poisson())
    ]
    np.testing.assert_allclose(both[0].params, both[1].params, rtol=1e-8)
    np.testing.assert_allclose(both[0].bse, both[1].bse, rtol=1e-8)


def test_a_link_of_ones_own_passes():
    family = eg.families.binomial
    aranda = eg.Link("aranda", lambda mu: -2 * ((1 - mu) ** 0.5 - 1), domain=eg.UnitInterval)
    host = family.to_statsmodels(aranda).link
    mu = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(host.inverse(host(mu)), mu, rtol=1e-12)
    np.testing.assert_allclose(host.deriv(mu), (1 - mu) ** -0.5, rtol=1e-12)
    np.testing.assert_allclose(host.deriv2(mu), 0.5 * (1 - mu) ** -1.5, rtol=1e-12)
    np.testing.assert_allclose(host.inverse_deriv(host(mu)), (1 - mu) ** 0.5, rtol=1e-10)
    np.testing.assert_allclose(host.inverse_deriv2(host(mu)), -0.5, rtol=1e-8)


def test_a_known_dispersion_that_is_not_one():
    y = draw(eg.families.gamma, np.full(40, 3.0), 0.25, np.random.default_rng(3))
    known = eg.Family(
        "gamma_of_shape_4", eg.families.gamma.b, eg.families.gamma.c, support=eg.Positive,
        theta_domain=eg.Interval(None, 0), phi=0.25, link="log",
    )  # fmt: skip
    theirs = sm.GLM(y, np.ones(40), family=known.to_statsmodels()).fit(tol=1e-13)
    ours = eg.GLM.from_arrays(y, np.ones((40, 1)), family=known).fit()
    np.testing.assert_allclose(theirs.bse, ours["fit"]["se"].values, rtol=1e-8)
    assert theirs.llf == pytest.approx(float(ours["fit_stats"]["loglik"]), rel=1e-10)


def test_quasi_families_have_no_log_likelihood():
    data = eg.load_data("quine")
    family = eg.families.quasi(lambda mu: mu**1.5).to_statsmodels()
    theirs = sm.GLM.from_formula("days ~ sex", data, family=family).fit()
    assert np.isnan(theirs.llf)
    assert np.isfinite(theirs.bse).all()


@pytest.mark.slow
def test_pickling_a_fitted_model():
    theirs = hosted("continuous_bernoulli")
    copy = pickle.loads(pickle.dumps(theirs))
    np.testing.assert_array_equal(copy.fittedvalues, theirs.fittedvalues)
    assert copy.family.loglike(copy.model.endog, copy.mu) == theirs.llf


def test_an_unknown_shape_is_refused():
    family = eg.Family(
        "weighted", b=lambda theta, k: k * theta**2 / 2, c=None, support=eg.Real,
        shape={"k": eg.Positive}, link="identity",
    )  # fmt: skip
    with pytest.raises(ArgumentError, match=r"give a value to k of 'weighted' with family\.fix"):
        family.to_statsmodels()


@pytest.mark.parametrize(
    ("module", "method"), [("bambi", "to_bambi"), ("statsmodels", "to_statsmodels")]
)
def test_a_missing_package_is_named_with_its_extra(module, method, monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == module or name == f"expfam_glm.interop.{module}":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=rf"'{module}'.*expfam_glm\[{module}\]"):
        getattr(eg.families.poisson, method)()
