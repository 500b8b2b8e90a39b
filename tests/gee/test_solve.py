"""The equations on plain arrays."""

import numpy as np
import pytest

from expfam_glm.errors import ConvergenceError
from expfam_glm.gee.correlation import named
from expfam_glm.gee.solve import Equations
from expfam_glm.mle.linear import DOUBTFUL_PIVOT
from expfam_glm.spec import families, links


def equations(y, X, groups, correlation="exchangeable", family="normal", link=None, **more):
    family = families.named(family)
    structure = named(correlation).on(np.asarray(groups), np.arange(len(y)))
    link = family.link if link is None else links.named(link)
    return Equations(family, link, y, X, None, None, structure, **more)


def clustered_normal(seed, n=200, size=5):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n // size), size)
    return rng, groups, rng.normal(size=n) + rng.normal(size=n // size)[groups]


def test_a_balanced_design_has_its_closed_form():
    """Constant within clusters: the estimate is that of cluster means, α of any value."""
    rng, groups, e = clustered_normal(1)
    x = rng.normal(size=40)[groups]
    X = np.column_stack([np.ones(200), x])
    solution = equations(e + 1 + x, X, groups).solve(np.zeros(2))
    means = np.bincount(groups, e + 1 + x) / 5
    beta, *_ = np.linalg.lstsq(X[::5], means, rcond=None)
    np.testing.assert_allclose(solution.state.beta, beta, rtol=1e-10)


def test_the_start_does_not_matter():
    rng, groups, e = clustered_normal(2)
    X = np.column_stack([np.ones(200), rng.normal(size=200)])
    y = rng.poisson(np.exp(0.3 * e + 0.5 * X[:, 1])).astype(float)
    problem = equations(y, X, groups, family="poisson")
    near, far = (problem.solve(np.array(start)).state for start in ([0.2, 0.4], [2.0, -1.0]))
    np.testing.assert_allclose(near.beta, far.beta, rtol=1e-8)
    assert float(near.parameter) == pytest.approx(float(far.parameter), rel=1e-7)


def test_badly_scaled_columns_are_factored_by_qr_and_stop_at_rounding():
    rng, groups, e = clustered_normal(3)
    year = 2000 + rng.random(200)
    X = np.column_stack([np.ones(200), year, year**2])
    centred = np.column_stack([np.ones(200), year - 2000.5, (year - 2000.5) ** 2])
    y = e + 0.2 * (year - 2000)
    start, *_ = np.linalg.lstsq(X, y, rcond=None)
    raw = equations(y, X, groups)
    solution = raw.solve(start)
    assert solution.state.bread.smallest_pivot < DOUBTFUL_PIVOT
    clean = equations(y, centred, groups).solve(np.zeros(3))
    # β₂ is the same in both; the condition number of X is about 1e13
    assert solution.state.beta[2] == pytest.approx(clean.state.beta[2], rel=1e-3)
    assert float(solution.state.parameter) == pytest.approx(float(clean.state.parameter), rel=1e-6)


def test_steps_stay_inside_the_domain_of_the_link():
    rng, groups, e = clustered_normal(4)
    X = np.column_stack([np.ones(200), rng.random(200)])
    y = rng.poisson(np.exp(0.3 * e) * X @ [0.05, 3.0]).astype(float)
    problem = equations(y, X, groups, family="poisson", link="identity")
    assert problem.evaluate(np.array([-0.5, 1.0])) is None
    state = problem.evaluate(np.array([3.0, 0.1]))
    assert problem.evaluate(state.beta + 3 * state.step) is None or np.all(X @ state.beta > 0)
    solution = problem.solve(np.array([3.0, 0.1]))
    assert np.all(X @ solution.state.beta > 0)
    with pytest.raises(ConvergenceError, match="not admissible"):
        problem.solve(np.array([-0.5, 1.0]))


def test_no_step_inside_the_domain_is_an_error():
    """The root lies outside: a Poisson mean cannot follow the identity link below zero."""
    rng = np.random.default_rng(5)
    x = np.tile([0.0, 1.0, 2.0, 3.0], 30)
    X = np.column_stack([np.ones(120), x])
    y = np.where(x == 0, 6.0, 0.0) + np.where(x == 1, rng.poisson(0.2, 120), 0)
    problem = equations(y, X, np.repeat(np.arange(30), 4), "independence", "poisson", "identity")
    with pytest.raises(ConvergenceError, match="keeps the linear predictor inside"):
        problem.solve(np.array([2.0, -0.1]))


def test_clusters_fitted_exactly_still_stop():
    """With one mean for each of two clusters the robust covariance is zero."""
    rng = np.random.default_rng(6)
    groups = np.repeat([0, 1], 10)
    X = np.column_stack([groups == 0, groups == 1]).astype(float)
    y = rng.poisson(3.0, 20).astype(float)
    state = equations(y, X, groups, "independence", "poisson").solve(np.zeros(2)).state
    np.testing.assert_allclose(np.exp(state.beta), [y[:10].mean(), y[10:].mean()], rtol=1e-12)
    assert np.max(np.abs(state.scores)) < 1e-12


def test_far_tails_are_not_admissible_where_the_residual_is_not_defined():
    X = np.column_stack([np.ones(8), np.arange(8.0)])
    problem = equations(np.tile([0.0, 1.0], 4), X, np.repeat([0, 1], 4), family="binomial")
    assert problem.evaluate(np.array([1e4, 0.0])) is None
    assert problem.evaluate(np.array([0.1, 0.0])) is not None
