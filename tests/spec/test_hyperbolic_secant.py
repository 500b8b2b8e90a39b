"""Morris's sixth family with a quadratic variance function against SciPy and mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

import expfam_glm as eg
from expfam_glm.kernels.row import row_kernel
from expfam_glm.spec import families
from tests.tolerances import DEFAULT, ROUNDING

secant = eg.families.hyperbolic_secant
MEANS = np.array([-40.0, -2.0, -1e-6, 0.0, 0.3, 1.0, 7.0])


def exact_density(y: float, mu: float, phi: float) -> mpmath.mpf:
    """The log-density by its formula in 40 digits."""
    with mpmath.workdps(40):
        y, mu, r = mpmath.mpf(y), mpmath.mpf(mu), 1 / mpmath.mpf(phi)
        kernel = y * mpmath.atan(mu) - mpmath.log(1 + mu**2) / 2
        gammas = 2 * mpmath.re(mpmath.loggamma(r * (1 + 1j * y) / 2)) - mpmath.loggamma(r)
        base = mpmath.log(r) + (r - 2) * mpmath.log(2) - mpmath.log(mpmath.pi)
        return kernel * r + base + gammas


def test_log_density_is_that_of_scipy_at_mean_zero():
    y = np.linspace(-30, 30, 61)
    expected = stats.hypsecant.logpdf(np.pi * y / 2) + np.log(np.pi / 2)
    np.testing.assert_allclose(secant.logpdf(y, 0.0, 1.0), expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("phi", [1e-3, 0.2, 1.0, 5.0, 300.0])
def test_log_density_is_exact(phi):
    y, mu = (a.ravel() for a in np.meshgrid([-1e3, -3.0, 0.0, 1e-7, 0.5, 1.0, 60.0], MEANS))
    exact = np.array([float(exact_density(a, b, phi)) for a, b in zip(y, mu, strict=True)])
    # no sum is better than the rounding of its largest term, lnΓ(r) or y θ r
    size = (np.abs(y * np.arctan(mu)) + np.log1p(1 / phi) + 2) / phi
    gap = np.abs(secant.logpdf(y, mu, phi) - exact)
    assert np.all(gap <= ROUNDING * np.maximum(1, np.abs(exact)) + 8 * np.finfo(float).eps * size)


@pytest.mark.parametrize(("mu", "phi", "w"), [(0.0, 1.0, 1.0), (2.0, 0.4, 1.0), (-1.5, 2.0, 3.0)])
def test_density_has_mass_one_and_the_declared_moments(mu, phi, w):
    def moment(k: int) -> float:
        density = lambda y: (y - mu) ** k * np.exp(secant.logpdf(y, mu, phi, weights=w))  # noqa: E731
        parts = [(-np.inf, -5.0), (-5.0, mu), (mu, 9.0), (9.0, np.inf)]
        return sum(integrate.quad(density, *part, epsabs=1e-13, limit=200)[0] for part in parts)

    assert moment(0) == pytest.approx(1, rel=DEFAULT)
    assert moment(1) == pytest.approx(0, abs=DEFAULT)
    assert moment(2) == pytest.approx(phi / w * (1 + mu**2), rel=DEFAULT)


def test_mean_variance_and_links():
    np.testing.assert_allclose(secant.mean(secant.theta_of(MEANS)), MEANS, rtol=1e-13, atol=1e-15)
    wide = np.array([-1e12, -3.0, 0.0, 1e-9, 2.0, 1e9])
    np.testing.assert_allclose(secant.variance(wide), 1 + wide**2, rtol=1e-14)
    assert secant.link.name == "identity"
    link = secant.canonical_link
    assert (link.codomain.low, link.codomain.high) == (-np.pi / 2, np.pi / 2)
    np.testing.assert_allclose(link(MEANS), np.arctan(MEANS), rtol=1e-15)


def test_deviance_is_exact_and_keeps_digits_near_the_mean():
    y, mu = (a.ravel() for a in np.meshgrid([-5.0, 0.0, 1.0, 1.001, 300.0], MEANS))
    with mpmath.workdps(40):
        exact = [
            2 * (b * (mpmath.atan(b) - mpmath.atan(m)) + mpmath.log((1 + m**2) / (1 + b**2)) / 2)
            for b, m in zip(map(mpmath.mpf, y), map(mpmath.mpf, mu), strict=True)
        ]
    np.testing.assert_allclose(
        secant.deviance(y, mu), np.array(exact, float), rtol=1e-12, atol=1e-15
    )


def test_information_has_no_cancellation_far_out():
    eta = np.array([1e8, -3e5])
    weight, score = row_kernel(secant, secant.link, ("weight", "score"))(eta, eta + 1, 1.0)
    np.testing.assert_allclose(weight, 1 / (1 + eta**2), rtol=1e-12)
    np.testing.assert_allclose(score, 1 / (1 + eta**2), rtol=1e-7)  # y − μ has lost them


def test_it_is_built_in_and_takes_weights():
    assert families.is_built_in(secant)
    assert families.named("hyperbolic_secant") == secant


@pytest.mark.parametrize("link", ["identity", "canonical"])
def test_fit_is_the_maximum_of_its_log_likelihood(link):
    data = eg.load_data("clotting")
    chosen = secant.canonical_link if link == "canonical" else link
    model = eg.GLM("time ~ log(u) + lot", data, family="hyperbolic_secant", link=chosen)
    tree = model.fit(dispersion="ml", tol=1e-10)
    beta, phi = tree["fit"]["beta"].values, float(tree["fit"]["phi"])
    y, X = np.asarray(data["time"], float), model.problem.X

    def loglik(beta: np.ndarray, phi: float) -> float:
        mu = X @ beta if link == "identity" else np.tan(X @ beta)
        return float(sum(exact_density(a, m, phi) for a, m in zip(y, mu, strict=True)))

    best = loglik(beta, phi)
    assert best == pytest.approx(float(tree["fit_stats"]["loglik"]), rel=DEFAULT)
    for j, se in enumerate(tree["fit"]["se"].values):
        step = np.zeros(beta.size)
        step[j] = 1e-3 * se
        up, down = loglik(beta + step, phi), loglik(beta - step, phi)
        # the vertex of the parabola through three points is at the estimate
        assert abs((up - down) / (2 * (up + down - 2 * best))) < 1e-2
    up, down = loglik(beta, phi * 1.001), loglik(beta, phi / 1.001)
    assert max(up, down) < best and abs(up - down) < 1e-2 * abs(up + down - 2 * best)
