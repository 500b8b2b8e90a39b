"""What follows from b, c, a and the support of a family: graphs, derived by differentiation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant

from expfam_glm.errors import ArgumentError
from expfam_glm.spec.domain import Domain, inner_point
from expfam_glm.spec.expression import Expression, scalar, substitute
from expfam_glm.spec.link import Link
from expfam_glm.spec.simplify import simplify

# Where limits in θ are taken: the nearest first, for yθ to keep its digits, and at y = 0 the
# farthest; and how much they may still change from one to the next, for each unit of y.
_FAR = (44.0, 88.0, 175.0, 350.0, 700.0)
_SETTLED = 1e-12


class Derived:
    """The declared functions of a family and the functions derived from them.

    The derived ones are made when first asked for, and kept.
    """

    __slots__ = (
        "_cache", "a", "b", "c", "closed_conjugate", "closed_deviance", "name", "phi", "shape",
        "support", "theta", "theta_domain",
    )  # fmt: skip

    name: str
    b: Expression
    c: Expression | None
    a: Expression
    support: Domain
    theta_domain: Domain
    theta: Expression
    phi: float | None
    shape: Mapping[str, Domain]
    closed_deviance: Expression | None
    closed_conjugate: Expression | None
    _cache: dict[str, Any]

    @property
    def cumulant(self) -> Expression:
        """b(θ) in numerically stable form."""
        if "cumulant" not in self._cache:
            (stable,) = simplify([self.b.output], self.b.variables)
            self._cache["cumulant"] = Expression(self.b.variables, stable)
        return self._cache["cumulant"]

    @property
    def mean_function(self) -> Expression:
        """b′(θ)."""
        if "mean" not in self._cache:
            self._cache["mean"] = self.cumulant.derivative("theta")
        return self._cache["mean"]

    @property
    def variance_function(self) -> Expression:
        """b″(θ)."""
        if "variance" not in self._cache:
            mean = self.mean_function
            (short,) = simplify([mean.output], mean.variables)
            raw = Expression(mean.variables, short).derivative("theta")
            (stable,) = simplify([raw.output], raw.variables)
            self._cache["variance"] = Expression(raw.variables, stable)
        return self._cache["variance"]

    @property
    def variance_of_mean(self) -> Expression:
        """V(μ) = b″(θ(μ)), simplified as a whole."""
        if "variance_of_mean" not in self._cache:
            variables = [scalar("mu"), *(scalar(name) for name in self.shape)]
            mu, *shapes = variables
            named = dict(zip(self.shape, shapes, strict=True))
            composed = self.variance_function(self.theta(mu, **named), **named)
            self._cache["variance_of_mean"] = Expression(
                variables, simplify([composed], variables)[0]
            )
        return self._cache["variance_of_mean"]

    @property
    def mean_space(self) -> Domain:
        """The open interval of means."""
        return self.support.interior

    @property
    def is_quasi(self) -> bool:
        """Whether the declaration has no density."""
        return self.c is None

    @property
    def digest(self) -> str:
        """A fingerprint of the graphs, equal for equal declarations."""
        if "digest" not in self._cache:
            parts = [self.b.digest, self.c.digest if self.c else "", self.a.digest]
            parts += [str(self.support), str(self.theta_domain), str(self.phi)]
            parts += [f"{k}:{v}" for k, v in self.shape.items()]
            self._cache["digest"] = hashlib.sha256("|".join(parts).encode()).hexdigest()
        return self._cache["digest"]

    def theta_of_eta(self, link: Link) -> tuple[Expression, bool]:
        """θ as a function of η under a link, and whether it is proportional to η."""
        key = f"theta:{link.link.digest}:{link.inverse.digest}"
        if key not in self._cache:
            eta = scalar("eta")
            shapes = [scalar(name) for name in self.shape]
            if link.link == self.theta:  # θ(g⁻¹(η)) = η by the meaning of an inverse
                self._cache[key] = (Expression([eta], eta), True)
            else:
                mu = link.inverse(eta)
                composed = self.theta(mu, **dict(zip(self.shape, shapes, strict=True)))
                variables = [eta, *shapes]
                (theta,) = simplify([composed], variables)
                expression = Expression(variables, theta)
                slope = Expression(
                    variables, simplify([expression.derivative("eta").output], variables)[0]
                )
                self._cache[key] = (expression, isinstance(slope.output, Constant))
        return self._cache[key]

    def contains(self, y: Any, r: Any = 1.0) -> np.ndarray:
        """Whether responses lie in the support at the effective precision r = w/a(φ)."""
        values, precision = np.broadcast_arrays(np.asarray(y, float), np.asarray(r, float))
        if not self.support.discrete:
            return self.support.contains(values)
        inside = np.ones(values.shape, bool)
        count = values * precision
        near = np.round(count)
        inside &= np.abs(count - near) <= 1e-9 * np.maximum(1.0, np.abs(count))
        for bound, sign in ((self.support.low, 1.0), (self.support.high, -1.0)):
            if np.isfinite(bound):
                edge = bound * precision
                inside &= np.abs(edge - np.round(edge)) <= 1e-9 * np.maximum(1.0, np.abs(edge))
                inside &= sign * (near - np.round(edge)) >= 0
        return inside & np.isfinite(values)

    def _edges(self, shapes: Mapping[str, Any]) -> dict[float, Any]:
        """b*(y) where the support touches the edge of the mean space.

        It is the limit of yθ − b(θ) at the end of the θ-domain.
        """
        found = {}
        ends = (
            (self.mean_space.low, self.theta_domain.low, -1.0),
            (self.mean_space.high, self.theta_domain.high, 1.0),
        )
        for y, end, sign in ends:
            if np.isfinite(y) and self.support.contains(y):
                if np.isinf(end):
                    found[y] = self._limit(y, sign, shapes)
                else:
                    symbol = pt.constant(np.float64(end))
                    found[y] = y * end - self.cumulant(symbol, **shapes)
        return found

    def _limit(self, y: float, sign: float, shapes: Mapping[str, Any]) -> Any:
        """yθ − b(θ) at the first of `_FAR` from which it does not change any more, or infinity."""
        close = _SETTLED * max(1.0, abs(y))
        thetas = sign * np.array(_FAR if y else _FAR[::-1])
        if not shapes:
            with np.errstate(all="ignore"):
                values = y * thetas - self.cumulant(thetas)
                settled = np.flatnonzero(np.abs(np.diff(values)) < close)
            return values[settled[0]] if settled.size else np.float64(np.inf)
        steps = [y * t - self.cumulant(pt.constant(np.float64(t)), **shapes) for t in thetas]
        found: Any = np.inf
        for near, far in reversed(list(pairwise(steps))):
            found = pt.switch(pt.abs(far - near) < close, near, found)
        return found

    @property
    def derived_conjugate(self) -> Expression:
        """yθ(y) − b(θ(y)), with its limits at the edges of the mean space."""
        if "conjugate" not in self._cache:
            y = scalar("y")
            shapes = {name: scalar(name) for name in self.shape}
            variables = [y, *shapes.values()]
            theta = self.theta(y, **shapes)
            (inner,) = simplify([y * theta - self.cumulant(theta, **shapes)], variables)
            edges = self._edges(shapes)
            if edges:
                at_edge = {edge: pt.eq(y, edge) for edge in edges}
                safe = y
                for edge in edges:
                    safe = pt.switch(at_edge[edge], inner_point(self.mean_space), safe)
                inner = substitute(inner, {y: safe})
                for edge, limit in edges.items():
                    inner = pt.switch(at_edge[edge], limit, inner)
            self._cache["conjugate"] = Expression(variables, simplify([inner], variables)[0])
        return self._cache["conjugate"]

    @property
    def conjugate(self) -> Expression:
        """b*(y) = sup over θ of yθ − b(θ), with its limits at the edges of the mean space."""
        return self.closed_conjugate or self.derived_conjugate

    @property
    def saturated(self) -> Expression:
        """b*(y)/a + c(y, a), the log-density at μ = y."""
        if "saturated" not in self._cache:
            y, a = scalar("y"), scalar("a")
            shapes = {name: scalar(name) for name in self.shape}
            variables = [y, a, *shapes.values()]
            whole = self.conjugate(y, **shapes) / a + self.base_measure(y, a, **shapes)
            self._cache["saturated"] = Expression(variables, simplify([whole], variables)[0])
        return self._cache["saturated"]

    def derived_deviance(self, y: Any, theta: Any, **shape: Any) -> Any:
        """2{b*(y) − yθ + b(θ)}."""
        return 2 * (self.conjugate(y, **shape) - y * theta + self.cumulant(theta, **shape))

    def variance_at(self, theta: Any, **shape: Any) -> Any:
        """b″(θ), the variance at a(φ) = 1 as a function of θ."""
        return self.variance_function(theta, **shape)

    def deviance_at(self, y: Any, mu: Any, theta: Any, **shape: Any) -> Any:
        """The unit deviance where μ and θ are both at hand (symbolic)."""
        if self.closed_deviance is not None:
            return self.closed_deviance(y, mu, **shape)
        return self.derived_deviance(y, theta, **shape)

    def logpdf_at(self, y: Any, mu: Any, theta: Any, a: Any, **shape: Any) -> Any:
        """The log-density where μ, θ and the effective dispersion a are at hand."""
        if self.closed_deviance is not None and self.closed_conjugate is not None:
            deviance = self.closed_deviance(y, mu, **shape)
            return self.saturated(y, a, **shape) - deviance / (2 * a)
        kernel = (y * theta - self.cumulant(theta, **shape)) / a
        return kernel + self.base_measure(y, a, **shape)

    def base_measure(self, y: Any, a: Any, **shape: Any) -> Any:
        """c(y, a); refused for a quasi family."""
        if self.c is None:
            raise ArgumentError(
                f"the quasi family {self.name!r} declares no density (c=None); its mean and "
                "variance are all there is."
            )
        return self.c(y, a, **shape)
