"""Log-densities, deviances and links of the built-in families in mpmath, from the textbook forms.

They are written from the usual parametrisations (Poisson counts, successes out of N, shape and
scale), not from b and c, so that they share nothing with what they check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

DIGITS = 60


def number(x: Any) -> mp.mpf:
    """A double as an exact number."""
    return mp.mpf(float(x))


def exactly(function: Callable[..., Any], *columns: Any) -> np.ndarray:
    """The function at every row of the broadcast columns, rounded to doubles at the end."""
    arrays = np.broadcast_arrays(*(np.asarray(c, float) for c in columns))
    with mp.workdps(DIGITS):
        rows = zip(*(a.ravel() for a in arrays), strict=True)
        values = [float(function(*map(number, row))) for row in rows]
    return np.array(values).reshape(arrays[0].shape)


def times_log(x: mp.mpf, y: mp.mpf) -> mp.mpf:
    """x log y, zero at x = 0."""
    return x * mp.log(y) if x else mp.mpf(0)


# ---- log-densities of (y, μ, φ, w) ---------------------------------------------------------------


def normal(y, mu, phi, w):
    return -w * (y - mu) ** 2 / (2 * phi) - mp.log(2 * mp.pi * phi / w) / 2


def poisson(y, mu, phi, w):
    count, rate = mp.nint(y * w), mu * w
    return times_log(count, rate) - rate - mp.loggamma(count + 1)


def binomial(y, mu, phi, w):
    k, n = mp.nint(y * w), w
    choose = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)
    return choose + times_log(k, mu) + times_log(n - k, 1 - mu)


def gamma(y, mu, phi, w):
    shape, scale = w / phi, mu * phi / w
    return (shape - 1) * mp.log(y) - y / scale - shape * mp.log(scale) - mp.loggamma(shape)


def inverse_gaussian(y, mu, phi, w):
    rate = w / phi
    return mp.log(rate / (2 * mp.pi * y**3)) / 2 - rate * (y - mu) ** 2 / (2 * mu**2 * y)


def negative_binomial(alpha):
    def logpmf(y, mu, phi, w):
        k, size, odds = mp.nint(y * w), w / number(alpha), number(alpha) * mu
        choose = mp.loggamma(k + size) - mp.loggamma(size) - mp.loggamma(k + 1)
        return choose + times_log(k, odds / (1 + odds)) - size * mp.log(1 + odds)

    return logpmf


# ---- unit deviances of (y, μ), as R's family objects give them -----------------------------------


def normal_deviance(y, mu):
    return (y - mu) ** 2


def poisson_deviance(y, mu):
    return 2 * (times_log(y, y / mu) - (y - mu))


def binomial_deviance(y, mu):
    return 2 * (times_log(y, y / mu) + times_log(1 - y, (1 - y) / (1 - mu)))


def gamma_deviance(y, mu):
    return -2 * (mp.log(y / mu) - (y - mu) / mu)


def inverse_gaussian_deviance(y, mu):
    return (y - mu) ** 2 / (y * mu**2)


def negative_binomial_deviance(alpha):
    def deviance(y, mu):
        size = 1 / number(alpha)
        return 2 * (times_log(y, y / mu) - (y + size) * mp.log((y + size) / (mu + size)))

    return deviance


# ---- links: μ and 1 − μ at η, neither by subtraction, and dμ/dη ----------------------------------


def logit_mean(eta):
    return 1 / (1 + mp.exp(-eta)), 1 / (1 + mp.exp(eta))


def probit_mean(eta):
    return mp.erfc(-eta / mp.sqrt(2)) / 2, mp.erfc(eta / mp.sqrt(2)) / 2


def cloglog_mean(eta):
    return -mp.expm1(-mp.exp(eta)), mp.exp(-mp.exp(eta))


def loglog_mean(eta):
    return mp.exp(-mp.exp(-eta)), -mp.expm1(-mp.exp(-eta))


def cauchit_mean(eta):
    return mp.atan2(1, -eta) / mp.pi, mp.atan2(1, eta) / mp.pi


TAILS = {
    "logit": (logit_mean, lambda e: 1 / ((1 + mp.exp(-e)) * (1 + mp.exp(e)))),
    "probit": (probit_mean, lambda e: mp.exp(-(e**2) / 2) / mp.sqrt(2 * mp.pi)),
    "cloglog": (cloglog_mean, lambda e: mp.exp(e - mp.exp(e))),
    "loglog": (loglog_mean, lambda e: mp.exp(-e - mp.exp(-e))),
    "cauchit": (cauchit_mean, lambda e: 1 / (mp.pi * (1 + e**2))),
}


def link_slope(name, eta):
    """dμ/dη in closed form."""
    return TAILS[name][1](eta)


def log_odds(name, eta):
    """θ = log μ − log(1 − μ)."""
    mu, rest = TAILS[name][0](eta)
    return mp.log(mu) - mp.log(rest)


def log_odds_slope(name, eta):
    """dθ/dη."""
    mu, rest = TAILS[name][0](eta)
    return link_slope(name, eta) / (mu * rest)


def binomial_score(name, eta, y):
    """(y − μ) θ′(η)."""
    mu, rest = TAILS[name][0](eta)
    gap = rest if y == 1 else y - mu
    return gap * log_odds_slope(name, eta)


def binomial_weight(name, eta):
    """(dμ/dη)²/(μ(1 − μ))."""
    return link_slope(name, eta) * log_odds_slope(name, eta)


def binomial_observed_weight(name, eta, y):
    """Minus the second derivative of y log μ + (1 − y) log(1 − μ)."""

    def loglik(e):
        mu, rest = TAILS[name][0](e)
        return y * mp.log(mu) + (1 - y) * mp.log(rest)

    return -mp.diff(loglik, eta, 2)


def binomial_loglik(name, eta, y):
    """y log μ + (1 − y) log(1 − μ), the small logarithm by log1p."""
    mu, rest = TAILS[name][0](eta)
    log_mu = mp.log1p(-rest) if rest < mu else mp.log(mu)
    log_rest = mp.log1p(-mu) if mu < rest else mp.log(rest)
    return (y * log_mu if y else 0) + ((1 - y) * log_rest if y < 1 else 0)
