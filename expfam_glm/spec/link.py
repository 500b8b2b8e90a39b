"""Link functions η = g(μ), declared once as symbols."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from expfam_glm.errors import DeclarationError
from expfam_glm.spec.domain import Domain, Real, probe_points
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.memory import Home

# Beyond this a limit of g at the edge of the mean space counts as infinite (tan π/2 is 1.6e16).
_INFINITE = 1e15
# A declared link is looked at up to here.
_PROBED = 1e6


class Link:
    """A strictly monotone map g from the mean to the linear predictor.

    Parameters
    ----------
    name : str
    link : callable
        g(μ), written with `pytensor.tensor` functions.
    inverse : callable, optional
        g⁻¹(η); found by a safeguarded Newton iteration if not given.
    domain : Domain, optional
        The means on which g is defined; the real line if not given.
    codomain : Domain, optional
        The linear predictors, g(domain); found from the limits of g if not given.

    Raises
    ------
    DeclarationError
        If a function cannot be traced, `link` is not strictly monotone on its domain, or
        `inverse` does not invert it.

    Notes
    -----
    Everything else follows: dμ/dη and the higher derivatives are derived from the graph.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed., section 2.2.3.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> import pytensor.tensor as pt
    >>> aranda = eg.Link("aranda", lambda mu: pt.log((1 - mu) ** -2 - 1), domain=eg.UnitInterval)
    >>> round(float(aranda.inverse(aranda(0.3))), 12)
    0.3
    """

    __slots__ = ("codomain", "domain", "home", "inverse", "link", "name")

    name: str
    link: Expression
    inverse: Expression
    domain: Domain
    codomain: Domain | None
    home: Home | None

    def __init__(
        self,
        name: str,
        link: Callable[..., Any] | Expression,
        inverse: Callable[..., Any] | Expression | None = None,
        *,
        domain: Domain = Real,
        codomain: Domain | None = None,
        _home: Home | None = None,
    ) -> None:
        if not isinstance(domain, Domain):
            raise DeclarationError(
                f"the link {name!r}: domain must be a domain such as Positive or UnitInterval; "
                f"got {domain!r}.",
                "link",
            )
        put = object.__setattr__
        put(self, "name", name)
        put(self, "domain", domain)
        put(self, "codomain", codomain)
        put(self, "home", _home)
        g = self._trace("link", link, "mu", f"the link {name!r}")
        put(self, "link", g)
        if inverse is None:
            from expfam_glm.spec.inverse import inverse_of

            back = inverse_of(g, domain, "eta")
        else:
            back = self._trace("inverse", inverse, "eta", f"the inverse of the link {name!r}")
        put(self, "inverse", back)
        if not (isinstance(link, Expression) or _home):  # else it was verified before
            _verify(self, given=inverse is not None)

    def _trace(
        self, part: str, function: Callable[..., Any] | Expression, argument: str, where: str
    ) -> Expression:
        return Expression.trace(function, [argument], [], where, self.home and self.home.part(part))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Link is a value and cannot be changed; declare another one.")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.name, self.link, self.inverse, self.domain, self.codomain)

    def __call__(self, mu: Any) -> Any:
        """η = g(μ)."""
        return self.link(mu)

    def image(self, means: Domain) -> Domain:
        """The open interval of linear predictors that the means of a family can take.

        Parameters
        ----------
        means : Domain
            The mean space of the family.

        Returns
        -------
        Domain
            g(means ∩ domain of g).
        """
        return _image(self, means)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Link) and (self.link, self.inverse, self.domain) == (
            other.link,
            other.inverse,
            other.domain,
        )

    def __hash__(self) -> int:
        return hash((self.link, self.inverse, self.domain))

    def __repr__(self) -> str:
        return f"<Link {self.name}>"


def _rebuild(
    name: str, link: Expression, inverse: Expression, domain: Domain, codomain: Domain | None
) -> Link:
    return Link(name, link, inverse, domain=domain, codomain=codomain)


def _verify(link: Link, given: bool) -> None:
    """g strictly monotone at probe points of its domain, and a given inverse true to it."""
    mu = probe_points(link.domain)
    mu = mu[np.abs(mu) <= _PROBED]
    eta = np.asarray(link.link(mu))
    mu, eta = mu[np.isfinite(eta)], eta[np.isfinite(eta)]
    steps = np.diff(eta)
    # equal neighbours are rounding at the ends; a step back by rounding is no step back
    back = np.abs(steps) > 1e-9 * np.maximum(np.abs(eta[1:]), np.abs(eta[:-1]))
    if not np.any(back) or (np.any(steps[back] > 0) and np.any(steps[back] < 0)):
        turn = "" if not np.any(back) else f"; it turns near μ = {_turning(mu, steps, back):.6g}"
        raise DeclarationError(
            f"the link {link.name!r} is not strictly monotone on its domain {link.domain}{turn}. "
            "Restrict domain= to where it is.",
            "link",
        )
    if given:
        apart = np.r_[False, (steps[1:] != 0) & (steps[:-1] != 0), False]
        found = np.asarray(link.inverse(eta))
        wrong = apart & ~(np.abs(found - mu) <= 1e-6 * (1 + np.abs(mu)))
        if np.any(wrong):
            k = np.flatnonzero(wrong)[0]
            raise DeclarationError(
                f"the inverse of the link {link.name!r} does not invert it: the link takes "
                f"{mu[k]:.6g} to {eta[k]:.6g}, but inverse({eta[k]:.6g}) = {found[k]:.6g}.",
                "link",
            )


def _turning(mu: np.ndarray, steps: np.ndarray, counts: np.ndarray) -> float:
    """Where a sequence of steps first changes its sign."""
    where = np.flatnonzero(counts)
    change = np.flatnonzero(np.diff(np.sign(steps[where])))[0]
    return float(mu[where[change + 1]])


@lru_cache(maxsize=512)
def _image(link: Link, means: Domain) -> Domain:
    low, high = max(means.low, link.domain.low), min(means.high, link.domain.high)
    if not low < high:
        raise DeclarationError(
            f"the link {link.name!r} is defined on {link.domain}, which has no point in "
            f"common with the means {means}.",
            "link",
        )
    if link.codomain is not None and (low, high) == (link.domain.low, link.domain.high):
        return link.codomain.interior
    ends = []
    for end, sign in ((low, 1.0), (high, -1.0)):
        value = float(link.link(end))
        if not np.isfinite(value):  # one-sided limit at the edge
            near = end + sign * 1e-9 * (1 + abs(end)) if np.isfinite(end) else -sign * 1e300
            value = float(link.link(near)) if np.isnan(value) else value
        ends.append(np.copysign(np.inf, value) if abs(value) > _INFINITE else value)
    return Domain(min(ends), max(ends), "neither", False)
