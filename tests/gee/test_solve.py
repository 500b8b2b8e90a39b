"""The equations on plain arrays."""

import numpy as np
import pytest

from expfam_glm.errors import ConvergenceError
from expfam_glm.gee.correlation import named
from expfam_glm.gee.covariance import robust
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.part import Sums
from expfam_glm.gee.solve import solve
from expfam_glm.mle.linear import DOUBTFUL_PIVOT, factor_gram
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
    solution = solve(equations(e + 1 + x, X, groups), np.zeros(2))
    means = np.bincount(groups, e + 1 + x) / 5
    beta, *_ = np.linalg.lstsq(X[::5], means, rcond=None)
    np.testing.assert_allclose(solution.state.beta, beta, rtol=1e-10)


def test_the_start_does_not_matter():
    rng, groups, e = clustered_normal(2)
    X = np.column_stack([np.ones(200), rng.normal(size=200)])
    y = rng.poisson(np.exp(0.3 * e + 0.5 * X[:, 1])).astype(float)
    problem = equations(y, X, groups, family="poisson")
    near, far = (solve(problem, np.array(start)).state for start in ([0.2, 0.4], [2.0, -1.0]))
    np.testing.assert_allclose(near.beta, far.beta, rtol=1e-8)
    assert float(near.parameter) == pytest.approx(float(far.parameter), rel=1e-7)


@pytest.mark.parametrize(("centre", "error"), [(200, 1e-8), (2000, 1e-3)])
def test_badly_scaled_columns_are_factored_by_qr_and_stop_at_rounding(centre, error):
    """Raw powers of a year: the curvature and its standard error do not depend on the origin."""
    rng, groups, e = clustered_normal(3)
    u = rng.random(200) - 0.5
    y = e + 0.2 * u
    clean = equations(y, np.column_stack([np.ones(200), u, u**2]), groups)
    raw = equations(y, np.column_stack([np.ones(200), centre + u, (centre + u) ** 2]), groups)
    start, *_ = np.linalg.lstsq(raw.X, y, rcond=None)
    fits = [solve(clean, np.zeros(3)), solve(raw, start)]
    assert fits[1].state.bread.smallest_pivot < DOUBTFUL_PIVOT
    betas = [fit.state.beta[2] for fit in fits]
    spreads = [np.sqrt(robust(fit.state.bread, fit.state.scores)[2, 2]) for fit in fits]
    assert abs(betas[1] - betas[0]) < error * spreads[0]
    assert spreads[1] == pytest.approx(spreads[0], rel=error)


def test_steps_stay_inside_the_domain_of_the_link():
    rng, groups, e = clustered_normal(4)
    X = np.column_stack([np.ones(200), rng.random(200)])
    y = rng.poisson(np.exp(0.3 * e) * (X @ [0.05, 3.0])).astype(float)
    problem = equations(y, X, groups, family="poisson", link="identity")
    far = np.array([3.0, 0.1])
    first = problem.evaluate(far)
    assert problem.evaluate(far + first.step) is None
    solution = solve(problem, far)
    assert np.all(X @ solution.state.beta > 0)
    assert problem.evaluate(np.array([-0.5, 1.0])) is None
    with pytest.raises(ConvergenceError, match="not admissible"):
        solve(problem, np.array([-0.5, 1.0]))


def test_no_step_inside_the_domain_is_an_error(monkeypatch):
    x = np.tile([0.0, 1.0, 2.0, 3.0], 30)
    X = np.column_stack([np.ones(120), x])
    y = np.tile([9.0, 1.0, 0.0, 0.0], 30)
    problem = equations(y, X, np.repeat(np.arange(30), 4), "independence", "poisson", "identity")
    start = np.array([2.0, -0.1])
    first = problem.evaluate(start)
    assert problem.evaluate(start + first.step) is None
    monkeypatch.setattr("expfam_glm.gee.solve._MOST_HALVINGS", 1)
    with pytest.raises(ConvergenceError, match="keeps the linear predictor inside") as caught:
        solve(problem, start)
    np.testing.assert_array_equal(caught.value.state.beta, start)


def test_clusters_fitted_exactly_still_stop():
    """With one mean for each of two clusters the robust covariance is zero."""
    rng = np.random.default_rng(6)
    groups = np.repeat([0, 1], 10)
    X = np.column_stack([groups == 0, groups == 1]).astype(float)
    y = rng.poisson(3.0, 20).astype(float)
    state = solve(equations(y, X, groups, "independence", "poisson"), np.zeros(2)).state
    np.testing.assert_allclose(np.exp(state.beta), [y[:10].mean(), y[10:].mean()], rtol=1e-12)
    assert np.max(np.abs(state.scores)) < 1e-12


def test_far_tails_are_not_admissible_where_the_residual_is_not_defined():
    X = np.column_stack([np.ones(8), np.arange(8.0)])
    problem = equations(np.tile([0.0, 1.0], 4), X, np.repeat([0, 1], 4), family="binomial")
    assert problem.evaluate(np.array([1e4, 0.0])) is None
    assert problem.evaluate(np.array([0.1, 0.0])) is not None


class Slow(Equations):
    """Each step covers a tenth of the way to 1."""

    def evaluate(self, beta):
        sums = Sums(1.0, 1.0, (0.0, 0.0), np.ones(()))
        return State(beta, sums, 1.0, np.array(0.1), factor_gram(np.eye(1)), np.ones((1, 1)),
                     self.score(beta))  # fmt: skip

    def score(self, beta):
        return 0.1 * (1 - beta)


def test_slow_steps_do_not_stop_early():
    _, groups, e = clustered_normal(7)
    fast = equations(e, np.ones((200, 1)), groups)
    slow = Slow(fast.family, fast.link, fast.y, fast.X, None, None, fast.structure)
    assert abs(solve(slow, np.zeros(1)).state.beta[0] - 1) < 1e-8
    with pytest.raises(ConvergenceError, match="20 iterations"):
        solve(slow, np.zeros(1), max_iterations=20)
