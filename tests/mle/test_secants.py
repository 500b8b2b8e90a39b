"""Quasi-Newton steps on scores alone end where others end, and soon."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from expfam_glm.mle.secants import Secants


def scores(n: int = 2000, p: int = 8):
    """A logistic log-likelihood's negative, its score, and the information at zero of some rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    y = (rng.random(n) < 1 / (1 + np.exp(-X @ rng.normal(size=p) / 2))).astype(float)

    def score(beta):
        return X.T @ (y - 1 / (1 + np.exp(-X @ beta)))

    def lost(beta):
        return float(np.logaddexp(0, X @ beta).sum() - y @ (X @ beta))

    return lost, score, X[:200].T @ X[:200] * (n / 200) / 4


def test_steps_end_at_the_root_that_scipy_finds():
    lost, score, information = scores()
    found = optimize.minimize(lost, np.zeros(8), jac=lambda b: -score(b), tol=1e-10).x
    secants = Secants(lambda v: np.linalg.solve(information, v))
    beta, lengths = np.zeros(8), []
    for _ in range(12):
        step = secants.step(beta, score(beta))
        lengths.append(np.linalg.norm(step))
        beta = beta + step
    np.testing.assert_allclose(beta, found, atol=1e-6)
    plain, rate = np.zeros(8), []
    for _ in range(12):
        step = np.linalg.solve(information, score(plain))
        rate.append(np.linalg.norm(step))
        plain = plain + step
    assert lengths[7] < 0.05 * rate[7]  # without what the scores tell of the information


def test_a_linear_score_is_solved_to_rounding():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(5, 5))
    A = A @ A.T + np.eye(5)
    root = rng.normal(size=5)
    secants, beta = Secants(lambda v: v / np.trace(A)), np.zeros(5)
    for _ in range(60):
        beta = beta + secants.step(beta, A @ (root - beta))
    np.testing.assert_allclose(beta, root, rtol=1e-9)


@pytest.mark.parametrize("curvature", [0.0, -1.0])
def test_ways_of_no_curvature_teach_nothing(curvature):
    secants = Secants(lambda v: v)
    first = secants.step(np.zeros(2), np.array([1.0, 0.0]))
    second = secants.step(first, np.array([1.0, 0.0]) - curvature * first)
    np.testing.assert_array_equal(second, np.array([1.0, 0.0]) - curvature * first)
