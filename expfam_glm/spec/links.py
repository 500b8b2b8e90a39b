"""The links that are built in: one equation a line, traced when first used."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError, one_of
from expfam_glm.spec.domain import Domain, Positive, Real, UnitInterval
from expfam_glm.spec.link import Link
from expfam_glm.spec.memory import Home
from expfam_glm.spec.symbols import pt

_ROOT2 = math.sqrt(2.0)


def _built_in(
    name: str, link: Callable[..., Any], inverse: Callable[..., Any], domain: Domain = Real
) -> Link:
    """A link that the tests verify, with its facts remembered from process to process."""
    return Link(name, link, inverse, domain=domain, _home=Home(f"link-{name}"))


_DECLARED: dict[str, Callable[[], Link]] = {
    "identity": lambda: _built_in("identity", lambda mu: mu, lambda eta: eta),
    "log": lambda: _built_in(
        "log", lambda mu: pt.log(mu), lambda eta: pt.exp(eta), domain=Positive
    ),
    "logit": lambda: _built_in(
        "logit",
        lambda mu: pt.log(mu) - pt.log1p(-mu),
        lambda eta: pt.sigmoid(eta),
        domain=UnitInterval,
    ),
    "probit": lambda: _built_in(
        "probit",
        lambda mu: -_ROOT2 * pt.erfcinv(2 * mu),
        lambda eta: 0.5 * pt.erfc(-eta / _ROOT2),
        domain=UnitInterval,
    ),
    "cloglog": lambda: _built_in(
        "cloglog",
        lambda mu: pt.log(-pt.log1p(-mu)),
        lambda eta: -pt.expm1(-pt.exp(eta)),
        domain=UnitInterval,
    ),
    "loglog": lambda: _built_in(
        "loglog",
        lambda mu: -pt.log(-pt.log(mu)),
        lambda eta: pt.exp(-pt.exp(-eta)),
        domain=UnitInterval,
    ),
    "cauchit": lambda: _built_in(
        "cauchit",
        lambda mu: -1 / pt.tan(math.pi * mu),
        lambda eta: pt.arctan2(1.0, -eta) / math.pi,
        domain=UnitInterval,
    ),
    "inverse": lambda: _built_in(
        "inverse", lambda mu: 1 / mu, lambda eta: 1 / eta, domain=Positive
    ),
    "inverse_squared": lambda: _built_in(
        "inverse_squared", lambda mu: 1 / mu**2, lambda eta: 1 / pt.sqrt(eta), domain=Positive
    ),
    "sqrt": lambda: _built_in("sqrt", lambda mu: pt.sqrt(mu), lambda eta: eta**2, domain=Positive),
}


@cache
def _built(name: str) -> Link:
    return _DECLARED[name]()


def __getattr__(name: str) -> Link:
    if name in _DECLARED:
        return _built(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def power(lam: float) -> Link:
    """The power link η = μ^λ on positive means; λ = 0 is the log link.

    Parameters
    ----------
    lam : float
        The exponent λ.

    Returns
    -------
    Link

    Raises
    ------
    ArgumentError
        If `lam` is no number, or not 0 and outside 0.001 to 1000 in size.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> float(eg.links.power(3)(2.0))
    8.0
    """
    number = isinstance(lam, numbers.Real) and not isinstance(lam, bool | np.bool_)
    if not (number and (lam == 0 or 1e-3 <= abs(lam) <= 1e3)):
        raise ArgumentError(
            f"power({lam!r}): the exponent must be 0 (the log link) or a number between 0.001 and "
            "1000 in size."
        )
    if lam == 0:
        return _built("log")
    return Link(
        f"power({float(lam)!r})", lambda mu: mu**lam, lambda eta: eta ** (1 / lam), domain=Positive
    )


def named(link: str | Link) -> Link:
    """The link of a name, or the link itself."""
    if isinstance(link, Link):
        return link
    written = re.fullmatch(r"power\((.+)\)", str(link))
    if written:
        try:
            return power(float(written.group(1)))
        except ValueError as error:
            raise ArgumentError(f"link={link!r}: the exponent must be a number.") from error
    if str(link) not in _DECLARED:
        raise one_of("link", link, [*_DECLARED, "power(λ)"])
    return _built(str(link))


def built_in() -> tuple[Link, ...]:
    """The links with a name, except power(λ)."""
    return tuple(_built(name) for name in _DECLARED)
