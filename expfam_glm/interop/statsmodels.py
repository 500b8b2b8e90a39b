"""A family and its link as statsmodels' GLM and GEE want them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError, need
from expfam_glm.spec import links
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import scalar
from expfam_glm.spec.integral import Integral
from expfam_glm.spec.link import Link
from expfam_glm.spec.simplify import simplify

_families = need("statsmodels.genmod.families.family", "statsmodels")
_links = need("statsmodels.genmod.families.links", "statsmodels")


def to_statsmodels(family: Family, link: str | Link | None = None) -> Any:
    """A family of statsmodels that computes with the declaration.

    Parameters
    ----------
    family : Family
        All shape parameters known.
    link : str or Link, optional
        The family's own if not given.

    Returns
    -------
    statsmodels.genmod.families.family.Family
        For `sm.GLM(y, X, family=…)` and `sm.GEE`, and for their formulas. Responses are on the
        scale of the mean; for the binomial, proportions with `var_weights` = trials.

    Raises
    ------
    MissingPackageError
        If statsmodels is not installed.
    ArgumentError
        If a shape parameter has no value.

    Notes
    -----
    Where φ is known statsmodels does not estimate its scale: the family then counts as one of
    its kind of the Poisson, and the variance is a(φ) V(μ). Its log-likelihood of a family with φ
    free takes the scale as a(φ), by default Pearson's estimate; ours the maximum-likelihood one.
    Quasi families have no log-likelihood: it is NaN.

    References
    ----------
    Seabold and Perktold (2010), statsmodels: Econometric and statistical modeling with Python.

    Examples
    --------
    >>> import numpy as np
    >>> import statsmodels.api as sm
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> X = sm.add_constant(rings["temperature"].to_numpy(float))
    >>> theirs = sm.GLM(
    ...     rings["damaged"] / rings["rings"], X, var_weights=rings["rings"],
    ...     family=eg.families.binomial.to_statsmodels(),
    ... ).fit()
    >>> np.asarray(theirs.params).round(4).tolist()
    [5.085, -0.1156]
    """
    if family.shape:
        names = ", ".join(family.shape)
        raise ArgumentError(
            f"statsmodels knows no shape parameters: give a value to {names} of {family.name!r} "
            f"with family.fix({next(iter(family.shape))}=…)."
        )
    chosen = family.link if link is None else links.named(link)
    return _host_family(family, _host_link(chosen))


# ---- links -------------------------------------------------------------------------------------


class _Link:
    """g, g⁻¹ and their first two derivatives from the graph of a link."""

    declared: Link

    def __call__(self, p: Any) -> Any:
        return self.declared.link(np.asarray(p, float))

    def inverse(self, z: Any) -> Any:
        return self.declared.inverse(np.asarray(z, float))

    def deriv(self, p: Any) -> Any:
        return _slope(self.declared.link, 1)(np.asarray(p, float))

    def deriv2(self, p: Any) -> Any:
        return _slope(self.declared.link, 2)(np.asarray(p, float))

    def inverse_deriv(self, z: Any) -> Any:
        return _slope(self.declared.inverse, 1)(np.asarray(z, float))

    def inverse_deriv2(self, z: Any) -> Any:
        return _slope(self.declared.inverse, 2)(np.asarray(z, float))

    def __reduce__(self) -> tuple[Any, ...]:
        return _host_link, (self.declared,)


@lru_cache(maxsize=256)
def _slope(function: Expression, order: int) -> Expression:
    """A derivative of a function of one argument, simplified."""
    for _ in range(order):
        raw = function.derivative(function.names[0])
        function = Expression(raw.variables, simplify([raw.output], raw.variables)[0])
    return function


def _host_link(link: Link) -> Any:
    """A link of statsmodels; the log is one of its logs, which is asked of where exposure is."""
    base = _links.Log if link == links.named("log") else _links.Link
    made: Any = type(link.name, (_Link, base), {"declared": link, "__module__": __name__})
    return made.__new__(made)


# ---- families ----------------------------------------------------------------------------------


class _Variance:
    """a V(μ) and its derivative, a = a(φ) where φ is known."""

    def __init__(self, family: Family) -> None:
        self.function = family.variance_of_mean
        self.a = 1.0 if family.phi is None else float(family.a(family.phi))

    def __call__(self, mu: Any) -> Any:
        return self.a * self.function(np.asarray(mu, float))

    def deriv(self, mu: Any) -> Any:
        return self.a * _slope(self.function, 1)(np.asarray(mu, float))


class _Family:
    """What statsmodels asks of a family, from the declaration."""

    declared: Family
    variance: _Variance
    link: Any

    def _resid_dev(self, endog: Any, mu: Any) -> Any:
        y, mean = np.asarray(endog, float), np.asarray(mu, float)
        return np.asarray(_deviance(self.declared)(y, mean))

    def loglike_obs(self, endog: Any, mu: Any, var_weights: Any = 1.0, scale: Any = 1.0) -> Any:
        y, mean = np.asarray(endog, float), np.asarray(mu, float)
        a = self.variance.a * np.asarray(scale, float) / np.asarray(var_weights, float)
        if self.declared.is_quasi:
            return np.full(np.broadcast_shapes(y.shape, mean.shape, a.shape), np.nan)
        return _log_density(self.declared)(y, mean, a)

    def resid_anscombe(self, endog: Any, mu: Any, var_weights: Any = 1.0, scale: Any = 1.0) -> Any:
        y, mean = np.asarray(endog, float), np.asarray(mu, float)
        whole = _anscombe(self.declared).evaluate(mean, y)
        return whole * np.sqrt(var_weights / scale) / self.declared.variance(mean) ** (1 / 6)

    def __reduce__(self) -> tuple[Any, ...]:
        return _host_family, (self.declared, self.link)


def _host_family(family: Family, link: Any) -> Any:
    """A family of statsmodels under one of its links."""
    base = _families.Family if family.phi is None else _families.Poisson
    space = family.mean_space
    made: Any = type(
        family.name,
        (_Family, base),
        {
            "declared": family,
            "links": [type(link)],
            "safe_links": [type(link)],
            "valid": [space.low, space.high],
            "__module__": __name__,
        },
    )
    host = made.__new__(made)
    _families.Family.__init__(host, link, _Variance(family))
    return host


@lru_cache(maxsize=64)
def _deviance(family: Family) -> Expression:
    """d(y, μ)."""
    y, mu = scalar("y"), scalar("mu")
    whole = family.deviance_at(y, mu, family.theta(mu))
    return Expression([y, mu], simplify([whole], [y, mu])[0])


@lru_cache(maxsize=64)
def _log_density(family: Family) -> Expression:
    """log f(y; μ, a)."""
    y, mu, a = scalar("y"), scalar("mu"), scalar("a")
    whole = family.logpdf_at(y, mu, family.theta(mu), a)
    return Expression([y, mu, a], simplify([whole], [y, mu, a])[0])


@lru_cache(maxsize=64)
def _anscombe(family: Family) -> Integral:
    """∫ V(t)^(−1/3) dt, which makes responses nearly normal."""
    t = scalar("t")
    return Integral(Expression([t], family.variance_of_mean(t) ** (-1 / 3)), family.mean_space)
