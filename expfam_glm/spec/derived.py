"""A family as a value: its declared functions, and the functions derived from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.link import Link
from expfam_glm.spec.memory import Home, remembered


class Derived:
    """The declared functions of a family and the functions derived from them.

    The derived ones are made when first asked for, and kept.
    """

    __slots__ = (
        "_cache", "a", "b", "c", "closed_conjugate", "closed_deviance", "home", "name", "phi",
        "shape", "support", "theta", "theta_domain",
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
    home: Home | None
    _cache: dict[str, Any]

    def _follows(self, name: str, *arguments: str) -> Expression:
        """A function of these arguments and the shapes, which `expfam_glm.spec.derive` derives."""
        if name not in self._cache:

            def make() -> Expression:
                from expfam_glm.spec import derive

                return getattr(derive, name)(self)

            home = self.home and self.home.part(name)
            self._cache[name] = Expression.late((*arguments, *self.shape), make, home)
        return self._cache[name]

    @property
    def cumulant(self) -> Expression:
        """b(θ) in numerically stable form."""
        return self._follows("cumulant", "theta")

    @property
    def mean_function(self) -> Expression:
        """b′(θ)."""
        return self._follows("mean_function", "theta")

    @property
    def variance_function(self) -> Expression:
        """b″(θ)."""
        return self._follows("variance_function", "theta")

    @property
    def variance_of_mean(self) -> Expression:
        """V(μ) = b″(θ(μ)), simplified as a whole."""
        return self._follows("variance_of_mean", "mu")

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

    def home_under(self, link: Link) -> Home | None:
        """Where the facts about the family under a link are remembered."""
        return self.home and link.home and self.home.part(link.name)

    def theta_of_eta(self, link: Link) -> tuple[Expression, bool]:
        """θ as a function of η under a link, and whether it is proportional to η."""
        key = f"theta:{link.link.digest}:{link.inverse.digest}"
        if key not in self._cache:
            from expfam_glm.spec import derive

            self._cache[key] = derive.theta_of_eta(self, link)
        return self._cache[key]

    def is_canonical(self, link: Link) -> bool:
        """Whether θ is proportional to η under a link."""
        return remembered(self.home_under(link), "is canonical", lambda: self.theta_of_eta(link)[1])

    def contains(self, y: Any, r: Any = 1.0) -> np.ndarray:
        """Whether responses lie in the support at the effective precision r = w/a(φ)."""
        values, precision = np.asarray(y, float), np.asarray(r, float)
        if not self.support.discrete:
            return self.support.contains(np.broadcast_arrays(values, precision)[0])
        count = values * precision
        near = np.round(count)
        inside = np.asarray(np.abs(count - near) <= 1e-9 * np.maximum(1.0, np.abs(count)))
        for bound, sign in ((self.support.low, 1.0), (self.support.high, -1.0)):
            if np.isfinite(bound):
                edge = bound * precision
                inside &= np.abs(edge - np.round(edge)) <= 1e-9 * np.maximum(1.0, np.abs(edge))
                inside &= sign * (near - np.round(edge)) >= 0
        return inside & np.isfinite(values)

    @property
    def derived_conjugate(self) -> Expression:
        """yθ(y) − b(θ(y)), with its limits at the edges of the mean space."""
        return self._follows("derived_conjugate", "y")

    @property
    def conjugate(self) -> Expression:
        """b*(y) = sup over θ of yθ − b(θ), with its limits at the edges of the mean space."""
        return self.closed_conjugate or self.derived_conjugate

    @property
    def saturated(self) -> Expression:
        """b*(y)/a + c(y, a), the log-density at μ = y."""
        return self._follows("saturated", "y", "a")

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
