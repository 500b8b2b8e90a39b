"""What the priors say before the data do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.group_effects import LKJ, draw_root
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.prior_predictive import prior_predictive
from expfam_glm.bayes.priors import apply
from expfam_glm.errors import ArgumentError, SamplingError
from tests.problems import problem

SUSPICIOUS = 1e-4  # p-value of a Kolmogorov-Smirnov test


def test_draws_are_those_of_the_priors() -> None:
    own = problem("gamma-log")
    priors = {"lot": Prior("StudentT", nu=4, mu=1, sigma=2), "log(u)": pm.Normal.dist(0.0, 0.5),
              "sqrt(phi)": Prior("Exponential", lam=2)}  # fmt: skip
    tree = prior_predictive(own, draws=2000, random_seed=3, priors=priors)
    beta, phi = (tree["prior"][name].values[0] for name in ("beta", "phi"))
    assert stats.kstest(beta[:, 2], stats.t(4, 1, 2).cdf).pvalue > SUSPICIOUS
    assert stats.kstest(beta[:, 1], stats.norm(0, 0.5).cdf).pvalue > SUSPICIOUS
    default = apply(own, "default").beta[0].parameters
    assert stats.kstest(beta[:, 0], stats.norm(default["mu"], default["sigma"]).cdf).pvalue > (
        SUSPICIOUS
    )
    assert stats.kstest(np.sqrt(phi), stats.expon(scale=0.5).cdf).pvalue > SUSPICIOUS
    mu = np.exp(beta @ own.X.T)
    y = tree["prior_predictive"]["y"].values[0]
    u = stats.gamma(1 / phi[:, None], scale=mu * phi[:, None]).cdf(y)
    sound = phi < 5  # beyond it most draws are zero in double precision
    assert stats.kstest(u[sound, 0], "uniform").pvalue > SUSPICIOUS


def test_draws_stay_in_the_domain_of_the_link() -> None:
    own = problem("poisson-sqrt")
    tree = prior_predictive(own, draws=200, random_seed=1)
    assert np.all(tree["prior"]["beta"].values[0] @ own.X.T > 0)
    assert tree["prior_predictive"]["y"].dtype.kind == "i"


@pytest.mark.parametrize(
    ("name", "priors", "error", "message"),
    [
        ("poisson", "flat", ArgumentError, "flat prior of Intercept"),
        ("poisson", "jeffreys", ArgumentError, "only up to a constant"),
        ("gamma", {"phi": "flat"}, ArgumentError, "flat prior of phi"),
        ("poisson-sqrt", {"beta": Prior("Normal", mu=-9, sigma=1e-3)}, SamplingError, "inside"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    name: str, priors: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prior_predictive(problem(name), draws=10, priors=priors)


def test_group_effects_are_drawn_with_their_priors() -> None:
    rng = np.random.default_rng(4)
    g, x = np.repeat(["a", "b", "c"], 4), rng.normal(size=12)
    own = eg.GLM("y ~ x + (1 + x | g)", {"y": np.zeros(12, int), "x": x, "g": g}, family="poisson")
    priors = {"beta": Prior("Normal", mu=0, sigma=0.3), "sd_g": Prior("HalfNormal", sigma=0.4)}
    tree = own.prior_predictive(draws=2000, random_seed=5, priors=priors)
    assert tree["prior"]["b_g"].dims == ("chain", "draw", "g", "effect_g")
    b, sd, corr, beta = (tree["prior"][v].values[0] for v in ("b_g", "sd_g", "corr_g", "beta"))
    assert stats.kstest(sd[:, 1], stats.halfnorm(scale=0.4).cdf).pvalue > SUSPICIOUS
    # LKJ(2) of two effects: (1 + corr)/2 ~ Beta(2, 2)
    assert stats.kstest((1 + corr[:, 0, 1]) / 2, stats.beta(2, 2).cdf).pvalue > SUSPICIOUS
    root = sd[..., None] * np.linalg.cholesky(corr)
    z = np.linalg.solve(root[:, None], b[..., None])[..., 0]
    assert stats.kstest(z[:, 0].ravel(), stats.norm.cdf).pvalue > SUSPICIOUS
    assert abs(np.corrcoef(z.reshape(-1, 2).T)[0, 1]) < 5 / np.sqrt(z[..., 0].size)
    codes = tree["constant_data"]["index_g"].values
    mu = np.exp(beta[:, [0]] + beta[:, [1]] * x + b[:, codes, 0] + b[:, codes, 1] * x)
    y = tree["prior_predictive"]["y"].values[0]
    pearson = (y - mu) / np.sqrt(mu)
    assert abs(pearson.mean()) < 5 / np.sqrt(pearson.size)
    assert abs(pearson.var() - 1) < 0.2


def test_effects_stay_in_the_domain_of_the_link() -> None:
    columns = {"y": np.ones(6, int), "g": np.repeat([0, 1], 3)}
    own = eg.GLM("y ~ 1 + (1 | g)", columns, family="poisson", link="sqrt")
    priors = {"beta": Prior("Normal", mu=1, sigma=1), "sd_g": Prior("HalfNormal", sigma=2)}
    prior = own.prior_predictive(draws=100, random_seed=1, priors=priors)["prior"]
    assert np.all(prior["beta"].values[0] + prior["b_g"].values[0, :, :, 0] > 0)


def test_correlations_of_three_effects_are_of_lkj() -> None:
    root = draw_root(3, 3000, np.random.default_rng(7))
    corr = root @ root.mT
    np.testing.assert_allclose(corr[:, [0, 1, 2], [0, 1, 2]], 1.0, rtol=1e-14)
    marginal = stats.beta(LKJ + 0.5, LKJ + 0.5)  # of (1 + corr)/2, Lewandowski et al. (2009)
    for pair in ((1, 0), (2, 0), (2, 1)):
        assert stats.kstest((1 + corr[:, *pair]) / 2, marginal.cdf).pvalue > SUSPICIOUS


def test_priors_too_wide_for_any_response_are_told_as_such() -> None:
    wide = {"age": eg.Prior("Normal", mu=0, sigma=1e3)}
    model = eg.GLM("seizures ~ age", eg.load_data("seizures"), family="poisson")
    with pytest.raises(SamplingError, match=r"^the priors reach .* tighter priors"):
        model.prior_predictive(random_seed=1, priors=wide)
