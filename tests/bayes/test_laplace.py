"""The normal approximation at the mode, and what its importance weights say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import optimize

import expfam_glm as eg
from expfam_glm.bayes.laplace import laplace
from expfam_glm.bayes.model import to_pymc
from expfam_glm.errors import ArgumentError, SamplingWarning
from tests.problems import problem

QUICK = {"mode": "FAST_COMPILE"}
MONTE_CARLO = 4.5  # standard errors of a mean
MODE_IN_SD = 1e-4


@pytest.mark.slow
def test_the_mode_and_hessian_are_those_of_pymc() -> None:
    own = problem("poisson")
    tree = laplace(own, draws=4000, random_seed=2)
    model = to_pymc(own)
    logp, dlogp = model.compile_logp(**QUICK), model.compile_dlogp(**QUICK)
    beta = tree["posterior"]["beta"]
    mean, sd = (v.values for v in (beta.mean(("chain", "draw")), beta.std(("chain", "draw"))))

    def loss(u: np.ndarray) -> tuple[float, np.ndarray]:
        point = {"beta": mean + sd * u}
        return -float(logp(point)), -sd * dlogp(point)

    found = optimize.minimize(loss, np.zeros(mean.size), jac=True, method="BFGS", tol=1e-9)
    assert np.max(np.abs(found.x)) < MONTE_CARLO / np.sqrt(16_000)
    step = 1e-4 * np.eye(mean.size)
    columns = [(loss(found.x + e)[1] - loss(found.x - e)[1]) / 2e-4 for e in step]
    covariance = np.linalg.inv(np.array(columns)) * np.outer(sd, sd)
    drawn = np.cov(beta.values.reshape(-1, mean.size), rowvar=False)
    np.testing.assert_allclose(drawn / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.05)


def test_groups_weights_and_attributes(tmp_path: Any) -> None:
    tree = laplace(problem("poisson"), random_seed=1)
    assert tree["posterior"]["beta"].dims == ("chain", "draw", "coef")
    assert {"log_likelihood", "log_prior", "posterior_predictive"} <= set(tree.children)
    weights = np.exp(tree["sample_stats"]["log_weight"])
    assert float(weights.sum()) == pytest.approx(1.0)
    assert tree.attrs["importance_ess"] == pytest.approx(1 / float((weights**2).sum()))
    assert tree.attrs["pareto_k"] < 0.5  # 236 rows: nearly normal
    assert tree.attrs["importance_ess"] > 3500
    assert tree.attrs["diagnosis"] == "nothing to report"
    tree.to_netcdf(tmp_path / "laplace.nc")
    with xr.open_datatree(tmp_path / "laplace.nc") as again:
        assert again.equals(tree)


@pytest.mark.slow
def test_weighted_draws_have_the_exact_moments() -> None:
    """A normal model whose posterior is known: prior N(0, 2²), σ = 1 held by a tight prior."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=40)
    y = rng.poisson(np.exp(0.2 + 0.1 * x))
    own = eg.GLM("y ~ x", {"y": y, "x": x}, family="poisson").problem
    prior = {"beta": eg.Prior("Normal", mu=0, sigma=2)}
    tree = laplace(own, draws=5000, random_seed=1, priors=prior)
    grid = [np.linspace(-1.2, 1.2, 241)] * 2
    first, second = np.meshgrid(*grid, indexing="ij")
    eta = first[..., None] + second[..., None] * x
    log_density = (y * eta - np.exp(eta)).sum(axis=-1) - (first**2 + second**2) / 8
    density = np.exp(log_density - log_density.max())
    exact = [float((v * density).sum() / density.sum()) for v in (first, second)]
    weights = np.exp(tree["sample_stats"]["log_weight"])
    beta = tree["posterior"]["beta"]
    mean = (weights * beta).sum(("chain", "draw"))
    error = beta.std(("chain", "draw")) / np.sqrt(tree.attrs["importance_ess"])
    assert float(np.abs((mean - exact) / error).max()) < MONTE_CARLO


@pytest.mark.slow
def test_a_poor_approximation_says_so() -> None:
    # separated: one tail of the posterior is the prior's, a hundred times as wide as the other;
    # k from 0.8 to 1.2 for eight seeds
    x = np.array([1.0, 2.0, 3.0, 4.0])
    own = eg.GLM("y ~ x", {"y": [0.0, 0.0, 1.0, 1.0], "x": x}, family="binomial").problem
    priors = {"beta": eg.Prior("Normal", mu=0, sigma=1e4)}
    with pytest.warns(SamplingWarning, match=r"Pareto k = .*use sample\(\)"):
        tree = laplace(own, priors=priors, random_seed=1)
    assert "poor" in tree.attrs["diagnosis"]


@pytest.mark.slow
def test_draws_stay_in_the_domain_of_the_link() -> None:
    own = problem("gamma")
    tree = laplace(own, random_seed=1)
    beta = tree["posterior"]["beta"].values.reshape(-1, 3)
    assert np.all(beta @ own.X.T > 0)
    assert np.all(np.isfinite(tree["log_likelihood"]["y"]))


@pytest.mark.slow
def test_free_shapes_are_drawn_too() -> None:
    quine = eg.load_data("quine")
    tree = eg.GLM("days ~ sex", quine, family="negative_binomial").laplace(random_seed=1)
    assert float(tree["posterior"]["alpha"].min()) > 0
    assert tree.attrs["pareto_k"] < 0.7


@pytest.mark.parametrize("priors", [{"beta": pm.MvNormal.dist(np.zeros(5), np.eye(5))}])
def test_priors_without_a_gradient_are_refused(priors: Any) -> None:
    with pytest.raises(ArgumentError, match=r"use sample\(\)"):
        laplace(problem("poisson"), priors=priors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 3, "chains": 1}, "chains=1 times draws=3 are too few .* 25 draws at least"),
        ({"draws": 6, "chains": 4}, "too few"),
        ({"log_likelihood": "no"}, "log_likelihood='no' must be True or False"),
        ({"posterior_predictive": "no"}, "posterior_predictive='no' must be True or False"),
    ],
)
def test_options_that_say_nothing_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        laplace(problem("poisson"), **options)
