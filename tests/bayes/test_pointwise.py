"""Pointwise log-likelihood and posterior predictive against the family and PyMC."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes import pointwise
from expfam_glm.bayes.model import build
from expfam_glm.bayes.pointwise import log_likelihood, predictive
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.start import near_mode
from expfam_glm.numerics.random import draw
from tests.problems import NAMES, problem

LOG_LIKELIHOOD = 1e-10
LEAST_P = 1e-4  # of a goodness-of-fit test with a fixed seed


def draws_of(name: str, size: int) -> tuple[np.ndarray, np.ndarray | float]:
    """Draws close to the mode of the posterior, and of φ where it is free."""
    own = problem(name)
    start = near_mode(own, apply(own, "flat"))
    rng = np.random.default_rng(4)
    beta = start.beta + 0.2 * rng.standard_normal((size, start.beta.size)) @ start.root.T
    if own.family.phi is not None:
        return beta, own.family.phi
    return beta, start.phi * np.exp(0.1 * rng.standard_normal(size))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_log_likelihood_is_pymc_s(name: str) -> None:
    own = problem(name)
    beta, phi = draws_of(name, 3)
    model = build(own, apply(own, "flat"))
    logp = model.compile_logp(vars=[model["y"]], sum=False, mode="FAST_COMPILE")
    found = log_likelihood(own, beta, phi)
    for k in range(3):
        point = {"beta": beta[k]}
        if own.family.phi is None:
            point["phi_log__"] = np.log(np.asarray(phi)[k])
        np.testing.assert_allclose(found[k], logp(point)[0], rtol=LOG_LIKELIHOOD, atol=1e-12)


@pytest.mark.parametrize("name", ["poisson", "gamma-log", "normal-weighted"])
def test_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = problem(name)
    beta, phi = draws_of(name, 7)
    whole = log_likelihood(own, beta, phi)
    monkeypatch.setattr(pointwise, "_ENTRIES", 2 * own.row_count)
    np.testing.assert_allclose(log_likelihood(own, beta, phi), whole, rtol=1e-13)


def test_frequencies_leave_the_log_likelihood_of_one_observation() -> None:
    own = problem("poisson")
    beta, phi = draws_of("poisson", 2)
    f = 1.0 + np.arange(own.row_count) % 2
    weighted = log_likelihood(replace(own, f=f), beta, phi)
    np.testing.assert_allclose(weighted, log_likelihood(own, beta, phi))


@pytest.mark.parametrize("name", ["normal-weighted", "gamma-log", "inverse_gaussian"])
def test_predictive_draws_follow_the_row_s_distribution(name: str) -> None:
    own = problem(name)
    beta, phi = draws_of(name, 400)
    y = predictive(own, beta, phi, np.random.default_rng(2))
    mu = own.link.inverse(beta @ own.X.T)
    a = np.asarray(phi)[:, None] / (1.0 if own.w is None else own.w)
    law = {
        "normal": lambda: stats.norm(mu, np.sqrt(a)),
        "gamma": lambda: stats.gamma(1 / a, scale=mu * a),
        "inverse_gaussian": lambda: stats.invgauss(mu * a, scale=1 / a),
    }[own.family.name]()
    assert stats.kstest(law.cdf(y).ravel(), "uniform").pvalue > LEAST_P


@pytest.mark.parametrize("name", ["poisson", "binomial", "zero_truncated_poisson"])
def test_predictive_counts_have_the_row_s_mean(name: str) -> None:
    own = problem(name)
    beta, phi = draws_of(name, 1500)
    y = predictive(own, beta, phi, np.random.default_rng(2))
    assert np.all(own.family.contains(y, 1.0 if own.w is None else own.w))
    mu = own.link.inverse(beta @ own.X.T)
    variance = own.family.variance(mu) / (1.0 if own.w is None else own.w)
    pull = (y - mu).sum(axis=0) / np.sqrt(variance.sum(axis=0))
    assert stats.kstest(pull, "norm").pvalue > LEAST_P
    assert (y.dtype == np.int64) == (own.w is None)


def test_predictive_draws_use_the_family_s_own_inversion() -> None:
    own = problem("logarithmic")
    beta, phi = draws_of("logarithmic", 5)
    eta = beta @ own.X.T
    expected = draw(own.family, own.link.inverse(eta), phi, np.random.default_rng(9))
    found = predictive(own, beta, phi, np.random.default_rng(9))
    assert np.array_equal(found, expected)


def test_offsets_count() -> None:
    own = problem("poisson-exposure")
    beta = near_mode(own, apply(own, "flat")).beta[None]
    mu = np.exp(own.X @ beta[0] + own.offset)
    expected = eg.families.poisson.logpdf(own.y, mu)
    np.testing.assert_allclose(log_likelihood(own, beta, 1.0)[0], expected, rtol=1e-10)
