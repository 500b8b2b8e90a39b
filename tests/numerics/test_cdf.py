"""Distribution functions and quantiles: SciPy's for built-in families, mpmath for declared ones."""

from __future__ import annotations

from collections.abc import Iterator

import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

from expfam_glm import Family, Interval, families
from expfam_glm.errors import ArgumentError, DataError, DeclarationError
from expfam_glm.numerics import cdf as module
from expfam_glm.numerics.tables import Distributions
from expfam_glm.numerics.tilting import _knots, draws
from tests.declared import continuous_bernoulli, logarithmic, zero_truncated_poisson

AGREED = 1e-10  # relative, in both tails; what is asked of the distribution functions
N = 300
RNG = np.random.default_rng(3)
MU = np.exp(RNG.normal(0, 2, N))
P = special.expit(RNG.normal(0, 2, N))
R = np.maximum(np.exp(RNG.normal(0, 1.5, N)), 0.5)
TRIALS = RNG.integers(1, 200, N).astype(float)
Q = np.concatenate([RNG.random(100), 10.0 ** RNG.uniform(-60, -1, 100), 1 - RNG.random(100) ** 4])
nb = families.negative_binomial(alpha=0.7)
BUILT_IN = {
    "normal": (families.normal, MU, 1 / R, 1.0, stats.norm(MU, R**-0.5)),
    "gamma": (families.gamma, MU, 1 / R, 1.0, stats.gamma(R, scale=MU / R)),
    "inverse_gaussian": (families.inverse_gaussian, MU, 1 / R, 1.0,
                         stats.invgauss(MU / R, scale=R)),
    "poisson": (families.poisson, MU, None, 1.0, stats.poisson(MU)),
    "binomial": (families.binomial, P, None, TRIALS, stats.binom(TRIALS, P)),
    "negative_binomial": (nb, MU, None, 1.0, stats.nbinom(1 / 0.7, 1 / (1 + 0.7 * MU))),
}  # fmt: skip


@pytest.fixture(params=["closed forms", "declaration alone"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "declaration alone":
        monkeypatch.setattr(module, "closed_form", lambda family: None)
    yield request.param


def responses(reference, name: str) -> np.ndarray:
    """Points from the far lower to the upper tail; SciPy's quantile of invgauss fails there."""
    return reference.ppf(np.clip(Q, 1e-3, 0.999) if name == "inverse_gaussian" else Q)


@pytest.mark.parametrize("name", BUILT_IN)
def test_both_tails_of_built_in_families_are_those_of_scipy(name: str, road: str) -> None:
    family, mu, phi, w, reference = BUILT_IN[name]
    y = responses(reference, name)
    for ours, theirs in ((family.cdf, reference.cdf), (family.sf, reference.sf)):
        # 1e-290: SciPy's values below lose digits to denormal numbers
        np.testing.assert_allclose(ours(y / w, mu, phi, weights=w), theirs(y), AGREED, 1e-290)


@pytest.mark.parametrize("name", ["normal", "gamma", "poisson", "negative_binomial"])
def test_quantiles_of_built_in_families_are_those_of_scipy(name: str, road: str) -> None:
    family, mu, phi, w, reference = BUILT_IN[name]
    rows = slice(80, 130)
    frozen = family.ppf(Q, mu, phi, weights=w)[rows]
    np.testing.assert_allclose(frozen, reference.ppf(Q)[rows], AGREED)


@pytest.mark.parametrize("name", BUILT_IN)
def test_quantiles_invert_the_distribution_function(name: str) -> None:
    family, mu, phi, w, _ = BUILT_IN[name]
    y = family.ppf(Q, mu, phi, weights=w)
    reached = family.cdf(y, mu, phi, weights=w)
    if family.support.discrete:
        assert np.all(reached >= Q * (1 - 1e-12))
        before = family.cdf(y - 1 / np.broadcast_to(w, y.shape), mu, phi, weights=w)
        assert np.all(before < Q * (1 + 1e-12))
    else:
        np.testing.assert_allclose(reached, Q, rtol=1e-11)


def test_the_deep_upper_tail() -> None:
    np.testing.assert_allclose(families.normal.sf(35.0, 0.0, 1.0), stats.norm.sf(35), AGREED)
    ours = zero_truncated_poisson.sf(150, 20.0)
    rate = np.exp(zero_truncated_poisson.theta_of(20.0))
    np.testing.assert_allclose(ours, stats.poisson.sf(150, rate) / -np.expm1(-rate), AGREED)


@pytest.mark.parametrize("theta", [-30.0, -1.0, 0.5, 40.0])
def test_continuous_bernoulli_by_mpmath(theta: float) -> None:
    y = np.array([1e-6, 0.1, 0.5, 0.97, 1 - 1e-6])
    mu = continuous_bernoulli.mean(theta)
    with mp.workdps(40):
        exact = [float(mp.expm1(theta * mp.mpf(v)) / mp.expm1(theta)) for v in y]
        above = [float((mp.exp(theta) - mp.exp(theta * mp.mpf(v))) / mp.expm1(theta)) for v in y]
    np.testing.assert_allclose(continuous_bernoulli.cdf(y, mu), exact, AGREED)
    np.testing.assert_allclose(continuous_bernoulli.sf(y, mu), above, AGREED)


@pytest.mark.parametrize("theta", [-5.0, -0.5, -0.02])
def test_logarithmic_series_by_mpmath(theta: float) -> None:
    y = np.array([1.0, 2, 7, 40])
    with mp.workdps(150):
        p = mp.exp(theta)
        sums = [mp.fsum(p**k / k for k in range(1, int(v) + 1)) for v in y]
        exact = np.array([float(-s / mp.log1p(-p)) for s in sums])
        above = np.array([float(1 + s / mp.log1p(-p)) for s in sums])
    mu = logarithmic.mean(theta)
    np.testing.assert_allclose(logarithmic.cdf(y, mu), exact, AGREED)
    np.testing.assert_allclose(logarithmic.sf(y, mu), above, AGREED)


def test_outside_and_at_the_ends_of_the_support() -> None:
    assert families.gamma.cdf([-1.0, 0.0, np.inf], 2.0, 0.5).tolist() == [0, 0, 1]
    assert continuous_bernoulli.cdf([-1.0, 0.0, 1.0, 2.0], 0.3).tolist() == [0, 0, 1, 1]
    assert zero_truncated_poisson.cdf([0.0, -3.0, np.inf], 2.0).tolist() == [0, 0, 1]
    assert families.binomial.cdf([-0.1, 1.0], 0.5, weights=4).tolist() == [0, 1]
    assert families.poisson.cdf([0.0, 1.0], 0.0).tolist() == [1, 1]  # a mean at the edge
    assert families.poisson.ppf([0.0, 1.0], 3.0).tolist() == [0, np.inf]
    assert families.poisson.cdf(2.7, 3.0) == families.poisson.cdf(2.0, 3.0)


def test_proportions_are_exact_counts() -> None:
    k = np.arange(50)
    y = k / 49
    np.testing.assert_allclose(
        families.binomial.cdf(y, 0.3, weights=49), stats.binom(49, 0.3).cdf(k), AGREED
    )


def test_refusals() -> None:
    with pytest.raises(DataError, match="NaN; found row 1"):
        families.poisson.cdf([1.0, np.nan], 2.0)
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        families.poisson.ppf(1.5, 2.0)
    with pytest.raises(ArgumentError, match="no distribution function"):
        families.quasi_poisson.cdf(1.0, 1.0, 1.0)
    with pytest.raises(ArgumentError, match="no argument"):
        families.poisson.cdf(1.0, 1.0, alpha=2.0)
    with pytest.raises(ArgumentError, match=r"must be a numpy\.random\.Generator"):
        families.poisson.random(1.0, rng=-1)
    with pytest.raises(DeclarationError, match="add up to"):
        zero_truncated_poisson.cdf(2.0, 2.0, weights=2.0)


@pytest.mark.slow
def test_an_atom_beside_a_density() -> None:
    """Zero with probability e^−λ, else exponential sums: compound Poisson, closed by Bessel."""
    import pytensor.tensor as pt

    def c(y, a):
        z = 4 * pt.sqrt(y) / a  # Tweedie with power 3/2: b = −4/θ
        inner = pt.log(pt.ive(1.0, z)) + z - pt.log(a) + pt.log(2.0) - 0.5 * pt.log(y)
        return pt.switch(y > 0, inner, 0.0)

    tweedie = Family(
        "tweedie_three_halves", b=lambda theta: -4 / theta, c=c,
        support=Interval(0, None, closed="left", atom=0.0), theta_domain=Interval(None, 0),
        theta=lambda mu: -2 / pt.sqrt(mu), phi=None, link="log",
    )  # fmt: skip
    mu, phi = 1.5, 0.8
    rate, scale = 2 * np.sqrt(mu) / phi, phi * np.sqrt(mu) / 2
    n = np.arange(1, 80)
    for y in (0.0, 0.01, 1.0, 6.0):
        terms = stats.poisson.pmf(n, rate) * stats.gamma.cdf(y, n, scale=scale)
        exact = stats.poisson.pmf(0, rate) + terms.sum()
        np.testing.assert_allclose(tweedie.cdf(y, mu, phi), exact, AGREED)
    assert tweedie.cdf(-1.0, mu, phi) == 0
    y = tweedie.random(np.full(20_000, mu), phi, rng=4)
    assert abs((y == 0).mean() - np.exp(-rate)) < 4 * np.sqrt(np.exp(-rate) / y.size)
    assert stats.kstest(y[y > 0], lambda x: (tweedie.cdf(x, mu, phi) - np.exp(-rate))
                        / -np.expm1(-rate)).pvalue > 1e-4  # fmt: skip
    assert tweedie.ppf([0.01, 0.9], mu, phi)[0] == 0
    np.testing.assert_allclose(tweedie.cdf(tweedie.ppf(0.9, mu, phi), mu, phi), 0.9, AGREED)


def test_rejection_between_knots_keeps_each_distribution() -> None:
    """Few tables serve many means, and the probability transform of all draws is uniform."""
    theta = np.linspace(-6, 6, 20_000)
    many = Distributions.of(continuous_bernoulli, theta, np.ones(theta.size), {})
    assert _knots(many)[0].size < 60
    u = np.expm1(theta * draws(many, np.random.default_rng(5))) / np.expm1(theta)
    for part in np.split(u, 4):
        assert stats.kstest(part, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("mean", [1e8, 1e9, 1e10, 1e12])
def test_counts_that_a_float_can_hold_are_told_apart(mean):
    counts = mean + np.array([-1.0, 0.0, 1.0])
    found = families.poisson.cdf(counts, mu=mean)
    np.testing.assert_allclose(found, stats.poisson.cdf(counts, mean), rtol=1e-12)
    share = 0.5 + (counts - mean) / (4 * mean)  # of 4 mean trials
    halves = families.binomial.cdf(share, mu=0.5, weights=4 * mean)
    trials = stats.binom.cdf(mean + counts, 4 * mean, 0.5)
    np.testing.assert_allclose(halves, trials, rtol=1e-10)


def test_a_built_in_family_without_digits_is_not_called_a_wrong_declaration():
    with pytest.raises(DataError, match="leave too few digits"):
        families.poisson.ppf(0.975, mu=1e10)
