"""The families that are built in: about ten lines each, traced when first used.

r = 1/a is the effective precision w/φ of a row; see Jørgensen (1997) and McCullagh and Nelder
(1989), chapter 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytensor.tensor as pt

from expfam_glm.errors import ArgumentError, DeclarationError, one_of
from expfam_glm.spec.complex_gamma import log_abs_gamma
from expfam_glm.spec.domain import Integers, Interval, Positive, Real
from expfam_glm.spec.family import Family
from expfam_glm.spec.quasi import quasi

_LOG_2PI = math.log(2 * math.pi)
_LOG_2, _LOG_PI = math.log(2), math.log(math.pi)


def _log_ratio(y: Any, mu: Any) -> Any:
    """log(y/μ), to full relative precision for y near μ too."""
    apart = (y - mu) / mu
    return pt.switch(pt.abs(apart) < 0.5, pt.log1p(apart), pt.log(y / mu))


_being_built: list[str] = []  # these may bear a built-in name


@cache
def _built(name: str) -> Family:
    _being_built.append(name)
    try:
        return _DECLARED[name]()
    finally:
        _being_built.remove(name)


_DECLARED: dict[str, Callable[[], Family]] = {
    "normal": lambda: Family(
        "normal",
        b=lambda theta: theta**2 / 2,
        c=lambda y, a: -(y**2) / 2 / a - 0.5 * (_LOG_2PI + pt.log(a)),
        support=Real,
        theta=lambda mu: mu,
        link="identity",
        deviance=lambda y, mu: (y - mu) ** 2,
        conjugate=lambda y: y**2 / 2,
    ),
    "poisson": lambda: Family(
        "poisson",
        b=pt.exp,
        c=lambda y, a: -y / a * pt.log(a) - pt.gammaln(y / a + 1),
        support=Integers(0, None),
        theta=pt.log,
        phi=1.0,
        link="log",
    ),
    "binomial": lambda: Family(
        "binomial",
        b=pt.softplus,
        c=lambda y, a: pt.gammaln(1 / a + 1) - pt.gammaln(y / a + 1) - pt.gammaln((1 - y) / a + 1),
        support=Integers(0, 1),
        theta=lambda mu: pt.log(mu) - pt.log1p(-mu),
        phi=1.0,
        link="logit",
    ),
    "gamma": lambda: Family(
        "gamma",
        b=lambda theta: -pt.log(-theta),
        c=lambda y, a: -pt.log(a) / a + (1 / a - 1) * pt.log(y) - pt.gammaln(1 / a),
        support=Positive,
        theta_domain=Interval(None, 0),
        theta=lambda mu: -1 / mu,
        link="inverse",
        deviance=lambda y, mu: 2 * ((y - mu) / mu - _log_ratio(y, mu)),
    ),
    "inverse_gaussian": lambda: Family(
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
    "_negative_binomial": lambda: Family(
        "negative_binomial",
        b=lambda theta, alpha: -pt.log1mexp(theta) / alpha,
        c=lambda y, a, alpha: (
            pt.gammaln((y + 1 / alpha) / a) - pt.gammaln(1 / (a * alpha)) - pt.gammaln(y / a + 1)
        ),
        support=Integers(0, None),
        theta_domain=Interval(None, 0),
        theta=lambda mu, alpha: -pt.log1p(1 / (alpha * mu)),
        phi=1.0,
        shape={"alpha": Positive},
        link="log",
    ),
    "hyperbolic_secant": lambda: Family(
        "hyperbolic_secant",
        b=lambda theta: -pt.log(pt.cos(theta)),
        c=lambda y, a: (
            (1 / a - 2) * _LOG_2
            - pt.log(a)
            - _LOG_PI
            - pt.gammaln(1 / a)
            + 2 * log_abs_gamma(1 / (2 * a), y / (2 * a))
        ),
        support=Real,
        theta_domain=Interval(-math.pi / 2, math.pi / 2),
        theta=pt.arctan,
        link="identity",
        deviance=lambda y, mu: (
            2 * y * pt.arctan2(y - mu, 1 + y * mu) + pt.log1p((mu - y) * (mu + y) / (1 + y**2))
        ),
        conjugate=lambda y: y * pt.arctan(y) - pt.log1p(y**2) / 2,
    ),
    "quasi_poisson": lambda: Family(
        "quasi_poisson",
        b=_built("poisson").b,
        c=None,
        support=Interval(0, None, closed="left"),
        theta=_built("poisson").theta,
        link="log",
    ),
    "quasi_binomial": lambda: Family(
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


def negative_binomial(alpha: float) -> Family:
    """The negative binomial family with variance μ + αμ², for known α.

    Parameters
    ----------
    alpha : float
        α > 0, the reciprocal of R's θ (`MASS::negative.binomial`).

    Returns
    -------
    Family

    Raises
    ------
    ArgumentError
        If `alpha` is not positive.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> float(eg.families.negative_binomial(alpha=0.5).variance(2.0))
    4.0
    """
    return _built("_negative_binomial").fix(alpha=alpha)


def is_built_in(family: Family) -> bool:
    """Whether a family is one of this module, whose densities the tests have added up."""
    if family.name == "negative_binomial":
        return family.fixed.keys() == {"alpha"} and family == negative_binomial(**family.fixed)
    known = family.name in _DECLARED and not family.shape
    return known and family.digest == _built(family.name).digest


def refuse_namesake(family: Family) -> None:
    """The error for another family under the name of a built-in one."""
    name = _ALIASES.get(family.name, family.name)
    builder = name if name in _DECLARED else f"_{name}"
    if _being_built or builder not in _DECLARED or family.digest == _built(builder).digest:
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
    if family is negative_binomial or str(family) == "negative_binomial":
        raise ArgumentError(
            "the negative binomial needs its alpha: family=families.negative_binomial(alpha=0.5)."
        )
    if family is quasi or str(family) == "quasi":
        raise ArgumentError(
            "a quasi family needs its variance function: family=families.quasi(variance=…)."
        )
    name = _ALIASES.get(str(family), str(family))
    if name not in _DECLARED or name.startswith("_"):
        words = [word for word in _DECLARED if not word.startswith("_")]
        raise one_of("family", family, [*words, *_ALIASES])
    return _built(name)
