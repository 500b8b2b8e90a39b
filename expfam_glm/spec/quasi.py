"""Quasi families from a variance function alone: θ and b follow by integration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from expfam_glm.errors import DeclarationError
from expfam_glm.spec.domain import Domain, Positive, probe_points
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.family import Family
from expfam_glm.spec.integral import Integral
from expfam_glm.spec.inverse import Inverse
from expfam_glm.spec.link import Link

# Variance functions are looked at for means up to here.
_PROBED = 1e6


def quasi(
    variance: Callable[..., Any] | Expression,
    *,
    mean: Domain = Positive,
    link: str | Link = "log",
    name: str = "quasi",
) -> Family:
    """The quasi family of a variance function: Var(y) = φ V(μ)/w and no density.

    Parameters
    ----------
    variance : callable
        V(μ), written with `pytensor.tensor` functions; positive on the mean space.
    mean : Domain, optional
        The mean space, an open interval; the positive numbers if not given. Responses may lie on
        its finite ends too.
    link : str or Link, optional
        The default link; "log" if not given. `quasi(…).canonical_link` is θ(μ).
    name : str, optional
        What the results call the family.

    Returns
    -------
    Family
        With φ free and `c=None`. Where V falls to zero so fast at an end of the mean space that
        the deviance of a response on it is infinite, such a response still has its score: there
        are estimates and standard errors, and the deviance is infinite.

    Raises
    ------
    DeclarationError
        If V cannot be traced, or is not positive and finite at a point of the mean space.

    Notes
    -----
    θ(μ) = ∫ dμ/V(μ), b = ∫ μ dμ/V(μ) and d(y, μ) = 2 ∫ (y − t)/V(t) dt from μ to y, by adaptive
    Gauss-Kronrod quadrature; all derivatives are exact.

    References
    ----------
    Wedderburn (1974), Quasi-likelihood functions, generalized linear models, and the Gauss-Newton
    method, Biometrika 61, 439-447; McCullagh and Nelder (1989), chapter 9.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> family = eg.families.quasi(variance=lambda mu: mu**1.5)
    >>> family
    <Family quasi: y in [0, inf), phi free, link log>
    >>> round(float(family.deviance(0.0, mu=4.0)), 12)
    8.0
    """
    where = f"family {name!r}: variance"
    if not isinstance(mean, Domain) or mean.discrete:
        raise DeclarationError(
            f"family {name!r}: mean must be an interval such as Positive, UnitInterval or Real; "
            f"got {mean!r}."
        )
    mean = mean.interior
    V = Expression.trace(variance, ["mu"], [], where)
    _verify(V, mean, name)

    def integral(integrand: Callable[..., Any], *names: str) -> Integral:
        return Integral(Expression.trace(integrand, ["t", *names], [], where), mean)

    origin = np.float64(_origin(mean))
    theta = Integral(Expression.trace(lambda t: 1.0 / V(t), ["t"], [], where), mean)
    cumulant = integral(lambda t: t / V(t))
    shortfall = integral(lambda t, y: (y - t) / V(t), "y")
    base = _base(theta, mean, origin)
    level = np.float64(theta.evaluate(base, origin))
    theta_of = Expression.trace(lambda mu: theta(base, mu), ["mu"], [], where)
    mean_of = Inverse(theta_of, mean)
    finite_ends = [end for end in (mean.low, mean.high) if np.isfinite(end)]
    deviances = shortfall.evaluate(origin, finite_ends, finite_ends)
    return Family(
        name,
        b=lambda theta: cumulant(origin, mean_of(theta)),
        c=None,
        support=Domain(mean.low, mean.high, _closed(mean), False),
        theta_domain=Domain(
            float(theta.evaluate(base, mean.low)),
            float(theta.evaluate(base, mean.high)),
            "neither",
            False,
        ),
        theta=theta_of,
        link=link,
        deviance=(
            (lambda y, mu: 2.0 * shortfall(mu, y, y)) if np.all(np.isfinite(deviances)) else None
        ),
        conjugate=lambda y: shortfall(origin, y, y) + level * y,
        _verified=True,  # all of it follows from V
    )


def _closed(mean: Domain) -> Any:
    """The finite ends of a mean space belong to the support."""
    low, high = np.isfinite(mean.low), np.isfinite(mean.high)
    return "both" if low and high else "left" if low else "right" if high else "neither"


def _base(theta: Integral, mean: Domain, inside: float) -> np.float64:
    """Where θ is zero: at the end of the mean space where θ is finite, so that it has digits."""
    low, high = np.isfinite(theta.evaluate(inside, [mean.low, mean.high]))
    return np.float64(inside if low == high else mean.low if low else mean.high)


def _origin(mean: Domain) -> float:
    """Where b is zero: a point well inside."""
    low, high = mean.low, mean.high
    if np.isfinite(low) and np.isfinite(high):
        return 0.5 * (low + high)
    return low + 1.0 if np.isfinite(low) else high - 1.0 if np.isfinite(high) else 0.0


def _verify(V: Expression, mean: Domain, name: str) -> None:
    mu = probe_points(mean)
    mu = mu[(np.abs(mu) <= _PROBED) & ((np.abs(mu) >= 1 / _PROBED) | (mu == 0))]
    values = np.asarray(V(mu))
    bad = ~((values > 0) & np.isfinite(values))
    if np.any(bad):
        k = np.flatnonzero(bad)[0]
        raise DeclarationError(
            f"family {name!r}: the variance function must be positive and finite on the mean "
            f"space {mean}; V({mu[k]:.6g}) = {values[k]:.6g}. Check variance and mean."
        )
