"""Draws follow their distribution: SciPy's for the built-in families, closed forms for declared."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from expfam_glm import Family, Integers, Interval, Positive, families
from expfam_glm.errors import ArgumentError, DataError, DeclarationError
from expfam_glm.numerics.inversion import quantiles
from expfam_glm.numerics.random import draw
from expfam_glm.numerics.tables import Distributions
from tests.declared import (
    continuous_bernoulli,
    counts_with_alpha,
    logarithmic,
    zero_truncated_poisson,
)

N = 20_000
LEAST_P = 1e-4  # of a goodness-of-fit test with a fixed seed
PROBABILITY = 1e-10  # error of F(F⁻¹(u)), far below what any sample can show

mirrored_gamma = Family(  # −Y gamma, to enter the half-line that is infinite below
    "mirrored_gamma",
    b=lambda theta: -pt.log(theta),
    c=lambda y, a: -pt.log(a) / a + (1 / a - 1) * pt.log(-y) - pt.gammaln(1 / a),
    support=Interval(None, 0),
    theta_domain=Positive,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(20240611)


def fits_counts(counts: np.ndarray, pmf) -> bool:
    """Chi-square test of counts against probabilities, cells of expectation five or more."""
    values = np.arange(int(counts.min()), int(counts.max()) + 1)
    expected = pmf(values) * counts.size
    observed = np.array([(counts == v).sum() for v in values], dtype=float)
    keep = expected >= 5
    observed = np.append(observed[keep], observed[~keep].sum())
    expected = np.append(expected[keep], counts.size - expected[keep].sum())
    if expected[-1] < 5:
        observed = np.append(observed[:-2], observed[-2:].sum())
        expected = np.append(expected[:-2], expected[-2:].sum())
    return stats.chisquare(observed, expected).pvalue > LEAST_P


nb = families.negative_binomial(alpha=0.7)
CONTINUOUS = {
    "normal": (families.normal, lambda mu, r: stats.norm(mu, r**-0.5)),
    "gamma": (families.gamma, lambda mu, r: stats.gamma(r, scale=mu / r)),
    "inverse_gaussian": (families.inverse_gaussian, lambda mu, r: stats.invgauss(mu / r, scale=r)),
}
DISCRETE = {
    "poisson": (families.poisson, lambda mu, r: stats.poisson(mu * r)),
    "binomial": (families.binomial, lambda mu, r: stats.binom(r, mu)),
    "negative_binomial": (nb, lambda mu, r: stats.nbinom(r / 0.7, 1 / (1 + 0.7 * mu))),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_built_in_families_follow_scipy(name: str) -> None:
    family, reference = CONTINUOUS[name]
    y = draw(family, 2.5, 0.4, rng(), N, weights=3.0)
    assert stats.kstest(y, reference(2.5, 3 / 0.4).cdf).pvalue > LEAST_P


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_built_in_families_follow_scipy(name: str) -> None:
    family, reference = DISCRETE[name]
    y = draw(family, 0.6, None, rng(), N, weights=4.0)
    assert np.allclose(y * 4, np.rint(y * 4))
    assert fits_counts(np.rint(y * 4), reference(0.6, 4).pmf)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("a", [0.01, 1.0, 5.0])
def test_inversion_agrees_with_scipy_where_both_exist(name: str, a: float) -> None:
    family, reference = CONTINUOUS[name]
    mu, u = np.exp(rng().normal(0, 1, 300)), rng().random(300)
    theta = np.asarray(family.theta_of(mu))
    y = quantiles(Distributions.of(family, theta, np.full(300, a), {}), u)
    assert np.max(np.abs(reference(mu, 1 / a).cdf(y) - u)) < PROBABILITY


@pytest.mark.parametrize("name", DISCRETE)
def test_inversion_of_counts_is_exact(name: str) -> None:
    family, reference = DISCRETE[name]
    r = np.array([1.0, 5.0, 40.0])[rng().integers(0, 3, 2000)]
    mu, u = rng().random(2000), rng().random(2000)
    theta = np.asarray(family.theta_of(mu))
    counts = quantiles(Distributions.of(family, theta, 1 / r, {}), u) * r
    assert np.array_equal(np.rint(counts), reference(mu, r).ppf(u))


@pytest.mark.parametrize("mean", [1e-8, 1e-3, 1.0, 1e3, 1e5])
def test_inversion_reaches_both_tails(mean: float) -> None:
    u = np.array([1e-10, 1e-4, 0.5, 1 - 1e-4, 1 - 1e-10])
    theta = np.full(5, np.log(mean))
    counts = quantiles(Distributions.of(families.poisson, theta, np.ones(5), {}), u)
    assert np.array_equal(counts, stats.poisson.ppf(u, mean))


def test_zero_truncated_poisson() -> None:
    rate = 1.3
    y = draw(zero_truncated_poisson, rate / -np.expm1(-rate), None, rng(), N)
    assert fits_counts(y, lambda k: stats.poisson.pmf(k, rate) / -np.expm1(-rate))


def test_logarithmic_series() -> None:
    p = 0.8
    y = draw(logarithmic, -p / ((1 - p) * np.log1p(-p)), None, rng(), N)
    assert fits_counts(y, stats.logser(p).pmf)


@pytest.mark.parametrize("theta", [-40.0, -2.0, 1e-3, 6.0])
def test_continuous_bernoulli(theta: float) -> None:
    y = draw(continuous_bernoulli, None, None, rng(), N, theta=theta)
    assert np.all((y > 0) & (y < 1))
    assert stats.kstest(y, lambda x: np.expm1(theta * x) / np.expm1(theta)).pvalue > LEAST_P


def test_a_support_that_is_infinite_below() -> None:
    y = draw(mirrored_gamma, -2.0, 0.5, rng(), N)
    assert stats.kstest(-y, stats.gamma(2.0, scale=1.0).cdf).pvalue > LEAST_P


def test_many_different_means_at_once() -> None:
    rate = np.exp(rng().normal(1, 1, (500, 40)))
    y = draw(zero_truncated_poisson, rate / -np.expm1(-rate), None, rng())
    scores = (stats.poisson.cdf(y, rate) - np.exp(-rate)) / -np.expm1(-rate)
    before = (stats.poisson.cdf(y - 1, rate) - np.exp(-rate)) / -np.expm1(-rate)
    jitter = np.random.default_rng(7).random(y.shape)
    uniform = before + (scores - before) * jitter
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > LEAST_P


def test_a_shape_parameter_may_vary_by_row() -> None:
    y = draw(counts_with_alpha, 2.0, None, rng(), (N, 2), alpha=[0.3, 2.0])
    for column, alpha in enumerate((0.3, 2.0)):
        assert fits_counts(y[:, column], stats.nbinom(1 / alpha, 1 / (1 + 2 * alpha)).pmf)


def test_a_renamed_copy_is_drawn_from_its_own_declaration() -> None:
    other = Family("my_poisson", b=pt.exp, c=lambda y, a: -pt.gammaln(y + 1),
                   support=Integers(0, None), phi=1.0)  # fmt: skip
    y = draw(other, 3.0, None, rng(), N)
    assert fits_counts(y, stats.poisson(3.0).pmf)


def test_means_at_the_edge_of_a_discrete_support_are_certain() -> None:
    assert draw(families.binomial, [0.0, 1.0], None, rng()).tolist() == [0.0, 1.0]
    assert draw(zero_truncated_poisson, 1.0, None, rng()) == 1.0


def test_means_beyond_what_floats_count_are_normal() -> None:
    y = draw(families.poisson, 1e20, None, rng(), N)
    assert stats.kstest((y - 1e20) / 1e10, "norm").pvalue > LEAST_P


def test_equal_seeds_give_equal_draws() -> None:
    first, second = (draw(logarithmic, [2.0, 3.0], None, rng(), (50, 2)) for _ in range(2))
    assert np.array_equal(first, second)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)))
def test_order_of_the_rows_changes_nothing(order: list[int]) -> None:
    theta = np.repeat(np.linspace(-2, 2, 6), 2)
    u = np.linspace(0.01, 0.99, 12)
    straight = quantiles(Distributions.of(continuous_bernoulli, theta, np.ones(12), {}), u)
    mixed = quantiles(
        Distributions.of(continuous_bernoulli, theta[order], np.ones(12), {}), u[order]
    )
    assert np.array_equal(straight[order], mixed)


def test_quasi_families_are_refused() -> None:
    with pytest.raises(ArgumentError, match="declares no density"):
        draw(families.quasi_poisson, 1.0, 1.0, rng())


def test_a_free_dispersion_is_asked_for() -> None:
    with pytest.raises(ArgumentError, match="give phi="):
        draw(families.gamma, 1.0, None, rng())


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(DataError, match=r"means of 'poisson' .* row 1: -2"):
        draw(families.poisson, [1.0, -2.0], None, rng())
    with pytest.raises(DataError, match="must be positive"):
        draw(families.gamma, 1.0, 1.0, rng(), weights=[1.0, 0.0])
    with pytest.raises(DataError, match="must be whole"):
        draw(families.binomial, 0.5, None, rng(), weights=2.5)
    with pytest.raises(DataError, match="at the edge"):
        draw(continuous_bernoulli, 1.0, None, rng())


def test_a_size_that_does_not_hold_the_parameters_is_refused() -> None:
    for size in (3, (2, 3)):
        with pytest.raises(ArgumentError, match="does not hold"):
            draw(families.normal, np.zeros(2), 1.0, rng(), size)


def test_a_declaration_that_does_not_add_up_is_refused() -> None:
    without_base = Family("no_base", b=pt.exp, c=lambda y, a: 0.0 * y,
                          support=Integers(0, None), phi=1.0)  # fmt: skip
    with pytest.raises(DeclarationError, match="add up to"):
        draw(without_base, 2.0, None, rng())
    with pytest.raises(DeclarationError, match=r"c\(y, a\) holds for this a"):
        draw(zero_truncated_poisson, 2.0, None, rng(), weights=2.0)
