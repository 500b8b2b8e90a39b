"""An exponential family, declared once: f(y) = exp{[yθ − b(θ)]/a(φ) + c(y, a)}."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from keyword import iskeyword
from types import MappingProxyType
from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError, DataError, DeclarationError, show_rows
from expfam_glm.spec import links
from expfam_glm.spec.derived import Derived
from expfam_glm.spec.domain import Domain, Real
from expfam_glm.spec.expression import Expression, is_symbolic
from expfam_glm.spec.link import Link
from expfam_glm.spec.memory import Home
from expfam_glm.spec.verify import check_parameters, real_arrays, verify

# Names of the model, of the result tree and of arguments that stand beside the shapes.
_RESERVED = (
    "beta", "eta", "mu", "theta", "phi", "y", "a", "r", "X", "coef", "obs_id", "chain", "draw",
    "weights", "freq_weights", "trials", "offset", "exposure", "name", "shape", "size", "rng",
    "observed", "dims", "self",
)  # fmt: skip


class Family(Derived):
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
        The unit deviance d(y, μ) in closed form, where that keeps more digits than the derived
    one.
    conjugate : callable, optional
        b*(y) in closed form, for the same reason; with it the density is computed as
        −d(y, μ)/(2a) + {b*(y)/a + c(y, a)}, where what cancels in the braces is cancelled in
        the graph.

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

    __slots__ = ("fixed", "link")

    fixed: Mapping[str, float]
    link: Link

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
        _verified: bool = False,
        _home: Home | None = None,
    ) -> None:
        where = f"family {name!r}"
        if not (isinstance(name, str) and name.strip()):
            raise DeclarationError(
                f"the name of a family must be text that is not empty; got {name!r}."
            )
        if shape is not None and not isinstance(shape, Mapping):
            raise DeclarationError(
                f"{where}: shape must map names to domains, such as {{'alpha': Positive}}; got "
                f"{shape!r}."
            )
        shape = dict(shape or {})
        for key, domain in shape.items():
            if not str(key).isidentifier() or iskeyword(str(key)):
                raise DeclarationError(
                    f"{where}: the shape parameter {key!r} is no name of an argument in Python; "
                    "choose another one."
                )
            if key in _RESERVED:
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
        if phi is not None and not (isinstance(phi, numbers.Real) and 0 < phi < np.inf):
            raise DeclarationError(f"{where}: phi={phi!r} must be a positive number, or None.")
        put = object.__setattr__
        put(self, "name", name)
        put(self, "shape", MappingProxyType(shape))
        put(self, "fixed", MappingProxyType(dict(_fixed or {})))
        put(self, "support", support)
        put(self, "theta_domain", theta_domain)
        put(self, "phi", None if phi is None else float(phi))
        put(self, "home", _home)
        put(self, "_cache", {})
        put(self, "b", self._trace("b", b, "theta"))
        put(self, "c", None if c is None else self._trace("c", c, "y", "a"))
        dispersion = Expression.trace(
            (lambda phi: phi) if a is None else a, ["phi"], [], f"{where}: a",
            _home and _home.part("a"),
        )  # fmt: skip
        put(self, "a", dispersion)
        if theta is None:
            from expfam_glm.spec.inverse import inverse_of

            put(self, "theta", inverse_of(self.mean_function, theta_domain, "mu"))
        else:
            put(self, "theta", self._trace("theta", theta, "mu"))
        for label, form, arguments in (
            ("deviance", deviance, ("y", "mu")),
            ("conjugate", conjugate, ("y",)),
        ):
            closed = None if form is None else self._trace(label, form, *arguments)
            put(self, f"closed_{label}", closed)
        if not _verified:
            verify(self)
        put(self, "link", links.named(link) if link is not None else self.canonical_link)
        if not (_verified or self.fixed):
            self._refuse_namesake()

    def _trace(
        self, part: str, function: Callable[..., Any] | Expression, *arguments: str
    ) -> Expression:
        """One of the declared functions, of these arguments and the shapes."""
        home = self.home and self.home.part(part)
        where = f"family {self.name!r}: {part}"
        return Expression.trace(function, arguments, list(self.shape), where, home)

    def _refuse_namesake(self) -> None:
        from expfam_glm.spec.families import refuse_namesake

        refuse_namesake(self)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Family is a value and cannot be changed; declare another one.")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    @property
    def canonical_link(self) -> Link:
        """The link with θ(η) proportional to η (the traditional constant dropped)."""
        declared = getattr(self, "link", None)
        candidates = [declared] if declared is not None else []
        if not self.shape:
            candidates += list(links.built_in())
        for link in candidates:
            if self.is_canonical(link):
                return link
        return Link(
            f"{self.name}_canonical",
            _needs_no_shape(self, self.theta),
            _needs_no_shape(self, self.mean_function),
            domain=self.mean_space,
            codomain=self.theta_domain,
        )

    def mean(self, theta: Any, **shape: Any) -> Any:
        """μ = b′(θ)."""
        return self.mean_function(theta, **shape)

    def variance(self, mu: Any, **shape: Any) -> Any:
        """V(μ) = b″(θ(μ)), the variance at a(φ) = 1."""
        return self.variance_of_mean(mu, **shape)

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
            If φ is free and not given, the family has no density, or an argument is no array of
            real numbers that fits the others.
        DataError
            If y is NaN, a mean lies outside the closed mean space or a is not positive; a mean at
            the edge has all its mass there.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> round(float(eg.families.binomial.logpdf(3 / 10, mu=0.4, weights=10)), 6)
        -1.53716
        """
        symbolic = is_symbolic(y, mu, phi, weights, *shape.values())
        if self.is_quasi:
            self.base_measure(y, phi)  # refused
        if symbolic:
            a = self.a(self._dispersion(phi)) / weights
            return self.logpdf_at(y, mu, self.theta(mu, **shape), a, **shape)
        phi = self._dispersion(phi)
        y, mu, phi, weights, *values = real_arrays(y=y, mu=mu, phi=phi, weights=weights, **shape)
        if np.any(np.isnan(y)):
            raise DataError(f"y must not be NaN; found {show_rows(np.ravel(y), np.isnan(y))}.")
        shape = dict(zip(shape, values, strict=True))
        with np.errstate(all="ignore"):
            a = self.a(phi) / weights
            check_parameters(self, mu, a)
            value = self.logpdf_at(y, mu, self.theta(mu, **shape), a, **shape)
            value = np.where(self.mean_space.contains(mu), value, np.where(y == mu, 0.0, -np.inf))
            return np.where(self.contains(y, 1 / a), value, -np.inf)[()]

    def _dispersion(self, phi: Any) -> Any:
        if phi is not None:
            return phi
        if self.phi is None:
            raise ArgumentError(f"the dispersion of {self.name!r} is free; give phi=.")
        return self.phi

    def random(
        self, mu: Any, phi: Any = None, size: Any = None, rng: Any = None, *,
        weights: Any = 1.0, **shape: Any,
    ) -> np.ndarray:  # fmt: skip
        """Draw responses, broadcast over the parameters.

        Parameters
        ----------
        mu : array_like, response scale
            Means.
        phi : array_like, optional
            The dispersion; the family's own if it is known.
        size : int or tuple of int, optional
            Shape of the result, which the parameters must fit; their common shape if not given.
        rng : numpy.random.Generator or int, optional
            A generator, or the seed of one.
        weights : array_like, optional
            Prior weights w; for the binomial the numbers of trials.
        **shape : array_like
            Values of the shape parameters.

        Returns
        -------
        ndarray of float
            Responses on the scale of the mean: for the binomial, proportions.

        Raises
        ------
        ArgumentError
            If the family has no density, φ is free and not given, or `size` or `rng` cannot be
            used.
        DataError
            If a mean, dispersion or weight is not one that the family can have.
        DeclarationError
            If the probabilities of the declaration do not add up to one.

        Notes
        -----
        Drawn from b and c alone: from tables of the distribution function at a few means, between
        which rejection serves all others. The built-in families use NumPy's generators, which
        the tests hold equal to the declared density.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> eg.families.poisson.random([1.0, 10.0, 100.0], rng=1)
        array([ 2., 17., 98.])
        """
        from expfam_glm.numerics.random import draw

        return draw(self, mu, phi, rng, size, weights=weights, **shape)

    def cdf(self, y: Any, mu: Any, phi: Any = None, *, weights: Any = 1.0, **shape: Any) -> Any:
        """The distribution function P(Y ≤ y).

        Parameters
        ----------
        y, mu : array_like, response scale
        phi : array_like, optional
            The dispersion; the family's own if it is known.
        weights : array_like, optional
            Prior weights w; for the binomial the numbers of trials.
        **shape : array_like
            Values of the shape parameters.

        Returns
        -------
        float or ndarray
            Broadcast over the arguments; accurate relative to itself, in the lower tail too.

        Raises
        ------
        ArgumentError
            If the family has no density, or φ is free and not given.
        DataError
            If a mean, dispersion or weight is not one that the family can have, or y is NaN.
        DeclarationError
            If the probabilities of the declaration do not add up to one.

        Notes
        -----
        Sums or integrals of exp{[yθ − b(θ)]/a + c(y, a)} over the support on both sides of y,
        divided by their total.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> round(float(eg.families.binomial.cdf(3 / 10, mu=0.4, weights=10)), 6)
        0.382281
        """
        from expfam_glm.numerics.cdf import cdf

        return cdf(self, y, mu, phi, weights=weights, **shape)

    def sf(self, y: Any, mu: Any, phi: Any = None, *, weights: Any = 1.0, **shape: Any) -> Any:
        """The survival function P(Y > y), accurate in the upper tail.

        Parameters and errors are those of `cdf`.

        Parameters
        ----------
        y, mu : array_like, response scale
        phi : array_like, optional
        weights : array_like, optional
        **shape : array_like

        Returns
        -------
        float or ndarray

        Examples
        --------
        >>> import expfam_glm as eg
        >>> bool(eg.families.normal.sf(30.0, mu=0.0, phi=1.0) > 0)
        True
        """
        from expfam_glm.numerics.cdf import sf

        return sf(self, y, mu, phi, weights=weights, **shape)

    def ppf(self, q: Any, mu: Any, phi: Any = None, *, weights: Any = 1.0, **shape: Any) -> Any:
        """The quantile function: the smallest y with P(Y ≤ y) ≥ q.

        Parameters
        ----------
        q : array_like
            Probabilities in [0, 1].
        mu : array_like, response scale
        phi : array_like, optional
            The dispersion; the family's own if it is known.
        weights : array_like, optional
            Prior weights w; for the binomial the numbers of trials.
        **shape : array_like
            Values of the shape parameters.

        Returns
        -------
        float or ndarray
            On the scale of the mean, broadcast over the arguments.

        Raises
        ------
        ArgumentError
            If the family has no density, or φ is free and not given.
        DataError
            If q lies outside [0, 1], or a mean, dispersion or weight is not one that the family
            can have.
        DeclarationError
            If the probabilities of the declaration do not add up to one.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> eg.families.poisson.ppf([0.025, 0.975], mu=4.0)
        array([1., 8.])
        """
        from expfam_glm.numerics.quantile import quantile

        return quantile(self, q, mu, phi, weights=weights, **shape)

    def to_scipy(self, mu: Any, phi: Any = None, *, weights: Any = 1.0, **shape: Any) -> Any:
        """The distributions with given parameters, frozen, as `scipy.stats` has them.

        Parameters
        ----------
        mu : array_like, response scale
        phi : array_like, optional
            The dispersion; the family's own if it is known.
        weights : array_like, optional
            Prior weights w; for the binomial the numbers of trials.
        **shape : array_like
            Values of the shape parameters.

        Returns
        -------
        FrozenDistribution
            With pdf or pmf, cdf, sf, ppf, isf, rvs, mean, var, std, support, interval, …

        Raises
        ------
        ArgumentError
            If the family has no density, or φ is free and not given.
        DataError
            If a mean, dispersion or weight is not one that the family can have.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> frozen = eg.families.gamma.to_scipy(mu=2.0, phi=0.5)
        >>> round(float(frozen.cdf(2.0)), 6)
        0.593994
        """
        from expfam_glm.interop.scipy import FrozenDistribution

        return FrozenDistribution(self, mu, phi, weights, shape)

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
        if not is_symbolic(y, mu):
            y = np.asarray(y, float)
            space = self.mean_space
            bad = ~((y >= space.low) & (y <= space.high))
            if np.any(bad):
                raise DataError(
                    f"deviance of {self.name!r}: y must lie in [{space.low:g}, {space.high:g}]; "
                    f"found {show_rows(np.atleast_1d(y), np.atleast_1d(bad))}."
                )
        return self.deviance_at(y, mu, self.theta(mu, **shape), **shape)

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
            If a name is no shape parameter, or a value is no number in its domain.

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
            number = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
            if not number or not bool(self.shape[key].contains(value)):
                raise ArgumentError(
                    f"{key}={value!r} of {self.name!r} must be a number in {self.shape[key]}."
                )
        if not values:
            return self
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
            _verified=self._is_built_in(),  # true for every value, also where b overflows
        )

    def _is_built_in(self) -> bool:
        from expfam_glm.spec.families import is_built_in

        return is_built_in(self)

    def dist(self, name: str | None = None, **keywords: Any) -> Any:
        """The family as a distribution in a PyMC model; see `expfam_glm.bayes.distribution`."""
        from expfam_glm.bayes.distribution import dist

        return dist(self, name, **keywords)

    def check(self, *, raise_on_failure: bool = False) -> Any:
        """Check the declaration, and name the part that is wrong.

        Parameters
        ----------
        raise_on_failure : bool, optional
            Whether to raise instead of returning a report of failures.

        Returns
        -------
        Report
            Reads as text and as HTML; `ok`, `parts` (the wrong ones) and `results`, by name in
            brackets: finite, convex, range, dispersion, conjugate, deviance, digits, theta, link,
            unit deviance, measure, mass, weights, mean, variance, draws.

        Raises
        ------
        DeclarationError
            If a check fails and `raise_on_failure` is true; its text is the report.

        Notes
        -----
        On nine θ, several φ where φ is free, a/2 and a/3, and three settings of every free shape
        parameter: the total mass, mean and variance by adaptive quadrature (or a sum with a
        bounded tail) against 1, b′(θ) and b″(θ)·a; b, b′ and b″ against differences of b with
        120 digits; θ(μ), the link and the deviance; and 10⁴ draws against the distribution
        function, where a right family fails with a probability below 10⁻¹⁰.

        References
        ----------
        Massart (1990), The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, Annals of
        Probability 18, 1269-1283.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> import pytensor.tensor as pt
        >>> forgetful = eg.Family(
        ...     "forgetful", b=pt.exp, c=lambda y, a: 0.0 * y, support=eg.Integers(0, None), phi=1.0
        ... )
        >>> report = forgetful.check()
        >>> report.ok, report.parts
        (False, ('c',))
        >>> print(report["mass"].advice)
        a term of c(y, a) is missing or wrong: with −lnΓ(y + 1) added the total mass is 1 ...
        """
        from expfam_glm.numerics.check import check

        report = check(self)
        if raise_on_failure and not report.ok:
            raise DeclarationError(str(report), " ".join(report.parts))
        return report

    def to_bambi(self, link: str | Link | None = None) -> Any:
        """The family as a `bambi.Family`; see `expfam_glm.interop.bambi`."""
        from expfam_glm.interop.bambi import to_bambi

        return to_bambi(self, link)

    def to_statsmodels(self, link: str | Link | None = None) -> Any:
        """The family as one of statsmodels; see `expfam_glm.interop.statsmodels`."""
        from expfam_glm.interop.statsmodels import to_statsmodels

        return to_statsmodels(self, link)

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

    def _repr_html_(self) -> str:
        from expfam_glm.results.facts import of_family

        return of_family(self)._repr_html_()


def _rebuild(state: dict[str, Any]) -> Family:
    return Family(**state, _verified=True)


def _needs_no_shape(family: Family, expression: Expression) -> Expression:
    if len(expression.names) > 1:
        raise DeclarationError(
            f"the canonical link of {family.name!r} depends on {', '.join(expression.names[1:])}; "
            "declare link=, or fix the shape parameters first."
        )
    return expression
