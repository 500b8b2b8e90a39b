"""Families that are not built in, declared by b, c and the support alone, against closed forms."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import cloudpickle
import mpmath as mp
import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.tensor.special import xlogy
from scipy import optimize, special, stats

import expfam_glm as eg
from tests import exact
from tests.declared import (
    DECLARED,
    continuous_bernoulli,
    counts_with_alpha,
    logarithmic,
    zero_truncated_poisson,
)
from tests.tolerances import DEFAULT, ROUNDING

EPS = np.finfo(float).eps
# BFGS on an explicit likelihood with differences for its gradient, in standard errors.
OPTIMISER = 1e-6


@dataclass(frozen=True)
class Closed:
    """What the textbooks say of a family, in mpmath as functions of θ, and its log-density."""

    family: eg.Family
    theta: np.ndarray
    mean: Callable
    variance: Callable
    logpdf: Callable  # of (y, θ), NumPy
    y: np.ndarray


def _rate_variance(theta):
    rate = mp.exp(theta)
    mean = rate / -mp.expm1(-rate)
    return mean * (1 + rate - mean)


def _logarithmic_mean(theta):
    p = mp.exp(theta)
    return -p / ((1 - p) * mp.log1p(-p))


def _logarithmic_variance(theta):
    p = mp.exp(theta)
    log = mp.log1p(-p)
    return -p * (p + log) / ((1 - p) ** 2 * log**2)


CLOSED = {
    "zero_truncated_poisson": Closed(
        zero_truncated_poisson,
        np.array([-20.0, -5, -1, 0, 0.7, 2, 4, 6]),
        lambda t: mp.exp(t) / -mp.expm1(-mp.exp(t)),
        _rate_variance,
        lambda y, t: stats.poisson.logpmf(y, np.exp(t)) - np.log(-np.expm1(-np.exp(t))),
        np.array([1.0, 2, 5, 30, 200]),
    ),
    "logarithmic": Closed(
        logarithmic,
        np.array([-20.0, -5, -1, -0.3, -0.05, -1e-3, -1e-6]),
        _logarithmic_mean,
        _logarithmic_variance,
        lambda y, t: y * t - np.log(y) - np.log(-np.log1p(-np.exp(t))),
        np.array([1.0, 2, 5, 30, 200]),
    ),
    "continuous_bernoulli": Closed(
        continuous_bernoulli,
        np.array([-50.0, -5, -1, -0.011, -0.009, -1e-8, 1e-5, 0.02, 1, 5, 50]),
        lambda t: 1 / -mp.expm1(-t) - 1 / t,
        lambda t: 1 / t**2 - 1 / (4 * mp.sinh(t / 2) ** 2),
        # C(λ) λ^y (1 − λ)^(1 − y) with λ = σ(θ) and C = 2 artanh(1 − 2λ)/(1 − 2λ)
        lambda y, t: (
            np.log(t / np.tanh(t / 2)) + y * np.log(special.expit(t))
            + (1 - y) * np.log(special.expit(-t))
        ),
        np.array([1e-9, 0.1, 0.5, 0.9, 1 - 1e-9]),
    ),
}  # fmt: skip


@pytest.fixture(params=CLOSED)
def closed(request: pytest.FixtureRequest) -> Closed:
    return CLOSED[request.param]


def test_all_declared_families_are_tested():
    assert set(CLOSED) == set(DECLARED)


def test_mean_and_variance(closed):
    mean = exact.exactly(closed.mean, closed.theta)
    np.testing.assert_allclose(closed.family.mean(closed.theta), mean, rtol=DEFAULT)
    variance = exact.exactly(closed.variance, closed.theta)
    # b″ is a difference of terms as large as μ² where the closed form is not
    slack = DEFAULT * variance + 4 * EPS * mean**2
    assert np.all(np.abs(closed.family.variance_at(closed.theta) - variance) <= slack)


def test_theta_of_inverts_the_mean(closed):
    mu = closed.family.mean(closed.theta)
    inner = closed.family.mean_space.contains(mu)
    mu, theta = mu[inner], closed.theta[inner]

    def reference(m, t):
        near = abs(t) / 100 or mp.mpf(1) / 100
        return mp.findroot(lambda x: closed.mean(x) - m, (t - near, t + near), solver="anderson")

    truth = exact.exactly(reference, mu, theta)
    # b′ is computed to some tens of units in its last place, which moves θ by μ/V times as many
    variance = exact.exactly(closed.variance, theta)
    slack = ROUNDING * np.abs(truth) + 64 * EPS * np.abs(mu) / variance
    assert np.all(np.abs(closed.family.theta_of(mu) - truth) <= slack)
    assert inner.sum() >= 5


def test_the_mean_of_theta_of_is_the_mean(closed):
    space = closed.family.mean_space
    if np.isfinite(space.high):
        mu = np.linspace(0.02, 0.98, 41)
    else:
        mu = 1 + np.geomspace(1e-6, 1e4, 41)
    np.testing.assert_allclose(closed.family.mean(closed.family.theta_of(mu)), mu, rtol=DEFAULT)


def test_closed_forms_are_those_of_scipy():
    p = np.array([0.1, 0.5, 0.99])
    np.testing.assert_allclose(
        CLOSED["logarithmic"].logpdf(3.0, np.log(p)), stats.logser.logpmf(3, p), rtol=1e-13
    )
    mean, variance = stats.logser.stats(p)
    np.testing.assert_allclose(logarithmic.mean(np.log(p)), mean, rtol=1e-13)
    np.testing.assert_allclose(logarithmic.variance_at(np.log(p)), variance, rtol=1e-12)
    # the continuous Bernoulli is an exponential cut off at 1
    np.testing.assert_allclose(
        CLOSED["continuous_bernoulli"].logpdf(np.array([0.2, 0.7]), -3.0),
        stats.truncexpon.logpdf([0.2, 0.7], 3.0, scale=1 / 3), rtol=1e-13,
    )  # fmt: skip


def test_theta_of_the_zero_truncated_poisson_by_lambert():
    mu = 1 + np.geomspace(1e-3, 1e3, 25)
    rate = mu + np.real(special.lambertw(-mu * np.exp(-mu)))
    np.testing.assert_allclose(
        zero_truncated_poisson.theta_of(mu), np.log(rate), rtol=1e-10, atol=1e-12
    )


def test_no_mean_outside_the_mean_space():
    assert np.isnan(zero_truncated_poisson.theta_of(0.5))
    assert np.isnan(logarithmic.theta_of(0.99))


def test_log_density(closed):
    middle = (np.abs(closed.theta) >= 1e-3) & (closed.theta > -6)
    y, theta = (a.ravel() for a in np.meshgrid(closed.y, closed.theta[middle], indexing="ij"))
    ours = closed.family.logpdf(y, closed.family.mean(theta))
    reference = closed.logpdf(y, theta)
    # θ comes back from μ, as in the test of theta_of
    mean, variance = closed.family.mean(theta), closed.family.variance_at(theta)
    moved = 64 * EPS * mean / variance
    slack = DEFAULT * np.maximum(1, np.abs(reference)) + np.abs(y - mean) * moved
    assert np.all(np.abs(ours - reference) <= slack)


def test_log_density_at_the_parameter_itself(closed):
    """b and c alone: y θ − b(θ) + c(y), with no inverse between."""
    theta = closed.theta[(np.abs(closed.theta) >= 1e-3) & (closed.theta > -6)]
    y, theta = (a.ravel() for a in np.meshgrid(closed.y, theta, indexing="ij"))
    ours = y * theta - closed.family.b(theta) + closed.family.c(y, 1.0)
    reference = closed.logpdf(y, theta)
    np.testing.assert_allclose(ours, reference, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("zero_truncated_poisson", [0.0, -1.0, 1.5]),
        ("logarithmic", [0.0, 0.5]),
        ("continuous_bernoulli", [-0.1, 0.0, 1.0, 1.1]),
    ],
)
def test_outside_the_support(name, outside):
    family = DECLARED[name]
    mu = 0.4 if family.mean_space.high == 1 else 2.0
    assert np.all(family.logpdf(outside, mu) == -np.inf)


def test_the_deviance_is_twice_the_gap_of_log_densities(closed):
    space = closed.family.mean_space
    y, mu = (np.array([2.0, 5.0]), 3.0) if space.high > 1 else (np.array([0.2, 0.9]), 0.6)
    at_y, at_mu = closed.family.theta_of(y), closed.family.theta_of(mu)
    gap = 2 * (closed.logpdf(y, at_y) - closed.logpdf(y, at_mu))
    np.testing.assert_allclose(closed.family.deviance(y, mu), gap, rtol=1e-9)


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_pickling(closed, library):
    again = library.loads(library.dumps(closed.family))
    assert again == closed.family and hash(again) == hash(closed.family)
    mu = closed.family.mean(closed.theta[3])
    assert again.theta_of(mu) == closed.family.theta_of(mu)


def test_the_default_link_is_the_canonical_one(closed):
    family = closed.family
    assert family.link == family.canonical_link
    mu = family.mean(closed.theta[1:-1])
    np.testing.assert_array_equal(family.link(mu), family.theta_of(mu))
    assert family.theta_of_eta(family.link)[1]


# ---- fits ----------------------------------------------------------------------------------------


def simulated(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    x = rng.uniform(-1, 1, 300)
    X = np.column_stack([np.ones(300), x])
    if name == "zero_truncated_poisson":
        rate = np.exp(0.4 + 0.7 * x)
        y = stats.poisson.ppf(rng.uniform(np.exp(-rate), 1), rate)
    elif name == "logarithmic":
        y = rng.logseries(np.exp(-1 + 0.6 * x)).astype(float)
    else:
        theta = 0.5 + 2 * x
        y = np.log1p(rng.uniform(size=300) * np.expm1(theta)) / theta
    return y, X


def maximised(loglik: Callable, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maximum of an explicit log-likelihood and standard errors from its second differences."""
    found = optimize.minimize(
        lambda beta: -loglik(beta), start, method="BFGS", jac="3-point", options={"gtol": 1e-8}
    )
    steps = 1e-3 * np.eye(start.size)
    hessian = np.array(
        [
            [
                sum(
                    s * t * -loglik(found.x + s * a / 2 + t * b / 2)
                    for s in (-1, 1)
                    for t in (-1, 1)
                ) / 1e-6
                for b in steps
            ]
            for a in steps
        ]
    )  # fmt: skip
    return found.x, np.sqrt(np.diag(np.linalg.inv(hessian)))


def test_canonical_fit_is_the_maximum_of_the_explicit_likelihood(closed):
    y, X = simulated(closed.family.name)
    tree = eg.GLM.from_arrays(y, X, family=closed.family).fit()

    def loglik(b):
        theta = X @ b
        if np.any(theta >= closed.family.theta_domain.high):
            return -1e10
        return closed.logpdf(y, theta).sum()

    start = np.array([-1.0, 0.5]) if closed.family is logarithmic else np.array([0.3, 0.5])
    beta, se = maximised(loglik, start)
    assert np.max(np.abs(tree["fit"]["beta"].values - beta) / se) < OPTIMISER
    np.testing.assert_allclose(tree["fit"]["se"].values, se, rtol=1e-4)  # second differences
    loglik = closed.logpdf(y, X @ beta).sum()
    assert float(tree["fit_stats"]["loglik"]) == pytest.approx(loglik, rel=1e-11)
    assert float(tree["fit_stats"]["aic"]) == pytest.approx(4 - 2 * loglik, rel=1e-11)
    observed = eg.GLM.from_arrays(y, X, family=closed.family).fit(information="observed")
    np.testing.assert_allclose(observed["fit"]["se"], tree["fit"]["se"], rtol=DEFAULT)


def test_zero_truncated_poisson_with_log_link():
    y, X = simulated("zero_truncated_poisson")
    tree = eg.GLM.from_arrays(y, X, family=zero_truncated_poisson, link="log").fit()

    def loglik(beta):
        mu = np.exp(X @ beta)
        if np.any(mu <= 1):
            return -1e10
        rate = mu + np.real(special.lambertw(-mu * np.exp(-mu)))
        return stats.poisson.logpmf(y, rate).sum() - np.log(-np.expm1(-rate)).sum()

    beta, se = maximised(loglik, np.array([0.7, 0.2]))
    assert np.max(np.abs(tree["fit"]["beta"].values - beta) / se) < OPTIMISER
    observed = eg.GLM.from_arrays(y, X, family=zero_truncated_poisson, link="log").fit(
        information="observed"
    )
    np.testing.assert_allclose(observed["fit"]["se"].values, se, rtol=1e-4)
    assert np.all(X @ tree["fit"]["beta"].values > 0)  # μ > 1 is η > 0


def test_continuous_bernoulli_with_logit_link():
    y, X = simulated("continuous_bernoulli")
    tree = eg.GLM.from_arrays(y, X, family=continuous_bernoulli, link="logit").fit()
    beta = tree["fit"]["beta"].values

    def score(b):
        mu = special.expit(X @ b)
        theta = continuous_bernoulli.theta_of(mu)
        return X.T @ ((y - mu) * mu * (1 - mu) / continuous_bernoulli.variance_at(theta))

    se = tree["fit"]["se"].values
    assert np.max(np.abs(score(beta)) * se) < 1e-7


# ---- further declarations ------------------------------------------------------------------------


def test_a_dispersion_function_of_ones_own():
    by_sd = eg.Family(
        "normal_by_sd",
        b=lambda theta: theta**2 / 2,
        c=lambda y, a: -(y**2) / (2 * a) - pt.log(2 * math.pi * a) / 2,
        a=lambda phi: phi**2,
        support=eg.Real,
        theta=lambda mu: mu,
    )
    y, X = np.array([1.0, 2.5, 2.0, 4.5, 5.5]), np.column_stack([np.ones(5), np.arange(5.0)])
    ours = eg.GLM.from_arrays(y, X, family=by_sd).fit()
    normal = eg.GLM.from_arrays(y, X, family="normal").fit()
    assert by_sd.link.name == "identity"
    assert by_sd.logpdf(1.3, 0.2, 0.7, weights=2.0) == pytest.approx(
        stats.norm.logpdf(1.3, 0.2, 0.7 / math.sqrt(2)), rel=ROUNDING
    )
    assert float(ours["fit"]["phi"]) == pytest.approx(math.sqrt(float(normal["fit"]["phi"])))
    for name in ("beta", "se"):
        np.testing.assert_allclose(ours["fit"][name], normal["fit"][name], rtol=1e-9)
    for name in ("loglik", "aic"):
        assert float(ours["fit_stats"][name]) == pytest.approx(
            float(normal["fit_stats"][name]), rel=1e-9
        )


def test_a_free_shape_is_fixed_before_use():
    tilted = counts_with_alpha
    known = tilted.fix(alpha=0.5)
    reference = eg.families.negative_binomial(0.5)
    y, mu = np.array([0.0, 3, 12]), np.array([0.5, 3, 20])
    np.testing.assert_allclose(known.logpdf(y, mu), reference.logpdf(y, mu), rtol=1e-11)
    np.testing.assert_allclose(tilted.logpdf(y, mu, alpha=0.5), known.logpdf(y, mu), rtol=1e-11)
    np.testing.assert_allclose(tilted.variance(mu, alpha=[0.5, 1, 2]), mu + [0.5, 1, 2] * mu**2)
    assert tilted.shape and not known.shape and known.fixed == {"alpha": 0.5}


def test_bare_numbers_in_a_declaration_are_doubles():
    """PyTensor types a bare scalar as the smallest float: gammaln(3.0) would be off by 2e-9."""
    poisson = eg.Family(
        "poisson_with_constants",
        b=lambda theta: pt.exp(theta) * pt.exp(0.1) / math.exp(0.1) + pt.gammaln(3.3) * 0.1,
        c=lambda y, a: pt.gammaln(3.0) - pt.gammaln(y + 1) - pt.log(2) + pt.gammaln(3.3) * 0.1,
        support=eg.Integers(0, None),
        phi=1.0,
    )
    y, mu = np.array([0.0, 1, 7, 40]), np.array([0.1, 1.7, 5, 60])
    np.testing.assert_allclose(
        poisson.logpdf(y, mu), stats.poisson.logpmf(y, mu), rtol=1e-12, atol=1e-12
    )
    value, mean = pt.dscalar("y"), pt.dscalar("mu")
    graph = poisson.logpdf(value, mean).eval({value: 7.0, mean: 5.0}, mode="FAST_COMPILE")
    np.testing.assert_allclose(graph, stats.poisson.logpmf(7, 5.0), rtol=1e-12)
    kernel = eg.GLM.from_arrays(y, np.ones(4), family=poisson, link="log").fit()
    beta = kernel["fit"]["beta"].item()
    assert beta == pytest.approx(math.log(12), rel=1e-12)


def test_whole_numbers_do_not_divide_as_integers():
    half = eg.Family(
        "normal_in_whole_numbers",
        b=lambda theta: theta**2 * pt.constant(1) / pt.constant(2),
        c=lambda y, a: -(y**2) / (2 * a) - pt.log(2 * math.pi * a) / 2,
        support=eg.Real,
    )
    assert half.logpdf(1.0, 0.5, 2.0) == pytest.approx(
        stats.norm.logpdf(1.0, 0.5, math.sqrt(2)), rel=ROUNDING
    )


def test_a_declaration_of_ones_own_equals_the_built_in():
    gamma = eg.Family(
        "my_gamma",
        b=lambda theta: -pt.log(-theta),
        c=lambda y, a: (1 / a - 1) * pt.log(y) - pt.log(a) / a - pt.gammaln(1 / a),
        support=eg.Positive,
        theta_domain=eg.Interval(None, 0),
        link="log",
    )
    clotting = eg.load_data("clotting")
    ours = eg.GLM("time ~ log(u) + lot", clotting, family=gamma).fit()
    built_in = eg.GLM("time ~ log(u) + lot", clotting, family="gamma", link="log").fit()
    np.testing.assert_allclose(ours["fit"]["beta"], built_in["fit"]["beta"], rtol=1e-9)
    np.testing.assert_allclose(ours["fit"]["se"], built_in["fit"]["se"], rtol=1e-9)
    for name in ("deviance", "null_deviance", "loglik", "aic", "bic", "pearson_chi2"):
        assert float(ours["fit_stats"][name]) == pytest.approx(
            float(built_in["fit_stats"][name]), rel=1e-9
        )


def test_operations_that_are_graphs_in_themselves():
    """log Σ eˣ, which PyTensor also makes of a plain sum of exponentials, and xlogy."""
    binomial = eg.Family(
        "bernoulli_by_logaddexp",
        b=lambda theta: pt.logaddexp(0.0, theta),
        c=lambda y, a: 0.0 * xlogy(y, y + 1),
        support=eg.Integers(0, 1),
        phi=1.0,
    )
    mu, y = np.array([1e-9, 0.2, 0.9]), np.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(binomial.theta_of(mu), special.logit(mu), rtol=1e-14)
    np.testing.assert_allclose(binomial.variance(mu), mu * (1 - mu), rtol=1e-13)
    np.testing.assert_allclose(binomial.logpdf(y, mu), stats.bernoulli.logpmf(y, mu), rtol=1e-13)


def test_a_cumulant_that_is_the_log_of_a_sum():
    """A Poisson variable that was seen only where it is 4 at most; far out, one value is left."""
    weights = 1 / special.factorial(np.arange(5))
    truncated = eg.Family(
        "poisson_up_to_four",
        b=lambda theta: pt.log(sum(float(w) * pt.exp(k * theta) for k, w in enumerate(weights))),
        c=lambda y, a: -pt.gammaln(y + 1),
        support=eg.Integers(0, 4),
        phi=1.0,
    )
    theta = np.array([-30.0, -2.0, 0.0, 3.0, 40.0])
    p = weights * np.exp(np.outer(theta, np.arange(5)) - 4 * np.maximum(theta, 0)[:, None])
    p /= p.sum(axis=1, keepdims=True)
    mu = p @ np.arange(5)
    np.testing.assert_allclose(truncated.mean(theta), mu, rtol=1e-13)
    inner = slice(1, 4)  # where the mean is not within rounding of 4, θ is known from it
    np.testing.assert_allclose(truncated.theta_of(mu[inner]), theta[inner], atol=1e-11)
    np.testing.assert_allclose(
        np.exp(truncated.logpdf(np.arange(5), mu[inner, None])), p[inner], rtol=1e-10
    )
    at_ends = truncated.deviance(np.array([0.0, 4.0]), mu[inner, None])  # where b* is a limit
    np.testing.assert_allclose(at_ends, -2 * np.log(p[inner][:, [0, 4]]), rtol=1e-10, atol=1e-13)
