"""Frozen distributions of families against those of SciPy, method by method."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from expfam_glm import families
from expfam_glm.errors import ArgumentError
from tests.tolerances import DEFAULT

PAIRS = {
    "normal": (families.normal.to_scipy([1.0, -2.0], 0.5), stats.norm([1.0, -2.0], 0.5**0.5), 1),
    "gamma": (families.gamma.to_scipy([0.5, 4.0], 0.4), stats.gamma(2.5, scale=[0.2, 1.6]), 1),
    "inverse_gaussian": (
        families.inverse_gaussian.to_scipy([0.5, 4.0], 0.5),
        stats.invgauss([0.25, 2.0], scale=2.0), 1,
    ),
    "poisson": (families.poisson.to_scipy([0.5, 40.0]), stats.poisson([0.5, 40.0]), 1),
    "binomial": (families.binomial.to_scipy([0.2, 0.9], weights=20),
                 stats.binom(20, [0.2, 0.9]), 20),
    "negative_binomial": (
        families.negative_binomial(alpha=0.5).to_scipy([0.5, 4.0]),
        stats.nbinom(2, 1 / (1 + 0.5 * np.array([0.5, 4.0]))), 1,
    ),
}  # fmt: skip
Q = np.array([[0.001], [0.1], [0.5], [0.9], [0.9999]])


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest):
    return PAIRS[request.param]


def test_methods_are_those_of_scipy(pair) -> None:
    ours, theirs, trials = pair
    y = theirs.ppf(Q)
    np.testing.assert_allclose(ours.ppf(Q) * trials, y, DEFAULT)
    np.testing.assert_allclose(ours.isf(Q) * trials, theirs.isf(Q), DEFAULT)
    discrete = ours.family.support.discrete
    names = ["cdf", "sf", "logcdf", "logsf"]
    names += ["pmf", "logpmf"] if discrete else ["pdf", "logpdf"]
    for name in names:
        expected = getattr(theirs, name)(y)
        np.testing.assert_allclose(getattr(ours, name)(y / trials), expected, DEFAULT, 1e-12)
    np.testing.assert_allclose(ours.mean() * trials, theirs.mean(), DEFAULT)
    np.testing.assert_allclose(ours.std() * trials, theirs.std(), DEFAULT)
    np.testing.assert_allclose(ours.var() * trials**2, theirs.var(), DEFAULT)
    np.testing.assert_allclose(ours.median() * trials, theirs.median(), DEFAULT)
    for mine, other in zip(ours.interval(0.9), theirs.interval(0.9), strict=True):
        np.testing.assert_allclose(np.asarray(mine) * trials, other, DEFAULT)
    for mine, other in zip(ours.support(), theirs.support(), strict=True):
        np.testing.assert_array_equal(np.asarray(mine) * trials, other)


def test_draws(pair) -> None:
    ours, theirs, trials = pair
    y = ours.rvs((4000, 2), random_state=1) * trials
    assert np.all(np.abs(y.mean(axis=0) - theirs.mean()) < 4 * theirs.std() / 4000**0.5)
    np.testing.assert_array_equal(y, ours.rvs((4000, 2), random_state=1) * trials)


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="has no pmf"):
        families.gamma.to_scipy(1.0, 1.0).pmf(1.0)
    with pytest.raises(ArgumentError, match="give phi="):
        families.gamma.to_scipy(1.0)
    with pytest.raises(ArgumentError, match="confidence"):
        families.gamma.to_scipy(1.0, 1.0).interval(1.5)
