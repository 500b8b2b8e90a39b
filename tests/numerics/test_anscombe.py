"""Anscombe's residual by numerical integration against closed forms and mpmath."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.special import beta, betainc
from statsmodels.genmod import families as sm

import expfam_glm as eg
from expfam_glm.numerics.anscombe import anscombe
from tests.declared import zero_truncated_poisson
from tests.tolerances import DEFAULT, RELATIVE

SPREAD = np.array([1e-8, 0.02, 0.7, 1.0, 3.0, 50.0, 1e5])
PAIRS = [np.repeat(SPREAD, SPREAD.size), np.tile(SPREAD[::-1] * 1.1, SPREAD.size)]
COUNTS = [np.tile([0.0, 1.0, 2.0, 40.0], 3), np.repeat([0.01, 1.5, 300.0], 4)]
SHARES = [np.tile([0.0, 0.3, 0.999, 1.0], 3), np.repeat([1e-4, 0.5, 0.98], 4)]


def binomial_form(y: Any, mu: Any) -> Any:
    integral = beta(2 / 3, 2 / 3) * (betainc(2 / 3, 2 / 3, y) - betainc(2 / 3, 2 / 3, mu))
    return integral / (mu * (1 - mu)) ** (1 / 6)


CLOSED = {
    "normal": (PAIRS, lambda y, mu: y - mu),
    "poisson": (COUNTS, lambda y, mu: 1.5 * (y ** (2 / 3) - mu ** (2 / 3)) / mu ** (1 / 6)),
    "quasi_poisson": (PAIRS, lambda y, mu: 1.5 * (y ** (2 / 3) - mu ** (2 / 3)) / mu ** (1 / 6)),
    "gamma": (PAIRS, lambda y, mu: 3 * (np.cbrt(y) - np.cbrt(mu)) / np.cbrt(mu)),
    "inverse_gaussian": (PAIRS, lambda y, mu: np.log(y / mu) / np.sqrt(mu)),
    "binomial": (SHARES, binomial_form),
    "quasi_binomial": (SHARES, binomial_form),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str) -> None:
    (y, mu), form = CLOSED[name]
    found = anscombe(getattr(eg.families, name), y, mu)
    np.testing.assert_allclose(found, form(y, mu), rtol=DEFAULT)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("poisson", sm.Poisson()), ("binomial", sm.Binomial()), ("gamma", sm.Gamma()),
     ("inverse_gaussian", sm.InverseGaussian())],
)  # fmt: skip
def test_statsmodels(name: str, theirs: Any) -> None:
    y, mu = np.array([0.25, 0.5, 0.75]), np.array([0.3, 0.8, 0.1])
    found = anscombe(getattr(eg.families, name), y, mu)
    np.testing.assert_allclose(found, theirs.resid_anscombe(y, mu), rtol=RELATIVE)


def test_a_family_without_a_closed_form() -> None:
    """The zero-truncated Poisson, whose variance mpmath has from its rate."""

    def exact(y: float, mu: float) -> float:
        def mean(rate: Any) -> Any:
            return rate / -mp.expm1(-rate)

        def variance(rate: Any) -> Any:
            return mean(rate) * (1 + rate - mean(rate))

        def rate_at(m: float) -> Any:
            return mp.mpf(0) if m == 1 else mp.findroot(lambda r: mean(r) - m, m)

        low, high = rate_at(mu), rate_at(y)
        # dμ = V dθ and θ = log rate
        integral = mp.quad(lambda r: variance(r) ** (mp.mpf(2) / 3) / r, mp.linspace(low, high, 9))
        return float(integral / variance(low) ** (mp.mpf(1) / 6))

    y, mu = np.array([1.0, 2.0, 5.0, 9.0]), np.array([1.2, 3.0, 2.0, 8.5])
    expected = [exact(*pair) for pair in zip(y, mu, strict=True)]
    np.testing.assert_allclose(anscombe(zero_truncated_poisson, y, mu), expected, rtol=RELATIVE)


def test_the_negative_binomial_between_poisson_and_gamma() -> None:
    y, mu = np.array([0.0, 3.0, 11.0]), np.array([2.0, 2.0, 30.0])
    near = anscombe(eg.families.negative_binomial(alpha=1e-9), y, mu)
    np.testing.assert_allclose(near, anscombe(eg.families.poisson, y, mu), rtol=1e-7)
    far = anscombe(eg.families.negative_binomial(alpha=0.5), y, mu)

    def exact(y: float, mu: float) -> float:
        integral = mp.quad(lambda t: (t + t**2 / 2) ** (-mp.mpf(1) / 3), [mu, (y + mu) / 2, y])
        return float(integral / (mu + mu**2 / 2) ** (mp.mpf(1) / 6))

    np.testing.assert_allclose(far, [exact(*pair) for pair in zip(y, mu, strict=True)],
                               rtol=RELATIVE)  # fmt: skip
