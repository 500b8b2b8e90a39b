"""The families that are built in: about ten lines each, traced when first used.

r = 1/a is the effective precision w/φ of a row; see Jørgensen (1997) and McCullagh and Nelder
(1989), chapter 2.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError, DeclarationError, one_of
from expfam_glm.spec.domain import Integers, Interval, Positive, Real
from expfam_glm.spec.family import Family
from expfam_glm.spec.memory import Home
from expfam_glm.spec.symbols import pt

_LOG_2PI = math.log(2 * math.pi)
_STIRLING = 100.0  # from here on three terms of Stirling's series have all digits
_LOG_2, _LOG_PI = math.log(2), math.log(math.pi)


def _log_ratio(y: Any, mu: Any) -> Any:
    """log(y/μ), to full relative precision for y near μ too."""
    apart = (y - mu) / mu
    return pt.switch(pt.abs(apart) < 0.5, pt.log1p(apart), pt.log(y / mu))


def _log_rising(k: Any, s: Any) -> Any:
    """lnΓ(k + s) − lnΓ(s), by Stirling's series where s is large and their digits would cancel."""

    def tail(z: Any) -> Any:
        return (1 / 12 - (1 / 360 - 1 / (1260 * z**2)) / z**2) / z

    large = s > _STIRLING
    z = pt.switch(large, s, _STIRLING)
    far = (z + k - 0.5) * pt.log1p(k / z) + k * (pt.log(z) - 1) + tail(z + k) - tail(z)
    near = pt.switch(large, 1.0, s)
    return pt.switch(large, far, pt.gammaln(k + near) - pt.gammaln(near))


def _tweedie_deviance(y: Any, mu: Any, power: Any) -> Any:
    """2μᵖ h(log(y/μ)), p = 2 − ξ, h(l) = {p(eˡ − 1) − (e^(pl) − 1)}/{p(1 − p)}, stably."""
    p, q = 2 - power, power - 1
    ratio = _log_ratio(pt.switch(y > 0, y, mu), mu)
    near = pt.abs(ratio) < 0.5
    small = pt.switch(near, ratio, 0.0)
    coefficients, total = [], 1.0
    for _ in range(17):  # (1 − p^(k−1))/(1 − p) = 1 + p + … + p^(k−2) beside lᵏ/k!
        coefficients.append(total)
        total = 1 + p * total
    series = 0.0
    for k in range(18, 1, -1):
        series = (series * small + coefficients[k - 2]) / k
    large = pt.switch(near, 1.0, ratio)
    near_gamma = (pt.expm1(large) - pt.expm1(p * large) / p) / q
    near_poisson = (pt.exp(p * large) * pt.expm1(q * large) / q - pt.expm1(large)) / p
    h = pt.switch(near, small**2 * series, pt.switch(p < 0.5, near_gamma, near_poisson))
    return 2 * mu**p * pt.switch(y > 0, h, 1 / p)


def _tweedie_exponent(y: Any, power: Any) -> Any:
    """−b*(y) = y^(2−ξ)/{(2 − ξ)(ξ − 1)}, with derivatives in ξ at y = 0 too."""
    return y * pt.switch(y > 0, y, 1.0) ** (1 - power) / ((2 - power) * (power - 1))


def _tweedie_base(y: Any, a: Any, power: Any) -> Any:
    """c(y, a): the atom at 0, and e^S/y with the exponent of the saturated kernel taken off."""
    from expfam_glm.spec.compound import LogCompound

    p, q = 2 - power, power - 1
    positive = y > 0
    log_y = pt.log(pt.switch(positive, y, 1.0))
    body = LogCompound()(p * log_y - pt.log(p) - pt.log(a), p / q) - log_y
    return _tweedie_exponent(y, power) / a + pt.switch(positive, body, 0.0)


def _secant_base(y: Any, a: Any) -> Any:
    """c(y, a) = log{2^(1/a − 2)/(π a Γ(1/a))} + 2 log|Γ((1 + iy)/(2a))|."""
    from expfam_glm.spec.complex_gamma import log_abs_gamma

    return (
        (1 / a - 2) * _LOG_2
        - pt.log(a)
        - _LOG_PI
        - pt.gammaln(1 / a)
        + 2 * log_abs_gamma(1 / (2 * a), y / (2 * a))
    )


@cache
def _built(name: str) -> Family:
    return _DECLARED[name]()


def _built_in(name: str, **parts: Any) -> Family:
    """A family that the tests verify, with its facts remembered from process to process."""
    return Family(name, **parts, _verified=True, _home=Home(f"family-{name}"))


_DECLARED: dict[str, Callable[[], Family]] = {
    "normal": lambda: _built_in(
        "normal",
        b=lambda theta: theta**2 / 2,
        c=lambda y, a: -(y**2) / 2 / a - 0.5 * (_LOG_2PI + pt.log(a)),
        support=Real,
        theta=lambda mu: mu,
        link="identity",
        deviance=lambda y, mu: (y - mu) ** 2,
        conjugate=lambda y: y**2 / 2,
    ),
    "poisson": lambda: _built_in(
        "poisson",
        b=lambda theta: pt.exp(theta),
        c=lambda y, a: -y / a * pt.log(a) - pt.gammaln(y / a + 1),
        support=Integers(0, None),
        theta=lambda mu: pt.log(mu),
        phi=1.0,
        link="log",
    ),
    "binomial": lambda: _built_in(
        "binomial",
        b=lambda theta: pt.softplus(theta),
        c=lambda y, a: pt.gammaln(1 / a + 1) - pt.gammaln(y / a + 1) - pt.gammaln((1 - y) / a + 1),
        support=Integers(0, 1),
        theta=lambda mu: pt.log(mu) - pt.log1p(-mu),
        phi=1.0,
        link="logit",
    ),
    "gamma": lambda: _built_in(
        "gamma",
        b=lambda theta: -pt.log(-theta),
        c=lambda y, a: -pt.log(a) / a + (1 / a - 1) * pt.log(y) - pt.gammaln(1 / a),
        support=Positive,
        theta_domain=Interval(None, 0),
        theta=lambda mu: -1 / mu,
        link="inverse",
        deviance=lambda y, mu: 2 * ((y - mu) / mu - _log_ratio(y, mu)),
    ),
    "inverse_gaussian": lambda: _built_in(
        "inverse_gaussian",
        b=lambda theta: -pt.sqrt(-2 * theta),
        c=lambda y, a: -1 / (2 * y) / a - 0.5 * (_LOG_2PI + 3 * pt.log(y) + pt.log(a)),
        support=Positive,
        theta_domain=Interval(None, 0),
        theta=lambda mu: -1 / (2 * mu**2),
        link="inverse_squared",
        deviance=lambda y, mu: (y - mu) ** 2 / (y * mu**2),
        conjugate=lambda y: 1 / (2 * y),
    ),
    "negative_binomial": lambda: _built_in(
        "negative_binomial",
        b=lambda theta, alpha: -pt.log1mexp(theta) / alpha,
        c=lambda y, a, alpha: _log_rising(y / a, 1 / (a * alpha)) - pt.gammaln(y / a + 1),
        support=Integers(0, None),
        theta_domain=Interval(None, 0),
        theta=lambda mu, alpha: -pt.log1p(1 / (alpha * mu)),
        phi=1.0,
        shape={"alpha": Positive},
        link="log",
    ),
    "tweedie": lambda: _built_in(
        "tweedie",
        b=lambda theta, power: (-(power - 1) * theta) ** (-(2 - power) / (power - 1)) / (2 - power),
        c=_tweedie_base,
        support=Interval(0, None, closed="left", atom=0.0),
        theta_domain=Interval(None, 0),
        theta=lambda mu, power: -(mu ** (1 - power)) / (power - 1),
        shape={"power": Interval(1, 2)},
        link="log",
        deviance=_tweedie_deviance,
        conjugate=lambda y, power: -_tweedie_exponent(y, power),
    ),
    "hyperbolic_secant": lambda: _built_in(
        "hyperbolic_secant",
        b=lambda theta: -pt.log(pt.cos(theta)),
        c=_secant_base,
        support=Real,
        theta_domain=Interval(-math.pi / 2, math.pi / 2),
        theta=lambda mu: pt.arctan(mu),
        link="identity",
        deviance=lambda y, mu: (
            2 * y * pt.arctan2(y - mu, 1 + y * mu) + pt.log1p((mu - y) * (mu + y) / (1 + y**2))
        ),
        conjugate=lambda y: y * pt.arctan(y) - pt.log1p(y**2) / 2,
    ),
    "quasi_poisson": lambda: _built_in(
        "quasi_poisson",
        b=_built("poisson").b,
        c=None,
        support=Interval(0, None, closed="left"),
        theta=_built("poisson").theta,
        link="log",
    ),
    "quasi_binomial": lambda: _built_in(
        "quasi_binomial",
        b=_built("binomial").b,
        c=None,
        support=Interval(0, 1, closed="both"),
        theta=_built("binomial").theta,
        link="logit",
    ),
}
_ALIASES = {"gaussian": "normal"}


def __getattr__(name: str) -> Family:
    name = _ALIASES.get(name, name)
    if name in _DECLARED:
        return _built(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def negative_binomial(alpha: float | None = None) -> Family:
    """The negative binomial family with variance μ + αμ².

    Parameters
    ----------
    alpha : float, optional
        α > 0, the reciprocal of R's θ (`MASS::negative.binomial`). Not given, it is a free
        parameter: estimated by `GLM.fit`, given a prior by `GLM.sample`.

    Returns
    -------
    Family

    Raises
    ------
    ArgumentError
        If `alpha` is not a positive number.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> float(eg.families.negative_binomial(alpha=0.5).variance(2.0))
    4.0
    >>> visits = eg.GLM("days ~ sex", eg.load_data("quine"), family="negative_binomial")
    >>> round(float(visits.fit()["fit"]["alpha"]), 3)
    0.931
    """
    family = _built("negative_binomial")
    return family if alpha is None else family.fix(alpha=alpha)


# Tweedie families with other powers.
_OTHER_POWERS: dict[Any, str] = {0: "normal", 1: "poisson", 2: "gamma", 3: "inverse_gaussian"}


def tweedie(power: float | None = None) -> Family:
    """The Tweedie family with variance φμ^ξ, 1 < ξ < 2: a Poisson sum of gamma variables.

    Parameters
    ----------
    power : float, optional
        ξ inside (1, 2). Not given, it is a free parameter: estimated by `GLM.fit`, given a prior by
        `GLM.sample`.

    Returns
    -------
    Family

    Raises
    ------
    ArgumentError
        If `power` is no number inside (1, 2).

    Notes
    -----
    y is 0 with probability exp{−μ^(2−ξ)/((2 − ξ)a)} and has a density on y > 0. The link is log.

    References
    ----------
    Dunn and Smyth (2005), Series evaluation of Tweedie exponential dispersion model densities,
    Statistics and Computing 15, 267-280.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rain = eg.families.tweedie(1.5)
    >>> rain.logpdf([0.0, 2.5], mu=1.0, phi=1.0).round(6).tolist()
    [-2.0, -2.346426]
    """
    family = _built("tweedie")
    if power is None:
        return family
    number = isinstance(power, numbers.Real) and not isinstance(power, bool | np.bool_)
    if number and power in _OTHER_POWERS:
        raise ArgumentError(
            f"power={power!r}: the Tweedie family with this power is {_OTHER_POWERS[power]!r}; use "
            "that name. tweedie() takes powers inside (1, 2)."
        )
    return family.fix(power=power)


@lru_cache(maxsize=256)
def is_built_in(family: Family) -> bool:
    """Whether a family is one of this module, whose densities the tests have added up."""
    if family.name not in _DECLARED:
        return False
    original = _built(family.name)
    if not family.fixed.keys() <= original.shape.keys():
        return False
    return family.digest == original.fix(**family.fixed).digest


# What a family becomes as a shape parameter goes to an edge of its domain.
_LIMITS = {
    ("negative_binomial", "alpha", 0.0): "poisson",
    ("tweedie", "power", 1.0): "quasi_poisson",
    ("tweedie", "power", 2.0): "gamma",
}


def limit_of(family: Family, shape: str, edge: float) -> Family | None:
    """The built-in family that a family becomes as a shape parameter goes to an edge."""
    name = _LIMITS.get((family.name, shape, edge))
    return _built(name) if name is not None and is_built_in(family) else None


def refuse_namesake(family: Family) -> None:
    """The error for another family under the name of a built-in one."""
    name = _ALIASES.get(family.name, family.name)
    if name not in _DECLARED or family.digest == _built(name).digest:
        return
    raise DeclarationError(
        f"family {family.name!r}: this is the name of a built-in family with another declaration "
        f"(b, c, a, support, theta_domain, phi or shape); choose another name, such as "
        f"{'my_' + family.name!r}.",
        "name",
    )


def named(family: str | Family) -> Family:
    """The family of a name, or the family itself."""
    if isinstance(family, Family):
        return family
    for free in (negative_binomial, tweedie):
        if family is free:
            return free()
    if str(family) == "quasi" or getattr(family, "__name__", "") == "quasi":
        raise ArgumentError(
            "a quasi family needs its variance function: family=families.quasi(variance=…)."
        )
    name = _ALIASES.get(str(family), str(family))
    if name not in _DECLARED:
        raise one_of("family", family, [*_DECLARED, *_ALIASES])
    return _built(name)
