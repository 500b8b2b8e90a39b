"""Closed forms for the built-in families: NumPy's generators and SciPy's distribution functions.

A family is known by its name and the graphs of b, c and a; the tests hold each form equal to what
follows from the declared density. r = 1/a.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from expfam_glm.errors import DataError, show_rows
from expfam_glm.numerics.tables import whole_count
from expfam_glm.spec import families
from expfam_glm.spec.family import Family

type Sampler = Callable[..., np.ndarray]  # (rng, μ, r, size)
type Tails = Callable[..., tuple[np.ndarray, np.ndarray]]  # (y, μ, r): P(Y ≤ y) and P(Y > y)

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_WHOLE = 2.0**53  # beyond this a float64 cannot hold every integer


@dataclass(frozen=True)
class Closed:
    """What is known of a family beside its declaration."""

    sampler: Sampler
    tails: Tails | None


@lru_cache(maxsize=256)
def closed_form(family: Family) -> Closed | None:
    """The closed forms of a built-in family; None for any other declaration."""
    if family.name not in _BUILT_IN:
        return None
    original, closed = _BUILT_IN[family.name]
    if families.named(original).fix(**family.fixed).digest != family.digest:
        return None
    tails = None if closed.tails is None else partial(closed.tails, **family.fixed)
    return Closed(partial(closed.sampler, **family.fixed), tails)


# ---- draws -------------------------------------------------------------------------------------


def _counts(rng: np.random.Generator, mean: np.ndarray, sd: Any, size: Any) -> np.ndarray:
    """Poisson counts, normal beyond the range in which floats hold every integer."""
    huge = mean > _WHOLE
    counts = rng.poisson(np.where(huge, 0.0, mean), size).astype(float)
    if np.any(huge):
        counts = np.where(huge, np.rint(rng.normal(mean, sd, size)), counts)
    return counts


def _poisson(rng: np.random.Generator, mu: Any, r: Any, size: Any) -> np.ndarray:
    return _counts(rng, mu * r, np.sqrt(mu * r), size) / r


def _binomial(rng: np.random.Generator, mu: Any, r: Any, size: Any) -> np.ndarray:
    trials = _trials(r)
    return rng.binomial(trials.astype(np.int64), mu, size) / trials


def _negative_binomial(
    rng: np.random.Generator, mu: Any, r: Any, size: Any, alpha: Any
) -> np.ndarray:
    rates = rng.gamma(r / alpha, alpha * mu, size)
    return _counts(rng, rates, np.sqrt(rates), size) / r


def _trials(r: Any) -> np.ndarray:
    """The numbers of trials, which must be whole."""
    trials = np.rint(r)
    bad = ~(np.abs(r - trials) <= 1e-9 * r)
    if np.any(bad):
        raise DataError(
            "weights of 'binomial' are numbers of trials and must be whole; found "
            f"{show_rows(np.ravel(r), np.ravel(bad))}."
        )
    return trials


def _tweedie(rng: np.random.Generator, mu: Any, r: Any, size: Any, power: Any) -> np.ndarray:
    p, q = 2 - power, power - 1
    rate = mu**p * r / p
    counts = _counts(rng, rate, np.sqrt(rate), size)
    return rng.gamma(counts * p / q, q * mu**q / r, size)


# ---- distribution functions --------------------------------------------------------------------


def _normal_tails(y: np.ndarray, mu: Any, r: Any) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import ndtr

    z = (y - mu) * np.sqrt(r)
    return ndtr(z), ndtr(-z)


def _poisson_tails(y: np.ndarray, mu: Any, r: Any) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import gammainc, gammaincc

    k = np.maximum(whole_count(y * r), -1.0)
    none = k < 0
    k = np.where(none, 0.0, k)
    rate = mu * r
    return np.where(none, 0.0, gammaincc(k + 1, rate)), np.where(none, 1.0, gammainc(k + 1, rate))


def _beta_tails(k: np.ndarray, rest: Any, success: Any) -> tuple[np.ndarray, np.ndarray]:
    """P(K ≤ k) and P(K > k) as incomplete beta functions of `success`."""
    from scipy.special import betainc, betaincc

    none, all_of_it = k < 0, np.broadcast_to(rest <= 0, np.shape(k))
    k, rest = np.where(none, 0.0, k), np.where(rest <= 0, 1.0, rest)
    below, above = betaincc(k + 1, rest, success), betainc(k + 1, rest, success)
    below = np.where(none, 0.0, np.where(all_of_it, 1.0, below))
    return below, np.where(none, 1.0, np.where(all_of_it, 0.0, above))


def _binomial_tails(y: np.ndarray, mu: Any, r: Any) -> tuple[np.ndarray, np.ndarray]:
    trials = _trials(r)
    k = np.clip(whole_count(y * trials), -1.0, trials)
    return _beta_tails(k, trials - k, mu)


def _negative_binomial_tails(
    y: np.ndarray, mu: Any, r: Any, alpha: Any
) -> tuple[np.ndarray, np.ndarray]:
    odds = alpha * mu
    return _beta_tails(np.maximum(whole_count(y * r), -1.0), r / alpha, odds / (1 + odds))


def _gamma_tails(y: np.ndarray, mu: Any, r: Any) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import gammainc, gammaincc

    scaled = np.maximum(y, 0.0) * (r / mu)
    return gammainc(r, scaled), gammaincc(r, scaled)


def _inverse_gaussian_tails(y: np.ndarray, mu: Any, r: Any) -> tuple[np.ndarray, np.ndarray]:
    """Through erfcx, in which e^(2r/μ) cancels; its difference as an integral of its slope."""
    from scipy.special import erfcx

    root, part = np.sqrt(r / y / 2), y / mu
    near, far = root * (part - 1), root * (part + 1)
    common = 0.5 * np.exp(-(near**2))
    left = common * (erfcx(-near) + erfcx(far))  # where y < μ
    half = 0.5 * (far - near)
    x = near + half * (1 + _NODES[:, None])
    slope = 2 / math.sqrt(math.pi) - 2 * x * erfcx(x)
    apart = np.where(half < 0.3, half * (_NODE_WEIGHTS @ slope), erfcx(near) - erfcx(far))
    right = common * apart  # where y > μ
    below = np.where(y <= 0, 0.0, np.where(near < 0, left, 1 - right))
    above = np.where(y <= 0, 1.0, np.where(near < 0, 1 - left, right))
    return np.where(y == np.inf, 1.0, below), np.where(y == np.inf, 0.0, above)


# By name: the attribute of `families` with the original declaration, and its closed forms.
_BUILT_IN: dict[str, tuple[str, Closed]] = {
    "normal": (
        "normal",
        Closed(lambda rng, mu, r, size: rng.normal(mu, 1 / np.sqrt(r), size), _normal_tails),
    ),
    "poisson": ("poisson", Closed(_poisson, _poisson_tails)),
    "binomial": ("binomial", Closed(_binomial, _binomial_tails)),
    "gamma": ("gamma", Closed(lambda rng, mu, r, size: rng.gamma(r, mu / r, size), _gamma_tails)),
    "inverse_gaussian": (
        "inverse_gaussian",
        Closed(lambda rng, mu, r, size: rng.wald(mu, r, size), _inverse_gaussian_tails),
    ),
    "negative_binomial": (
        "negative_binomial",
        Closed(_negative_binomial, _negative_binomial_tails),
    ),
    "tweedie": ("tweedie", Closed(_tweedie, None)),
}
