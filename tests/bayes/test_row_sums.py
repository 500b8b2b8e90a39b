"""The sums of the fast lane: many points at once, far tails, large responses, tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import expfam_glm as eg
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.parabola import ParabolaSums
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.prior_terms import PriorTerms
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.responses import Tabulated
from expfam_glm.data.response import Problem
from tests.problems import problem
from tests.tolerances import ROUNDING


def posterior_of(own: Problem) -> LogPosterior:
    return LogPosterior(own, apply(own, "default"))


@pytest.mark.parametrize("name", ["gamma-log", "poisson-exposure", "normal"])
def test_many_points_at_once_are_those_one_by_one(name: str) -> None:
    posterior = posterior_of(problem(name))
    z = 0.1 * np.random.default_rng(1).standard_normal((7, posterior.n_dim))
    values = posterior.values(z)
    np.testing.assert_allclose(values, [posterior(own)[0] for own in z], rtol=ROUNDING)


def test_far_tails_are_exact() -> None:
    x = np.array([-900.0, -1.0, 2.0, 1000.0])
    y = np.array([0.0, 1.0, 0.0, 1.0])
    own = eg.GLM.from_arrays(y, x[:, None], family="binomial", labels=["x"]).problem
    posterior = LogPosterior(own, apply(own, "flat"))
    for beta in (0.5, 1.0, -1.0):
        value, gradient = posterior(np.array([beta]))
        expected = np.sum(y * x * beta - np.logaddexp(0.0, x * beta))
        np.testing.assert_allclose(value, expected, rtol=ROUNDING)
        np.testing.assert_allclose(gradient, [x @ (y - special.expit(x * beta))], rtol=ROUNDING)


def test_large_responses_lose_no_digits() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal(50)
    y = 1e8 + x + 0.1 * rng.standard_normal(50)
    own = eg.GLM.from_arrays(y, np.column_stack([np.ones(50), x]), family="normal").problem
    posterior = LogPosterior(own, apply(own, "flat"))
    assert isinstance(posterior.sums, ParabolaSums)
    z = np.array([1e8 + 0.01, 1.01, np.log(0.01)])
    expected = stats.norm.logpdf(y - 1e8, 0.01 + 1.01 * x, 0.1).sum()
    # z[2], log φ, is the Jacobian of the flat prior of φ
    digits = 1e8 * np.finfo(float).eps / 0.1  # of y itself, in standard deviations
    np.testing.assert_allclose(posterior(z)[0] - z[2], expected, atol=50 * 5 * digits)


def test_a_table_is_the_function_inside_and_outside_of_its_range() -> None:
    def direct(t: np.ndarray) -> np.ndarray:
        return np.array([np.sin(t[0]) - 3 * t[0], np.cos(t[0]) - 3])

    table = Tabulated(direct, -3.0)
    for t in (0.2, 1.4, -1.2, 5.0):
        np.testing.assert_allclose(table(t), direct(np.array([t])), rtol=ROUNDING, atol=ROUNDING)
    assert table.table is not None


def test_a_kink_is_not_tabulated() -> None:
    table = Tabulated(lambda t: np.array([abs(t[0]), np.sign(t[0])]), 0.0)
    assert table(0.1) == (0.1, 1.0)
    assert table.table is None


def test_a_prior_with_ends_is_no_parabola() -> None:
    normal, uniform = Prior("Normal", mu=1, sigma=2), Prior("Uniform", lower=-1, upper=2)
    assert PriorTerms([normal, normal]).parabola is not None
    terms = PriorTerms([normal, uniform])
    value, slope = terms.total(np.array([0.5, 1.5]))
    np.testing.assert_allclose(value, stats.norm.logpdf(0.5, 1, 2) - np.log(3), rtol=ROUNDING)
    np.testing.assert_allclose(slope, [0.125, 0.0])
    assert terms.total(np.array([0.5, 2.5]))[0] == -np.inf
