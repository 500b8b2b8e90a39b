"""Starting points: near the mode, inside every domain, also where there is no maximum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes import start as module
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.scaling import weakly_informative
from expfam_glm.bayes.start import near_mode
from expfam_glm.errors import SamplingError
from expfam_glm.mle.fit import fit
from tests.problems import NAMES, problem

NEAR = 0.05  # posterior standard deviations; chains start one away anyhow


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_under_flat_priors_it_is_near_the_estimate(name: str) -> None:
    own = problem(name)
    start, tree = near_mode(own, apply(own, "flat")), fit(own)
    beta, se = tree["fit"]["beta"].values, tree["fit"]["se"].values
    assert np.max(np.abs(start.beta - beta) / se) < NEAR
    np.testing.assert_allclose(np.sqrt(np.sum(start.root**2, axis=1)), se, rtol=NEAR)
    assert start.phi == pytest.approx(float(tree["fit"]["phi"]), rel=NEAR)


def test_under_a_normal_prior_it_is_near_the_posterior_mode() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    own = eg.GLM.from_arrays(y, X, family="normal").problem
    start = near_mode(own, apply(own, {"beta": Prior("Normal", mu=3, sigma=0.1)}))
    precision = X.T @ X / start.phi + np.eye(2) / 0.01
    mode = np.linalg.solve(precision, X.T @ y / start.phi + 3 / 0.01)
    covariance = np.linalg.inv(precision)
    assert np.max(np.abs(start.beta - mode) / np.sqrt(np.diagonal(covariance))) < NEAR
    np.testing.assert_allclose(start.root @ start.root.T, covariance, rtol=1e-8)


@pytest.mark.parametrize("prior", [Prior("Laplace", mu=0.1, b=0.2), pm.Laplace.dist(0.1, 0.2)])
def test_a_prior_with_a_corner_starts_as_the_normal_one_of_its_variance(prior: Any) -> None:
    own = eg.GLM("y ~ 1", {"y": np.repeat([1.0, 0.0], [8, 12])}, family="binomial").problem
    start = near_mode(own, apply(own, {"Intercept": prior}))
    normal = Prior("Normal", mu=0.1, sigma=0.2 * np.sqrt(2))
    other = near_mode(own, apply(own, {"Intercept": normal}))
    assert start.corners and not other.corners
    np.testing.assert_array_equal(start.beta, other.beta)
    np.testing.assert_array_equal(start.root, other.root)


@pytest.mark.slow
def test_a_mode_on_the_corner_of_a_laplace_prior_is_sampled_and_not_approximated() -> None:
    own = eg.GLM("y ~ 1", {"y": np.repeat([1.0, 0.0], [8, 12])}, family="binomial")
    priors = {"Intercept": Prior("Laplace", mu=0.0, b=0.1)}
    grid = np.linspace(-2, 2, 40001)
    weight = np.exp(8 * grid - 20 * np.logaddexp(0, grid) + stats.laplace.logpdf(grid, 0, 0.1))
    mean = np.average(grid, weights=weight)
    sd = np.sqrt(np.average((grid - mean) ** 2, weights=weight))
    tree = own.sample(draws=3000, random_seed=1, progressbar=False, priors=priors)
    draws = tree["posterior"]["beta"].values
    # more than 2,000 effective draws of each: five standard errors
    assert abs(draws.mean() - mean) < 0.11 * sd and abs(draws.std() / sd - 1) < 0.1
    with pytest.raises(SamplingError, match="a Laplace prior has a corner"):
        own.laplace(priors=priors)


def test_separated_and_aliased_data_have_a_start_under_priors() -> None:
    x = np.linspace(-1, 1, 20)
    X = np.column_stack([np.ones(20), x, x])
    own = eg.GLM.from_arrays((x > 0) + 0.0, X, family="binomial").problem
    start = near_mode(own, apply(own, "default"))
    assert np.all(np.isfinite(start.beta)) and np.all(np.isfinite(start.root))
    assert start.beta[1] == pytest.approx(start.beta[2])
    assert start.beta[1] > 1


@pytest.mark.parametrize("link", ["identity", "sqrt"])
def test_it_stays_in_the_domain_of_the_link(link: str) -> None:
    x = np.arange(10.0)
    own = eg.GLM("y ~ x", {"y": np.floor(x**1.5), "x": x}, family="poisson", link=link).problem
    start = near_mode(own, apply(own, "default"))
    assert np.all(own.X @ start.beta > 0)


def test_bounded_priors_start_inside_their_bounds() -> None:
    own = problem("poisson")  # its third coefficient is estimated to be negative
    label = own.labels[2]
    for prior in (Prior("HalfNormal", sigma=1), pm.Uniform.dist(0, 3)):
        start = near_mode(own, apply(own, {label: prior}))
        assert start.beta[2] > 0


def test_a_joint_prior_starts_at_the_likelihood() -> None:
    own = problem("binomial")
    applied = apply(own, {"beta": pm.MvNormal.dist(np.zeros(2), 100 * np.eye(2))})
    beta = fit(own)["fit"]["beta"].values
    assert np.max(np.abs(near_mode(own, applied).beta - beta)) < 0.2


def test_no_start_is_an_error_with_the_reason() -> None:
    x = np.array([-2.0, -1.0, 1.0, 2.0])
    own = eg.GLM.from_arrays([1.0, 2, 1, 2], x, family="poisson", link="identity").problem
    with pytest.raises(SamplingError, match="no point to start"):
        near_mode(own, apply(own, "default"))


@pytest.mark.parametrize("far", [100.0, 300.0, 800.0, None])
def test_a_mode_far_from_the_first_point_is_reached(far: float | None) -> None:
    """Means of up to e^800 at the first point come down by a factor e in a step."""
    x, y = np.arange(10.0), np.array([3.0, 2, 4, 1, 3, 2, 5, 3, 2, 4])
    offset = np.linspace(-230, 184, 10) if far is None else np.where(x > 5, far, -far)
    own = eg.GLM("y ~ x", {"x": x, "y": y}, family="poisson", offset=offset).problem
    applied = apply(own, "default")
    start = near_mode(own, applied)
    mu = np.exp(own.X @ start.beta + offset)
    centre, sd = np.array(weakly_informative(own).beta).T
    gradient = own.X.T @ (y - mu) - (start.beta - centre) / sd**2
    step = np.linalg.solve((own.X.T * mu) @ own.X + np.diag(sd**-2), gradient)
    assert np.sqrt(gradient @ step) < NEAR


def test_bounded_coefficients_do_not_hold_up_the_others() -> None:
    x, y = np.linspace(-1, 1, 21), np.arange(21.0) % 4
    own = eg.GLM("y ~ x", {"x": x, "y": y}, family="poisson").problem
    start = near_mode(own, apply(own, {"x": Prior("Uniform", lower=50, upper=51)}))
    centre, sd = weakly_informative(own).beta[0]
    excess = np.sum(y - np.exp(own.X @ start.beta)) - (start.beta[0] - centre) / sd**2
    assert abs(excess) / np.sqrt(np.sum(np.exp(own.X @ start.beta)) + sd**-2) < NEAR


def test_a_search_that_ends_far_from_a_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_FROM_AFAR", 50)
    x, y = np.arange(10.0), np.array([3.0, 2, 4, 1, 3, 2, 5, 3, 2, 4])
    offset = np.where(x > 5, 300.0, -300.0)
    own = eg.GLM("y ~ x", {"x": x, "y": y}, family="poisson", offset=offset).problem
    with pytest.raises(SamplingError, match=r"ended at Intercept = .*standard deviations long"):
        near_mode(own, apply(own, "default"))
