"""An exponential family, declared once: f(y) = exp{[yθ − b(θ)]/a(φ) + c(y, a)}."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable

from expfam_glm.errors import ArgumentError, DataError, DeclarationError, show_rows
from expfam_glm.spec import links
from expfam_glm.spec.domain import Domain, Real
from expfam_glm.spec.expression import Expression, scalar, substitute
from expfam_glm.spec.inverse import inverse_of, probe_points
from expfam_glm.spec.link import Link
from expfam_glm.spec.simplify import simplify

_RESERVED = ("beta", "eta", "mu", "theta", "phi", "y", "a", "coef", "obs_id", "chain", "draw")


class Family:
    """The declaration of an exponential (dispersion) family.

        Parameters
        ----------
        name : str
        b : callable
            The cumulant function b(θ), written with `pytensor.tensor` functions.
        c : callable or None
            The log base measure c(y, a), where a is the *effective* dispersion a(φ)/w of a row.
            None declares a quasi family: mean and variance without a density.
        a : callable, optional
            The dispersion function a(φ); the identity if not given.
        support : Domain
            Where y lives at a = 1; for `Integers` the lattice is that of y/a.
        theta_domain : Domain, optional
            The canonical parameters with finite b; the real line if not given.
        theta : callable, optional
            θ(μ) in closed form. Without it, b′ is inverted numerically.
        phi : float or None, optional
            The known dispersion; None (the default) leaves it free.
        shape : mapping of str to Domain, optional
            Further parameters, passed by keyword to `b`, `c` and `theta` where they name them.
        link : str or Link, optional
            The default link; the canonical one if not given.
        deviance : callable, optional
            The unit deviance d(y, μ) in closed form, where it keeps more digits than the derived one.
        conjugate : callable, optional
            b*(y) in closed form, for the same reason; with it the density is computed as
            −d(y, μ)/(2a) + {b*(y)/a + c(y, a)}, where what cancels in the braces is cancelled in the
            graph.

        Raises
        ------
        DeclarationError
            If a function cannot be traced into a scalar graph, b is not convex at a point, θ(μ)
            does not invert b′, the closed form of the deviance differs from the derived one, or a
            name clashes.

        Notes
        -----
        μ = b′(θ), V(μ) = b″(θ(μ)), Var(y) = V(μ) a(φ); the unit deviance is
        2{b*(y) − yθ(μ) + b(θ(μ))} with b*(y) = sup over θ of yθ − b(θ). All of it is derived from b
        by differentiation of its graph.

        References
        ----------
        Jørgensen (1997), The Theory of Dispersion Models, chapters 2 and 3.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> import pytensor.tensor as pt
        >>> poisson = eg.Family(
        ...     "my_poisson",
        ...     b=pt.exp,
        ...     c=lambda y, a: -pt.gammaln(y + 1),
        ...     support=eg.Integers(0, None),
        ...     phi=1.0,
        ... )
        >>> round(float(poisson.logpdf(3, mu=2.0)), 6)
        -1.712318
    """

    __slots__ = (
        "_cache", "a", "b", "c", "closed_conjugate", "closed_deviance", "fixed", "link", "name", "phi", "shape", "support", "theta",
        "theta_domain",
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
    fixed: Mapping[str, float]
    link: Link
    closed_deviance: Expression | None
    closed_conjugate: Expression | None
    _cache: dict[str, Any]

    def __init__(
        self,
        name: str,
        b: Callable[..., Any] | Expression,
        c: Callable[..., Any] | Expression | None,
        *,
        support: Domain,
        a: Callable[..., Any] | Expression | None = None,
        theta_domain: Domain = Real,
        theta: Callable[..., Any] | Expression | None = None,
        phi: float | None = None,
        shape: Mapping[str, Domain] | None = None,
        link: str | Link | None = None,
        deviance: Callable[..., Any] | Expression | None = None,
        conjugate: Callable[..., Any] | Expression | None = None,
        _fixed: Mapping[str, float] | None = None,
    ) -> None:
        shape = dict(shape or {})
        where = f"family {name!r}"
        for key, domain in shape.items():
            if not key.isidentifier() or key in _RESERVED:
                raise DeclarationError(
                    f"{where}: the shape parameter {key!r} clashes with a name of the model; "
                    "choose another one."
                )
            if not isinstance(domain, Domain):
                raise DeclarationError(
                    f"{where}: the shape parameter {key!r} needs a domain, such as Positive; "
                    f"got {domain!r}."
                )
        for label, value in (("support", support), ("theta_domain", theta_domain)):
            if not isinstance(value, Domain):
                raise DeclarationError(
                    f"{where}: {label} must be a domain such as Real, Positive, Interval(0, 1) or "
                    f"Integers(0, None); got {value!r}."
                )
        if phi is not None and not (np.isfinite(phi) and phi > 0):
            raise DeclarationError(f"{where}: phi={phi!r} must be a positive number, or None.")
        put = object.__setattr__
        put(self, "name", str(name))
        put(self, "shape", MappingProxyType(shape))
        put(self, "fixed", MappingProxyType(dict(_fixed or {})))
        put(self, "support", support)
        put(self, "theta_domain", theta_domain)
        put(self, "phi", None if phi is None else float(phi))
        names = list(shape)
        put(self, "b", Expression.trace(b, ["theta"], names, f"{where}: b"))
        traced = None if c is None else Expression.trace(c, ["y", "a"], names, f"{where}: c")
        put(self, "c", traced)
        dispersion = (lambda phi: phi) if a is None else a
        put(self, "a", Expression.trace(dispersion, ["phi"], [], f"{where}: a"))
        put(self, "_cache", {})
        if theta is None:
            put(self, "theta", inverse_of(self._mean, theta_domain, "mu"))
        else:
            put(self, "theta", Expression.trace(theta, ["mu"], names, f"{where}: theta"))
        for label, form, arguments in (
            ("deviance", deviance, ["y", "mu"]),
            ("conjugate", conjugate, ["y"]),
        ):
            closed = None
            if form is not None:
                closed = Expression.trace(form, arguments, names, f"{where}: {label}")
            put(self, f"closed_{label}", closed)
        self._verify(given=theta is not None)
        put(self, "link", links.named(link) if link is not None else self.canonical_link)

    def _verify(self, given: bool) -> None:
        """b′ increasing at probe points of the θ-domain, and θ(μ) its inverse."""
        if self.shape:
            return  # nothing can be evaluated before the shape parameters have values
        grid = probe_points(self.theta_domain)
        grid = grid[np.abs(grid) < 30]
        grid = grid[(grid > self.theta_domain.low) & (grid < self.theta_domain.high)]
        means = np.asarray(self.mean(grid))
        curvature = np.asarray(self._variance(grid))
        if not np.any(np.isfinite(means)):
            raise DeclarationError(
                f"family {self.name!r}: b′(θ) is not finite anywhere on the θ-domain "
                f"{self.theta_domain}; check b and theta_domain."
            )
        bad = curvature < 0
        if np.any(bad):
            raise DeclarationError(
                f"family {self.name!r}: b is not convex; b″ = {curvature[bad][0]:.6g} at "
                f"θ = {grid[bad][0]:.6g}. Check the sign of b and theta_domain."
            )
        if given:
            usable = np.isfinite(means) & (curvature > 1e-8) & self.support.interior.contains(means)
            back = np.asarray(self.theta(means[usable]))
            slack = 1e-6 * (1 + np.abs(grid[usable]))
            wrong = ~(np.abs(back - grid[usable]) <= slack)
            if np.any(wrong):
                k = np.flatnonzero(wrong)[0]
                raise DeclarationError(
                    f"family {self.name!r}: theta(mu) does not invert b′: at θ = "
                    f"{grid[usable][k]:.6g}, b′(θ) = {means[usable][k]:.6g}, but theta(mu) gives "
                    f"{back[k]:.6g}."
                )

        if self.closed_deviance is not None:
            mu = means[np.isfinite(means) & self.mean_space.contains(means)][::7]
            y = mu[::-1]
            declared = np.asarray(self.closed_deviance(y, mu))
            derived = np.asarray(self._derived_deviance(y, self.theta(mu)))
            wrong = ~(np.abs(declared - derived) <= 1e-6 * (np.abs(declared) + y**2 + mu**2))
            if self.closed_conjugate is not None:
                gap = self.closed_conjugate(y) - self._derived_conjugate(y)
                wrong |= ~(np.abs(gap) <= 1e-6 * (1 + y**2))
            if np.any(wrong):
                k = np.flatnonzero(wrong)[0]
                raise DeclarationError(
                    f"family {self.name!r}: the closed forms of deviance and conjugate do not "
                    f"follow from b: deviance(y, mu) = {declared[k]:.6g} at y = {y[k]:.6g}, "
                    f"μ = {mu[k]:.6g}, but 2[b*(y) − yθ + b(θ)] = {derived[k]:.6g}."
                )

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Family is a value and cannot be changed; declare another one.")

    # ---- what follows from b -------------------------------------------------------------

    @property
    def _mean(self) -> Expression:
        """b′(θ)."""
        if "mean" not in self._cache:
            self._cache["mean"] = self.b.derivative("theta")
        return self._cache["mean"]

    @property
    def _variance(self) -> Expression:
        """b″(θ)."""
        if "variance" not in self._cache:
            raw = self._mean.derivative("theta")
            (stable,) = simplify([raw.output], raw.variables)
            self._cache["variance"] = Expression(raw.variables, stable)
        return self._cache["variance"]

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
            parts += [self.theta.digest, str(self.support), str(self.theta_domain), str(self.phi)]
            parts += [f"{k}:{v}" for k, v in self.shape.items()]
            self._cache["digest"] = hashlib.sha256("|".join(parts).encode()).hexdigest()
        return self._cache["digest"]

    @property
    def canonical_link(self) -> Link:
        """The link with θ(η) proportional to η (the traditional constant dropped)."""
        declared = getattr(self, "link", None)
        candidates = [declared] if declared is not None else []
        if not self.shape:
            candidates += list(links.built_in())
        for link in candidates:
            if self.theta_of_eta(link)[1]:
                return link
        return Link(
            f"{self.name}_canonical",
            _needs_no_shape(self, self.theta),
            _needs_no_shape(self, self._mean),
            domain=self.mean_space,
        )

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

    def mean(self, theta: Any, **shape: Any) -> Any:
        """μ = b′(θ)."""
        return self._mean(theta, **shape)

    def variance(self, mu: Any, **shape: Any) -> Any:
        """V(μ) = b″(θ(μ)), the variance at a(φ) = 1."""
        return self._variance(self.theta(mu, **shape), **shape)

    def theta_of(self, mu: Any, **shape: Any) -> Any:
        """θ(μ), the inverse of b′."""
        return self.theta(mu, **shape)

    def logpdf(self, y: Any, mu: Any, phi: Any = None, *, weights: Any = 1.0, **shape: Any) -> Any:
        """The log-density (or log-probability) [yθ − b(θ)]/a + c(y, a) with a = a(φ)/w.

        Parameters
        ----------
        y : array_like or symbolic, response scale
        mu : array_like or symbolic, response scale
        phi : array_like or symbolic, optional
            The dispersion; the family's own if it is known.
        weights : array_like or symbolic, optional
            Prior weights w; for the binomial the numbers of trials.
        **shape
            Values of the shape parameters.

        Returns
        -------
        float, ndarray or symbolic
            Broadcast over the arguments; −inf for numbers outside the support.

        Raises
        ------
        ArgumentError
            If φ is free and not given, or the family has no density.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> round(float(eg.families.binomial.logpdf(3 / 10, mu=0.4, weights=10)), 6)
        -1.536681
        """
        symbolic = any(isinstance(v, Variable) for v in (y, mu, phi, weights, *shape.values()))
        if not symbolic:
            y, weights = np.asarray(y, float), np.asarray(weights, float)
        a = self.a(self._dispersion(phi)) / weights
        r = 1 / a
        theta = self.theta(mu, **shape)
        if symbolic:
            return self.logpdf_at(y, mu, theta, a, **shape)
        inside = self.contains(y, r)
        with np.errstate(all="ignore"):
            value = self.logpdf_at(y, mu, theta, a, **shape)
        return np.where(inside, value, -np.inf)[()]

    def _dispersion(self, phi: Any) -> Any:
        if phi is not None:
            return phi
        if self.phi is None:
            raise ArgumentError(f"the dispersion of {self.name!r} is free; give phi=.")
        return self.phi

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

        It is the limit of yθ − b(θ) at the end of the θ-domain, taken at θ = ±700 (e^−700 is
        10⁻³⁰⁴) and infinite where it has not settled between ±350 and ±700.
        """
        found = {}
        ends = (
            (self.mean_space.low, self.theta_domain.low, -700.0),
            (self.mean_space.high, self.theta_domain.high, 700.0),
        )
        for y, end, far in ends:
            if np.isfinite(y) and self.support.contains(y):

                def limit(theta: float, y: float = y) -> Any:
                    symbol = pt.constant(np.float64(theta))
                    return y * theta - self.b(symbol, **shapes)

                if np.isinf(end):
                    settled = pt.abs(limit(far) - limit(far / 2)) < 1e-12
                    found[y] = pt.switch(settled, limit(far), np.inf)
                else:
                    found[y] = limit(end)
        return found

    @property
    def _derived_conjugate(self) -> Expression:
        if "conjugate" not in self._cache:
            y = scalar("y")
            shapes = {name: scalar(name) for name in self.shape}
            variables = [y, *shapes.values()]
            theta = self.theta(y, **shapes)
            (inner,) = simplify([y * theta - self.b(theta, **shapes)], variables)
            edges = self._edges(shapes)
            if edges:
                at_edge = {edge: pt.eq(y, edge) for edge in edges}
                safe = y
                for edge in edges:
                    safe = pt.switch(at_edge[edge], _inside(self.mean_space), safe)
                inner = substitute(inner, {y: safe})
                for edge, limit in edges.items():
                    inner = pt.switch(at_edge[edge], limit, inner)
            self._cache["conjugate"] = Expression(variables, simplify([inner], variables)[0])
        return self._cache["conjugate"]

    @property
    def conjugate(self) -> Expression:
        """b*(y) = sup over θ of yθ − b(θ), with its limits at the edges of the mean space."""
        return self.closed_conjugate or self._derived_conjugate

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

    def deviance(self, y: Any, mu: Any, **shape: Any) -> Any:
        """The unit deviance d(y, μ) = 2{b*(y) − yθ(μ) + b(θ(μ))} ≥ 0.

        Parameters
        ----------
        y, mu : array_like or symbolic, response scale
        **shape
            Values of the shape parameters.

        Returns
        -------
        float, ndarray or symbolic

        Raises
        ------
        DataError
            If a number in y lies outside the closed mean space.
        """
        if not any(isinstance(v, Variable) for v in (y, mu)):
            y = np.asarray(y, float)
            space = self.mean_space
            bad = ~((y >= space.low) & (y <= space.high))
            if np.any(bad):
                raise DataError(
                    f"deviance of {self.name!r}: y must lie in [{space.low:g}, {space.high:g}]; "
                    f"found {show_rows(np.atleast_1d(y), np.atleast_1d(bad))}."
                )
        return self.deviance_at(y, mu, self.theta(mu, **shape), **shape)

    def _derived_deviance(self, y: Any, theta: Any, **shape: Any) -> Any:
        return 2 * (self.conjugate(y, **shape) - y * theta + self.b(theta, **shape))

    def variance_at(self, theta: Any, **shape: Any) -> Any:
        """b″(θ), the variance at a(φ) = 1 as a function of θ."""
        return self._variance(theta, **shape)

    def deviance_at(self, y: Any, mu: Any, theta: Any, **shape: Any) -> Any:
        """The unit deviance where μ and θ are both at hand (symbolic)."""
        if self.closed_deviance is not None:
            return self.closed_deviance(y, mu, **shape)
        return self._derived_deviance(y, theta, **shape)

    def logpdf_at(self, y: Any, mu: Any, theta: Any, a: Any, **shape: Any) -> Any:
        """The log-density where μ, θ and the effective dispersion a are at hand."""
        if self.closed_deviance is not None and self.closed_conjugate is not None:
            deviance = self.closed_deviance(y, mu, **shape)
            return self.saturated(y, a, **shape) - deviance / (2 * a)
        kernel = (y * theta - self.b(theta, **shape)) / a
        return kernel + self.base_measure(y, a, **shape)

    def base_measure(self, y: Any, a: Any, **shape: Any) -> Any:
        """c(y, a); refused for a quasi family."""
        if self.c is None:
            raise ArgumentError(
                f"the quasi family {self.name!r} declares no density (c=None); its mean and "
                "variance are all there is."
            )
        return self.c(y, a, **shape)

    def fix(self, **values: float) -> Family:
        """The same family with shape parameters given as known.

        Parameters
        ----------
        **values : float
            One number for each shape parameter that is known.

        Returns
        -------
        Family

        Raises
        ------
        ArgumentError
            If a name is no shape parameter or a value lies outside its domain.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> eg.families.negative_binomial(alpha=0.5).fixed["alpha"]
        0.5
        """
        for key, value in values.items():
            if key not in self.shape:
                raise ArgumentError(
                    f"{key!r} is no shape parameter of {self.name!r}; it has "
                    f"{', '.join(self.shape) or 'none'}."
                )
            if not bool(self.shape[key].contains(value)):
                raise ArgumentError(
                    f"{key}={value!r} of {self.name!r} must lie in {self.shape[key]}."
                )
        given = {k: float(v) for k, v in values.items()}
        return Family(
            self.name,
            self.b.fix(**given),
            None if self.c is None else self.c.fix(**given),
            a=self.a,
            support=self.support,
            theta_domain=self.theta_domain,
            theta=self.theta.fix(**given),
            phi=self.phi,
            shape={k: v for k, v in self.shape.items() if k not in given},
            link=self.link,
            deviance=None if self.closed_deviance is None else self.closed_deviance.fix(**given),
            conjugate=None if self.closed_conjugate is None else self.closed_conjugate.fix(**given),
            _fixed={**self.fixed, **given},
        )

    def dist(self, name: str | None = None, **keywords: Any) -> Any:
        """The family as a distribution in a PyMC model; see `expfam_glm.bayes.distribution`."""
        from expfam_glm.bayes.distribution import dist

        return dist(self, name, **keywords)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Family) and (self.name, self.digest, self.link) == (
            other.name,
            other.digest,
            other.link,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.digest, self.link))

    def __reduce__(self) -> tuple[Any, ...]:
        state = {
            key: getattr(self, key)
            for key in ("name", "b", "c", "a", "support", "theta_domain", "theta", "phi", "link")
        }
        state["deviance"] = self.closed_deviance
        state["conjugate"] = self.closed_conjugate
        return _rebuild, ({**state, "shape": dict(self.shape), "_fixed": dict(self.fixed)},)

    def __repr__(self) -> str:
        known = "".join(f", {k}={v:g}" for k, v in self.fixed.items())
        dispersion = "free" if self.phi is None else f"{self.phi:g}"
        return (
            f"<Family {self.name}{known}: y in {self.support}, phi {dispersion}, "
            f"link {self.link.name}>"
        )


def _rebuild(state: dict[str, Any]) -> Family:
    return Family(**state)


def _inside(domain: Domain) -> float:
    """Some point of an open interval."""
    low, high = domain.low, domain.high
    if np.isfinite(low) and np.isfinite(high):
        return 0.5 * (low + high)
    if np.isfinite(low):
        return low + 1.0
    return high - 1.0 if np.isfinite(high) else 0.0


def _needs_no_shape(family: Family, expression: Expression) -> Expression:
    if len(expression.names) > 1:
        raise DeclarationError(
            f"the canonical link of {family.name!r} depends on {', '.join(expression.names[1:])}; "
            "declare link=, or fix the shape parameters first."
        )
    return expression
