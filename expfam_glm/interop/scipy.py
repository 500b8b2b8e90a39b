"""Families at given parameters with the methods of SciPy's frozen distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError
from expfam_glm.numerics.arguments import Columns
from expfam_glm.numerics.cdf import log_tails
from expfam_glm.numerics.quantile import quantile
from expfam_glm.numerics.random import draw
from expfam_glm.spec.family import Family


class FrozenDistribution:
    """The distributions of a family with parameters given; made by `Family.to_scipy`.

    Parameters
    ----------
    family : Family
    mu : array_like, response scale
    phi : array_like or None
    weights : array_like
    shape : mapping of str to array_like

    Attributes
    ----------
    family : Family
    parameters : dict
        The dispersion, weights and shape parameters by keyword.

    Raises
    ------
    ArgumentError
        If the family has no density, or φ is free and not given.
    DataError
        If a mean, dispersion or weight is not one that the family can have.

    Notes
    -----
    Responses are on the scale of the mean: where SciPy's binomial counts successes, this one has
    proportions of `weights` trials, and its `pmf` lives on k/N.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> frozen = eg.families.poisson.to_scipy(mu=[1.0, 4.0])
    >>> frozen.pmf(2).round(6)
    array([0.18394 , 0.146525])
    >>> frozen.mean(), frozen.var()
    (array([1., 4.]), array([1., 4.]))
    """

    def __init__(
        self,
        family: Family,
        mu: ArrayLike,
        phi: ArrayLike | None = None,
        weights: ArrayLike = 1.0,
        shape: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        self.family = family
        self.mu = np.asarray(mu, dtype=float)
        self.shapes = {name: np.asarray(v, float) for name, v in (shape or {}).items()}
        self.parameters: dict[str, Any] = {"phi": phi, "weights": weights, **self.shapes}
        columns = Columns.of(
            family, 0.0, self.mu, phi, weights, self.shapes, "it is no distribution"
        )
        self._full = columns.shape
        self._a = columns.a.reshape(self._full)
        self._mean = columns.mean.reshape(self._full)
        self._inner = columns.inner.reshape(self._full)

    def logpdf(self, y: ArrayLike) -> Any:
        """The log-density at y, or log-probability of a discrete family."""
        return self.family.logpdf(y, self.mu, **self.parameters)

    def pdf(self, y: ArrayLike) -> Any:
        """The density at y."""
        return np.exp(self.logpdf(y))

    def logpmf(self, y: ArrayLike) -> Any:
        """The log-probability of y.

        Raises
        ------
        ArgumentError
            If the family is continuous.
        """
        if not self.family.support.discrete:
            raise ArgumentError(
                f"{self.family.name!r} is continuous and has no pmf; use pdf or logpdf."
            )
        return self.logpdf(y)

    def pmf(self, y: ArrayLike) -> Any:
        """The probability of y."""
        return np.exp(self.logpmf(y))

    def logcdf(self, y: ArrayLike) -> Any:
        """log P(Y ≤ y)."""
        return log_tails(self.family, y, self.mu, **self.parameters)[0][()]

    def cdf(self, y: ArrayLike) -> Any:
        """P(Y ≤ y)."""
        return np.exp(self.logcdf(y))

    def logsf(self, y: ArrayLike) -> Any:
        """log P(Y > y)."""
        return log_tails(self.family, y, self.mu, **self.parameters)[1][()]

    def sf(self, y: ArrayLike) -> Any:
        """P(Y > y)."""
        return np.exp(self.logsf(y))

    def ppf(self, q: ArrayLike) -> Any:
        """The smallest y with P(Y ≤ y) ≥ q."""
        return quantile(self.family, q, self.mu, **self.parameters)

    def isf(self, q: ArrayLike) -> Any:
        """The smallest y with P(Y > y) ≤ q."""
        return quantile(self.family, q, self.mu, upper=True, **self.parameters)

    def rvs(
        self,
        size: int | tuple[int, ...] | None = None,
        random_state: np.random.Generator | int | None = None,
    ) -> Any:
        """Draws; `size` is that of the result, and by default that of the parameters."""
        return draw(self.family, self.mu, rng=random_state, size=size, **self.parameters)[()]

    def mean(self) -> Any:
        """μ."""
        return self._mean[()]

    def var(self) -> Any:
        """V(μ) a(φ)/w; zero where the mean is at an edge."""
        with np.errstate(all="ignore"):
            variance = np.asarray(self.family.variance(self.mu, **self.shapes)) * self._a
        return np.where(self._inner, variance, 0.0)[()]

    def std(self) -> Any:
        """The square root of the variance."""
        return np.sqrt(self.var())

    def median(self) -> Any:
        """The quantile at one half."""
        return self.ppf(0.5)

    def support(self) -> tuple[Any, Any]:
        """The ends of the support, each of the shape of the parameters."""
        low, high = self.family.support.low, self.family.support.high
        return np.full(self._full, low)[()], np.full(self._full, high)[()]

    def interval(self, confidence: float) -> tuple[Any, Any]:
        """The central interval that holds y with at least this probability."""
        if not 0 <= confidence <= 1:
            raise ArgumentError(f"confidence={confidence!r} must lie in [0, 1].")
        tail = (1 - confidence) / 2
        return self.ppf(tail), self.isf(tail)

    def __repr__(self) -> str:
        return f"<{self.family.name} with mean {self.mu!r}>"
