"""Quasi families from a variance function alone, against the families that have it."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytensor.tensor as pt
import pytest
import statsmodels.genmod.families as sm

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DeclarationError
from expfam_glm.spec import families
from tests.tolerances import ROUNDING

quasi = eg.families.quasi
POWERS = (0.5, 1.0, 1.2, 1.5, 1.9, 2.0, 3.0)
MEANS = np.array([1e-10, 1e-3, 0.4, 1.0, 30.0, 1e5, 1e12])


def power(p: float) -> eg.Family:
    return quasi(lambda mu: mu**p)


KNOWN = {
    "normal": quasi(lambda mu: 1.0, mean=eg.Real, link="identity"),
    "poisson": quasi(lambda mu: mu),
    "binomial": quasi(lambda mu: mu * (1 - mu), mean=eg.UnitInterval, link="logit"),
    "gamma": quasi(lambda mu: mu**2, link="inverse"),
    "inverse_gaussian": quasi(lambda mu: mu**3, link="inverse_squared"),
    "hyperbolic_secant": quasi(lambda mu: 1 + mu**2, mean=eg.Real, link="identity"),
}


def inside(name: str) -> np.ndarray:
    """Means and responses in the open mean space."""
    if name == "binomial":
        return np.array([1e-6, 0.02, 0.3, 0.5, 0.77, 0.999])
    wide = np.array([1e-4, 0.3, 1.0, 1.001, 8.0, 2e3])
    return np.concatenate([-wide[::-1], wide]) if KNOWN[name].support.low == -np.inf else wide


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_the_family_that_has_the_variance_function(name):
    ours, theirs = KNOWN[name], getattr(eg.families, name)
    mu = inside(name)
    first = mu[2]
    np.testing.assert_allclose(ours.variance(mu), theirs.variance(mu), rtol=1e-14)
    # θ is known up to a constant
    np.testing.assert_allclose(
        ours.theta_of(mu) - ours.theta_of(first), theirs.theta_of(mu) - theirs.theta_of(first),
        rtol=1e-11, atol=1e-13,
    )  # fmt: skip
    np.testing.assert_allclose(ours.mean(ours.theta_of(mu)), mu, rtol=1e-10)
    y, m = (a.ravel() for a in np.meshgrid(mu, mu))
    gap = np.abs(ours.deviance(y, m) - theirs.deviance(y, m))
    size = 1 + np.abs(y) * (np.abs(ours.theta_of(m)) + np.abs(ours.theta_of(first)))  # its terms
    assert np.all(gap <= 1e-11 * theirs.deviance(y, m) + 1e-13 * size)
    assert ours.is_quasi and ours.phi is None


@pytest.mark.parametrize("p", POWERS)
def test_power_variances_have_the_deviance_of_statsmodels(p):
    y, mu = (a.ravel() for a in np.meshgrid([1e-3, 0.9, 1.0, 7.0, 1e4], [1e-2, 0.5, 1.0, 30.0]))
    theirs = sm.Tweedie(var_power=p)._resid_dev(y, mu) if p > 0.5 else None
    if theirs is None:  # not offered there: the closed form
        theirs = 2 * (y ** (2 - p) / ((1 - p) * (2 - p)) - y * mu ** (1 - p) / (1 - p)
                      + mu ** (2 - p) / (2 - p))  # fmt: skip
    np.testing.assert_allclose(power(p).deviance(y, mu), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("p", POWERS)
def test_power_variances_over_a_wide_range(p):
    family = power(p)
    np.testing.assert_allclose(family.variance(MEANS), MEANS**p, rtol=1e-15)
    exact = np.log(MEANS) if p == 1 else MEANS ** (1 - p) / (1 - p)
    np.testing.assert_allclose(family.theta_of(MEANS), exact, rtol=ROUNDING)
    np.testing.assert_allclose(family.mean(exact), MEANS, rtol=1e-11)
    found = (family.theta_domain.low, family.theta_domain.high)
    assert found == (0.0 if p < 1 else -np.inf, np.inf if p <= 1 else 0.0)


@pytest.mark.parametrize("p", POWERS)
def test_a_response_at_the_end_of_the_mean_space(p):
    mu = np.array([0.01, 1.0, 50.0])
    exact = 2 * mu ** (2 - p) / (2 - p) if p < 2 else np.full(3, np.inf)
    np.testing.assert_allclose(power(p).deviance(0.0, mu), exact, rtol=1e-10)


def test_the_canonical_link_is_recognised_or_made():
    assert power(1.0).canonical_link.name == "log"
    assert power(0.5).canonical_link.name == "sqrt"
    link = power(1.5).canonical_link
    np.testing.assert_allclose(link(MEANS[2:6]), -2 / np.sqrt(MEANS[2:6]), rtol=ROUNDING)
    np.testing.assert_allclose(link.inverse(np.array([-8.0, -2.0, -0.1])), [1 / 16, 1, 400])


def test_a_variance_function_with_a_kink():
    family = quasi(lambda mu: pt.switch(mu < 2, mu, mu**2 / 2))
    exact = 2 * ((5 * np.log(2) - 1) + 2 * (5 * (0.5 - 0.2) - np.log(2.5)))
    assert family.deviance(5.0, 1.0) == pytest.approx(exact, rel=1e-11)


def test_pickling_gives_an_equal_family():
    family = power(1.5)
    copy = pickle.loads(pickle.dumps(family))
    assert copy == family and hash(copy) == hash(family)
    assert copy.deviance(3.0, 2.0) == family.deviance(3.0, 2.0)
    assert power(1.5) == family != power(1.6)


@pytest.mark.parametrize(
    ("variance", "keywords", "words"),
    [
        (lambda mu: mu - 1, {}, r"positive and finite on the mean space \(0, inf\); V\("),
        (lambda mu: -(mu**2), {}, r"variance function must be positive"),
        (lambda mu: mu * (1 - mu), {}, r"V\(1\) = 0"),
        (lambda mu: mu if mu > 1 else 1, {}, r"variance cannot be traced"),
        (lambda mu: mu, {"mean": "Positive"}, r"mean must be an interval"),
        (lambda mu: mu, {"mean": eg.Integers(0, None)}, r"mean must be an interval"),
        (1.5, {}, r"variance must be a function of mu"),
    ],
)
def test_bad_variance_functions_are_refused(variance, keywords, words):
    with pytest.raises(DeclarationError, match=words):
        quasi(variance, **keywords)


def test_the_name_alone_does_not_do():
    for word in ("quasi", eg.families.quasi):
        with pytest.raises(ArgumentError, match=re.escape("families.quasi(variance=…)")):
            families.named(word)
    with pytest.raises(ArgumentError, match="declares no density"):
        power(1.5).logpdf(1.0, 2.0, 1.0)
