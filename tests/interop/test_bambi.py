"""Families in Bambi: the model that it builds has the declared likelihood, and samples."""

from __future__ import annotations

import warnings

import bambi as bmb
import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import ArgumentError
from expfam_glm.numerics.random import draw
from tests.declared import continuous_bernoulli, zero_truncated_poisson
from tests.tolerances import DEFAULT

# Bambi asks pandas for columns of objects and means strings too.
pytestmark = pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes")
N, GROUPS = 160, 8


def grouped(family, theta, phi=None):
    """Data drawn from a family with an intercept for each group."""
    rng = np.random.default_rng(11)
    x, g = rng.normal(size=N), np.repeat(np.arange(GROUPS), N // GROUPS)
    effect = 0.5 * rng.normal(size=GROUPS)
    y = draw(family, None, phi, rng, theta=theta(x) + effect[g])
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in g]})


def built(family, data, **keywords):
    model = bmb.Model("y ~ x + (1|g)", data, family=family, **keywords)
    model.build()
    return model


def point_of(model, seed=3):
    """A random point in the value space of the model."""
    rng = np.random.default_rng(seed)
    start = model.backend.model.initial_point()
    return {k: v + 0.1 * rng.normal(size=np.shape(v)) for k, v in start.items()}


def value_of(model, name, point):
    """A variable of the model at a point of the value space."""
    inner = model.backend.model
    (value,) = inner.replace_rvs_by_values([inner[name]])
    function = inner.compile_fn(
        value, mode="FAST_COMPILE", inputs=inner.value_vars, on_unused_input="ignore"
    )
    return function(point)


def likelihood_of(model, point):
    """log f(y) of the rows in the model that Bambi has built."""
    inner = model.backend.model
    logp = inner.logp(vars=[inner["y"]], sum=False)
    return inner.compile_fn(logp, mode="FAST_COMPILE")(point)[0]


def test_a_declared_family_has_its_density_there():
    data = grouped(zero_truncated_poisson, lambda x: 0.4 + 0.3 * x)
    data["y"] = data["y"].astype(int)
    model = built(zero_truncated_poisson.to_bambi(), data)
    point = point_of(model)
    mu = value_of(model, "mu", point)
    eta = (
        point["Intercept"] + point["x"] * (data["x"] - data["x"].mean())
        + np.repeat(point["1|g_offset"] * np.exp(point["1|g_sigma_log__"]), N // GROUPS)
    ).to_numpy()  # fmt: skip
    np.testing.assert_allclose(mu, zero_truncated_poisson.mean(eta), rtol=1e-9)
    rate = np.exp(eta)
    expected = stats.poisson.logpmf(data["y"], rate) - np.log(-np.expm1(-rate))
    np.testing.assert_allclose(likelihood_of(model, point), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "link", "theta"),
    [
        ("gamma", "log", lambda x: -np.exp(0.2 * x)),
        ("inverse_gaussian", "log", lambda x: -np.exp(0.2 * x)),
        ("hyperbolic_secant", None, lambda x: 0.4 * np.tanh(x)),
    ],
)
def test_a_free_dispersion_is_a_parameter(name, link, theta):
    family = getattr(eg.families, name)
    rng = np.random.default_rng(2)
    x = rng.normal(size=N)
    data = pd.DataFrame({"y": draw(family, None, 0.3, rng, theta=theta(x)), "x": x})
    data["g"] = [f"g{k % GROUPS}" for k in range(N)]
    model = built(family.to_bambi(link), data)
    point = point_of(model)
    mu, phi = value_of(model, "mu", point), np.exp(point["phi_log__"])
    expected = family.logpdf(data["y"].to_numpy(), mu, phi)
    np.testing.assert_allclose(likelihood_of(model, point), expected, rtol=DEFAULT)
    assert "phi ~ HalfCauchy" in str(model)


def test_gamma_is_bambis_own_gamma():
    rng = np.random.default_rng(2)
    x = rng.normal(size=N)
    data = pd.DataFrame({"y": rng.gamma(4, np.exp(x) / 4), "x": x, "g": ["a", "b"] * (N // 2)})
    ours = built(eg.families.gamma.to_bambi("log"), data)
    theirs = built("gamma", data, link="log")
    point = point_of(ours)
    swapped = {k: v for k, v in point.items() if k != "phi_log__"}
    swapped["alpha_log__"] = -point["phi_log__"]
    np.testing.assert_allclose(
        likelihood_of(ours, point), likelihood_of(theirs, swapped), rtol=1e-9
    )


def test_shape_parameters_and_links_of_ones_own():
    family = eg.Family(
        "negative_binomial_with_alpha",
        b=lambda theta, alpha: -pt.log1mexp(theta) / alpha,
        c=lambda y, a, alpha: (
            pt.gammaln((y + 1 / alpha) / a) - pt.gammaln(1 / (a * alpha)) - pt.gammaln(y / a + 1)
        ),
        support=eg.Integers(0, None),
        theta_domain=eg.Interval(None, 0),
        theta=lambda mu, alpha: -pt.log1p(1 / (alpha * mu)),
        phi=1.0,
        shape={"alpha": eg.Positive},
        link=eg.Link("square", lambda mu: mu**2, domain=eg.Positive),
    )
    host = family.to_bambi()
    assert host.link["mu"].name == "square"
    assert host.link["alpha"].name == "log"
    np.testing.assert_allclose(host.link["mu"].linkinv(np.array([4.0])), [2.0])
    data = pd.DataFrame({"y": [0, 3, 1, 7], "x": [1.0, 2, 3, 4], "g": list("aabb")})
    positive = bmb.Prior("HalfNormal", sigma=1)
    model = built(host, data, center_predictors=False, priors={"Intercept": positive})
    point = point_of(model)
    point["x"], point["Intercept_log__"] = np.array(0.3), np.array(1.0)
    point["1|g_offset"] = np.zeros(2)
    mu = np.sqrt(np.e + 0.3 * data["x"].to_numpy())
    alpha = np.exp(point["alpha_log__"])
    expected = stats.nbinom.logpmf(data["y"], 1 / alpha, 1 / (1 + alpha * mu))
    np.testing.assert_allclose(likelihood_of(model, point), expected, rtol=1e-8)


def test_links_that_bambi_shares_are_its_own():
    assert eg.families.poisson.to_bambi().link["mu"].name == "log"
    assert eg.families.binomial.to_bambi("cauchit").link["mu"].name == "cauchit"
    other = eg.Link("log", lambda mu: 2 * mu, domain=eg.Positive)
    host = eg.families.poisson.to_bambi(other).link["mu"]
    assert host.name == "log (expfam_glm)"
    assert float(host.linkinv(np.array(3.0))) == pytest.approx(1.5)


def test_what_has_no_density_or_no_default_prior_is_refused():
    with pytest.raises(ArgumentError, match="has no density, which a likelihood of Bambi needs"):
        eg.families.quasi_poisson.to_bambi()
    family = eg.Family(
        "odd", b=lambda theta, k: k * theta**2, c=lambda y, a, k: -(y**2), support=eg.Real,
        shape={"k": eg.Interval(1, None)}, link="identity",
    )  # fmt: skip
    with pytest.raises(ArgumentError, match=r"'k' of 'odd' lives on \(1, inf\)"):
        family.to_bambi()


@pytest.mark.slow
def test_a_declared_family_with_group_effects_is_fitted():
    data = grouped(continuous_bernoulli, lambda x: 0.3 + 1.5 * x)
    model = bmb.Model("y ~ x + (1|g)", data, family=continuous_bernoulli.to_bambi())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Bambi and its sampler
        tree = model.fit(
            draws=200, tune=300, chains=2, random_seed=1, progressbar=False, cores=1,
        )  # fmt: skip
        model.predict(tree, kind="response", random_seed=1)
        model.compute_log_likelihood(tree)
    slope = tree["posterior"]["x"].values
    assert abs(slope.mean() - 1.5) < 4 * slope.std()
    predicted = tree["posterior_predictive"]["y"]
    assert predicted.shape == (2, 200, N)
    assert ((predicted > 0) & (predicted < 1)).all()
    spread = predicted.mean(("chain", "draw")).values
    assert np.corrcoef(spread, data["y"])[0, 1] > 0.3
    mu = tree["posterior"]["mu"].isel(chain=0, draw=0).values
    np.testing.assert_allclose(
        tree["log_likelihood"]["y"].isel(chain=0, draw=0).values,
        continuous_bernoulli.logpdf(data["y"].to_numpy(), mu), rtol=1e-8, atol=1e-10,
    )  # fmt: skip
