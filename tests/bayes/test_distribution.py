"""Family.dist: the declared log-density and draws, as PyMC distributions and variables."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pymc.distributions.distribution import support_point
from pymc.logprob.utils import ParameterValueError
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.distribution import dist
from expfam_glm.bayes.membership import in_support
from expfam_glm.errors import ArgumentError, DataError
from expfam_glm.spec import families
from tests.declared import DECLARED, continuous_bernoulli, logarithmic, zero_truncated_poisson

QUICK = {"mode": "FAST_COMPILE"}
LOG_DENSITY = 1e-10  # relative: the same graph, evaluated by another compiler
LEAST_P = 1e-4  # of a goodness-of-fit test with a fixed seed

F = eg.families
nb = F.negative_binomial(alpha=0.7)
# family, responses, means, phi, weights
CASES: dict[str, tuple[Any, Any, Any, Any, Any]] = {
    "normal": (F.normal, [-3.0, 0.0, 1e4], [0.5, -2.0, 1e4 + 1], 0.3, [1.0, 2.0, 0.5]),
    "poisson": (F.poisson, [0.0, 3.0, 400.0], [1e-3, 2.5, 380.0], None, 1.0),
    "poisson rates": (F.poisson, [0.0, 0.75, 2.5], [0.2, 1.0, 3.0], None, 4.0),
    "binomial": (F.binomial, [0.0, 0.3, 1.0], [1e-6, 0.4, 0.999], None, 10.0),
    "bernoulli": (F.binomial, [0.0, 1.0, 1.0], [0.2, 0.3, 0.9], None, 1.0),
    "gamma": (F.gamma, [1e-3, 2.0, 50.0], [0.5, 2.0, 10.0], 0.7, [1.0, 2.0, 3.0]),
    "inverse_gaussian": (F.inverse_gaussian, [1e-2, 2.0, 50.0], [0.5, 2.0, 10.0], 0.7, 1.0),
    "negative_binomial": (nb, [0.0, 3.0, 40.0], [0.1, 2.5, 30.0], None, 1.0),
    "zero_truncated_poisson": (
        zero_truncated_poisson, [1.0, 3.0, 60.0], [1.01, 2.0, 50.0], None, 1.0),
    "logarithmic": (logarithmic, [1.0, 3.0, 60.0], [1.01, 2.0, 50.0], None, 1.0),
    "continuous_bernoulli": (continuous_bernoulli, [0.01, 0.5, 0.99], [0.1, 0.5, 0.9], None, 1.0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("by", ["mu", "theta"])
def test_log_density_is_the_family_s_own(name: str, by: str) -> None:
    family, y, mu, phi, weights = CASES[name]
    location = {by: mu if by == "mu" else family.theta_of(mu)}
    variable = dist(family, **location, phi=phi, weights=weights)
    found = pm.logp(variable, np.asarray(y)).eval(**QUICK)
    expected = family.logpdf(y, mu, phi, weights=weights)
    assert np.all(np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=LOG_DENSITY)


def test_log_density_takes_symbols() -> None:
    mu, phi, weight = pt.vector("mu"), pt.scalar("phi"), pt.vector("weight")
    logp = pm.logp(dist(F.gamma, mu=mu, phi=phi, weights=weight), np.array([1.0, 2.0]))
    point = {mu: np.array([1.5, 2.5]), phi: np.array(0.4), weight: np.array([1.0, 3.0])}
    expected = F.gamma.logpdf([1.0, 2.0], [1.5, 2.5], 0.4, weights=[1.0, 3.0])
    np.testing.assert_allclose(logp.eval(point, **QUICK), expected, rtol=LOG_DENSITY)


def test_a_shape_parameter_may_be_a_variable() -> None:
    family = families.negative_binomial()
    with pm.Model() as model:
        alpha = pm.Exponential("alpha", 1.0, default_transform=None)
        dist(family, "y", mu=2.0, alpha=alpha, observed=[0, 3])
    logp = model.compile_logp(vars=model.observed_RVs, **QUICK)
    expected = nb.logpdf([0, 3], 2.0).sum()
    np.testing.assert_allclose(logp({"alpha": np.array(0.7)}), expected, rtol=LOG_DENSITY)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_outside_the_support_the_log_density_is_minus_infinity(name: str) -> None:
    family, _, mu, phi, weights = CASES[name]
    weights = np.broadcast_to(weights, 3)
    y = np.array([-1.0, -0.5, 0.0, 0.1, 0.25, 0.5, 1.0, 1.3, 2.0, 7.0])
    for m, w in zip(mu, weights, strict=True):
        variable = dist(family, mu=np.full(y.size, m), phi=phi, weights=w)
        value = y.astype(int) if variable.dtype == "int64" else y
        inside = family.contains(value, w / float(family.a(phi or family.phi)))
        found = pm.logp(variable, value).eval(**QUICK)
        assert np.array_equal(np.isfinite(found), inside)
        assert np.all(np.isneginf(found[~inside]))


@pytest.mark.parametrize("name", ["poisson", "binomial", *DECLARED])
@pytest.mark.parametrize("r", [1.0, 4.0, 7.0])
def test_symbolic_support_is_that_of_the_family(name: str, r: float) -> None:
    family = CASES[name][0]
    y = np.concatenate([np.arange(-3, 12) / 4, np.arange(-3, 22) / 7, [0.3, np.pi]])
    symbol = pt.as_tensor(y)
    tests = in_support(family, symbol, pt.as_tensor(1 / r), False)
    found = np.ones(y.shape, bool)
    for test in tests:
        found &= test.eval(**QUICK)
    assert np.array_equal(found, family.contains(y, r))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: dist(F.poisson, mu=-1.0),
        lambda: dist(F.poisson, mu=0.0),
        lambda: dist(F.inverse_gaussian, mu=-2.0, phi=1.0),
        lambda: dist(F.gamma, mu=2.0, phi=-1.0),
        lambda: dist(F.gamma, theta=0.5, phi=1.0),
        lambda: dist(F.gamma, mu=2.0, phi=1.0, weights=0.0),
        lambda: dist(families.negative_binomial(), mu=2.0, alpha=-0.5),
        lambda: dist(zero_truncated_poisson, mu=0.5),
        lambda: dist(F.normal, mu=np.nan, phi=1.0),
    ],
)
def test_impossible_parameters_are_found_as_pymc_does(make: Any) -> None:
    with np.errstate(all="ignore"):
        variable = make()
        logp = pm.logp(variable, (variable.type.dtype == "int64" and 2) or 2.0)
        with pytest.raises(ParameterValueError):
            logp.eval(**QUICK)
        assert pm.compile([], logp, **QUICK)() == -np.inf


# ---- draws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal", "poisson", "gamma", *DECLARED])
def test_draws_follow_the_distribution(name: str) -> None:
    family, _, mu, phi, _ = CASES[name]
    y = pm.draw(dist(family, mu=mu[1], phi=phi, size=4000), random_seed=3, **QUICK)
    assert y.shape == (4000,)
    assert np.all(family.contains(y))
    sd = np.sqrt(float(family.variance(mu[1])) * float(family.a(phi or family.phi)))
    assert stats.norm.sf(abs(y.mean() - mu[1]) / sd * np.sqrt(y.size)) > LEAST_P / 2


def test_draws_have_the_shape_of_parameters_and_size() -> None:
    assert pm.draw(dist(F.poisson, mu=[1.0, 2.0, 3.0]), **QUICK).shape == (3,)
    assert pm.draw(dist(F.poisson, mu=[1.0, 2.0], shape=(4, 2)), 5, **QUICK).shape == (5, 4, 2)
    assert pm.draw(dist(F.gamma, mu=np.ones((2, 1)), phi=[1.0, 2.0]), **QUICK).shape == (2, 2)


def test_draws_differ_unless_the_seed_is_the_same() -> None:
    variable = dist(F.normal, mu=0.0, phi=1.0, size=3)
    first, again, other = (pm.draw(variable, 2, random_seed=s, **QUICK) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_integers_where_the_response_is_one() -> None:
    assert dist(F.poisson, mu=2.0).dtype == "int64"
    assert dist(F.poisson, mu=2.0, weights=3.0).dtype == "float64"
    assert dist(F.gamma, mu=2.0, phi=1.0).dtype == "float64"
    with pm.Model():
        assert dist(F.poisson, "a", mu=2.0, observed=np.array([1, 2])).dtype == "int64"
        assert dist(F.poisson, "b", mu=2.0, observed=np.array([1.0, 2.0])).dtype == "float64"


@pytest.mark.parametrize("name", CASES)
def test_the_support_point_is_possible(name: str) -> None:
    family, _, mu, phi, weights = CASES[name]
    variable = dist(family, mu=mu, phi=phi, weights=weights)
    r = np.asarray(weights) / float(family.a(phi or family.phi))
    assert np.all(family.contains(support_point(variable).eval(**QUICK), r))


# ---- in a model --------------------------------------------------------------------------------


def test_observed_in_a_model_with_prior_and_posterior_predictive() -> None:
    with pm.Model(coords={"row": range(3)}) as model:
        rate = pm.Exponential("rate", 1.0)
        F.poisson.dist("y", mu=rate * np.array([1.0, 2.0, 3.0]), observed=[1, 2, 5], dims="row")
    logp = model.compile_logp(vars=model.observed_RVs, **QUICK)
    expected = stats.poisson([1.5, 3.0, 4.5]).logpmf([1, 2, 5]).sum()
    np.testing.assert_allclose(logp({"rate_log__": np.log(1.5)}), expected, rtol=LOG_DENSITY)
    with model:
        prior = pm.sample_prior_predictive(200, random_seed=1, compile_kwargs=QUICK)
        assert prior["prior_predictive"]["y"].dims == ("chain", "draw", "row")
        later = pm.sample_posterior_predictive(
            prior["prior"], random_seed=1, progressbar=False, compile_kwargs=QUICK
        )
    y, rate_draws = later["posterior_predictive"]["y"], prior["prior"]["rate"]
    mean = rate_draws * y["row"].copy(data=[1, 2, 3])
    pull = (y - mean) / np.sqrt(mean)
    assert abs(float(pull.mean())) < 0.2


def test_a_free_variable_is_sampled_where_its_support_is_infinite() -> None:
    with pm.Model() as model:
        F.gamma.dist("g", mu=2.0, phi=0.5)
        continuous_bernoulli.dist("u", mu=0.3)
        F.normal.dist("x", mu=0.0, phi=1.0)
        eg.Family(
            "shifted", b=lambda t: -pt.log(-t), c=lambda y, a: -pt.log(a) / a
            + (1 / a - 1) * pt.log(y) - pt.gammaln(1 / a), support=eg.Positive,
            theta_domain=eg.Interval(None, 0), phi=1.0,
        ).dist("s", mu=1.0)  # fmt: skip
    names = {v.name for v in model.value_vars}
    assert names == {"g_log__", "u_logodds__", "x", "s_log__"}
    z = {"g_log__": 0.3, "u_logodds__": -0.4, "x": 0.7, "s_log__": 0.1}
    u = 1 / (1 + np.exp(0.4))
    jacobian = 0.3 + 0.1 + np.log(u) + np.log1p(-u)
    expected = (
        F.gamma.logpdf(np.exp(0.3), 2.0, 0.5)
        + continuous_bernoulli.logpdf(u, 0.3)
        + stats.norm.logpdf(0.7)
        + stats.expon.logpdf(np.exp(0.1))
        + jacobian
    )
    found = model.compile_logp(**QUICK)({k: np.array(v) for k, v in z.items()})
    np.testing.assert_allclose(found, expected, rtol=LOG_DENSITY)


def test_bounded_supports_get_an_interval_transform() -> None:
    family = eg.Family(
        "uniform_tilt",
        b=lambda t: pt.log(pt.sinh(t) / t), c=lambda y, a: -np.log(2.0) + 0.0 * y,
        support=eg.Interval(-1, 1), phi=1.0,
    )  # fmt: skip
    with pm.Model() as model:
        family.dist("v", mu=0.4)
    assert [v.name for v in model.value_vars] == ["v_interval__"]
    value = model.compile_logp(**QUICK)({"v_interval__": np.array(0.0)})
    expected = family.logpdf(0.0, 0.4) + np.log(2 * 0.25)
    np.testing.assert_allclose(value, expected, rtol=LOG_DENSITY)


def test_models_survive_pickling() -> None:
    with pm.Model() as model:
        rate = pm.Exponential("rate", 1.0)
        zero_truncated_poisson.dist("y", mu=1 + rate, observed=[1, 2, 5])
    point = {"rate_log__": np.array(0.2)}
    copy = pickle.loads(cloudpickle.dumps(model))
    assert copy.compile_logp(**QUICK)(point) == model.compile_logp(**QUICK)(point)
    variable = pickle.loads(pickle.dumps(dist(logarithmic, mu=3.0)))
    assert pm.logp(variable, 2).eval(**QUICK) == pytest.approx(logarithmic.logpdf(2, 3.0))


def test_missing_responses_are_pymc_s_to_impute() -> None:
    with pm.Model() as model, pytest.warns(pm.exceptions.ImputationWarning):
        F.normal.dist("y", mu=0.0, phi=1.0, observed=np.array([1.0, np.nan]))
    assert [v.name for v in model.free_RVs] == ["y_unobserved"]


@pytest.mark.slow
def test_numba_draws_without_a_warning() -> None:
    assert pm.draw(dist(zero_truncated_poisson, mu=[2.0, 3.0]), 4, random_seed=1).shape == (4, 2)


# ---- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "give one of mu="),
        ({"mu": 1.0, "theta": 1.0}, "give one of mu="),
        ({"mu": 1.0, "sigma": 2.0}, "'sigma' is no argument"),
        ({"mu": 1.0, "observed": [1]}, "needs the name"),
    ],
)
def test_arguments_that_make_no_sense(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        dist(F.poisson, **keywords)


def test_missing_parameters_are_named() -> None:
    with pytest.raises(ArgumentError, match="give phi="):
        dist(F.gamma, mu=1.0)
    with pytest.raises(ArgumentError, match="shape parameter alpha"):
        dist(families.negative_binomial(), mu=1.0)


def test_quasi_families_are_no_distribution() -> None:
    with pytest.raises(ArgumentError, match="declares no density"):
        dist(F.quasi_poisson, mu=1.0, phi=1.0)


def test_free_variables_on_fractions_are_refused() -> None:
    with pm.Model(), pytest.raises(ArgumentError, match="free variable on fractions"):
        dist(F.binomial, "y", mu=0.5, weights=10)


def test_impossible_observations_are_refused_with_their_rows() -> None:
    with pm.Model(), pytest.raises(DataError, match=r"y: 2 observed .* row 0: 3\.0"):
        dist(F.binomial, "y", mu=0.5, weights=10, observed=[3.0, 0.2, 7.0])
