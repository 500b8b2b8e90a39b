"""A declared family in a hierarchical model of the user's own."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.numerics.random import draw
from tests.declared import logarithmic

GROUPS, EACH = 6, 25
GROUP = np.repeat(np.arange(GROUPS), EACH)
QUICK = {"mode": "FAST_COMPILE"}


def hierarchical(family: eg.Family, observed: np.ndarray, phi: bool = False) -> pm.Model:
    """θ = −exp(level + spread · effect of the group)."""
    with pm.Model(coords={"group": np.arange(GROUPS)}) as model:
        level = pm.Normal("level", -2, 1)
        spread = pm.HalfNormal("spread", 0.5)
        effect = pm.Normal("effect", 0, 1, dims="group")
        theta = pm.Deterministic("theta", -pt.exp(level + spread * effect), dims="group")
        dispersion = {"phi": pm.HalfNormal("phi", 1)} if phi else {}
        family.dist("y", theta=theta[GROUP], observed=observed, **dispersion)
    return model


def counts() -> np.ndarray:
    rng = np.random.default_rng(12)
    theta = -np.exp(-2 + 0.5 * rng.normal(size=GROUPS))
    return draw(logarithmic, None, None, rng, theta=theta[GROUP]).astype(int)


def test_the_log_density_is_that_of_scipy() -> None:
    y = counts()
    model = hierarchical(logarithmic, y)
    effect = np.linspace(-1, 1, GROUPS)
    point = {"level": -1.5, "spread_log__": np.log(0.4), "effect": effect}
    theta = -np.exp(-1.5 + 0.4 * effect)
    expected = stats.logser.logpmf(y, np.exp(theta)[GROUP]).sum()
    expected += stats.norm.logpdf(-1.5, -2, 1) + stats.norm.logpdf(effect).sum()
    expected += stats.halfnorm.logpdf(0.4, scale=0.5) + np.log(0.4)
    assert model.compile_logp(**QUICK)(point) == pytest.approx(expected, rel=1e-10)


def test_draws_given_the_parameters_follow_the_distribution() -> None:
    model = hierarchical(logarithmic, counts())
    fixed = pm.do(model, {"theta": np.full(GROUPS, -0.3)})
    with fixed:
        prior = pm.sample_prior_predictive(100, random_seed=3, compile_kwargs=QUICK)
    y = prior["prior_predictive"]["y"].values.ravel()
    p = np.exp(-0.3)
    mean, sd = stats.logser.mean(p), stats.logser.std(p)
    assert abs(y.mean() - mean) < 4 * sd / np.sqrt(y.size)
    assert y.min() == 1 and y.dtype == np.int64


def test_a_free_dispersion_is_a_variable_of_the_model() -> None:
    y = draw(eg.families.gamma, None, 0.5, np.random.default_rng(3), theta=np.full(GROUP.size, -1))
    model = hierarchical(eg.families.gamma, y, phi=True)
    point = {"level": 0.2, "spread_log__": 0.0, "effect": np.zeros(GROUPS), "phi_log__": -1.0}
    logp = model.compile_logp(vars=[model["y"]], **QUICK)(point)
    expected = stats.gamma.logpdf(y, np.e, scale=np.exp(-0.2) / np.e).sum()
    assert logp == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
def test_it_is_sampled_and_predicts() -> None:
    y = counts()
    model = hierarchical(logarithmic, y)
    with model:
        tree = pm.sample(
            300, tune=300, chains=2, cores=1, random_seed=2, progressbar=False,
            nuts_sampler="nutpie", compute_convergence_checks=False,
        )  # fmt: skip
        predictive = pm.sample_posterior_predictive(
            tree, random_seed=2, progressbar=False, compile_kwargs=QUICK
        )
    replicated = predictive["posterior_predictive"]["y"]
    assert replicated.sizes["draw"] == 300 and int(replicated.min()) == 1
    # the posterior means of the groups lie between their own and the common mean
    theta = tree["posterior"]["theta"].mean(("chain", "draw")).values
    means = logarithmic.mean(theta)
    own = np.array([y[GROUP == k].mean() for k in range(GROUPS)])
    assert np.corrcoef(means, own)[0, 1] > 0.9
    assert np.ptp(means) < np.ptp(own)
    expected = replicated.mean(("chain", "draw")).values
    assert abs(expected.mean() - y.mean()) < 0.2 * y.mean()
