"""What one row contributes to a model, as functions of η, derived from family and link."""

from __future__ import annotations

from functools import cached_property, lru_cache

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from expfam_glm.spec.expression import derivative, scalar
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link


class RowModel:
    """The symbols (η, y, r, shapes) of one row, r = w/a(φ), and the expressions in them.

    mu, theta            μ = g⁻¹(η), θ = θ(μ)
    slope, variance      dμ/dη, V(μ)
    score                u = (y − μ) θ′(η) r
    weight               W = V(μ) θ′(η)² r                  (expected information)
    observed_weight      W − (y − μ) θ″(η) r                (observed information)
    weight_slope         dW/dη                              (of Jeffreys' penalty)
    bias_weight          θ′(η) d²μ/dη² r = W μ″/μ′          (of Firth's adjustment)
    kernel               (yθ − b(θ)) r
    deviance             d(y, μ), not weighted
    weighted_deviance    d(y, μ) r
    pearson              (y − μ)²/V(μ), not weighted
    loglik               kernel + c(y, 1/r)                     (the log-density)
    """

    def __init__(self, family: Family, link: Link) -> None:
        self.family = family
        self.link = link
        self.eta, self.y, self.r = scalar("eta"), scalar("y"), scalar("r")
        self.shapes = {name: scalar(name) for name in family.shape}

    @property
    def variables(self) -> list[Variable]:
        """The symbols in the order of the kernels' arguments."""
        return [self.eta, self.y, self.r, *self.shapes.values()]

    @cached_property
    def theta(self) -> Variable:
        return self.family.theta_of_eta(self.link)[0](self.eta, **self.shapes)

    @cached_property
    def mu(self) -> Variable:
        return self.link.inverse(self.eta)

    @cached_property
    def _theta_slope(self) -> Variable:
        return derivative(self.theta, self.eta)

    @cached_property
    def slope(self) -> Variable:
        return derivative(self.mu, self.eta)

    @cached_property
    def variance(self) -> Variable:
        return self.family.variance_at(self.theta, **self.shapes)

    @cached_property
    def score(self) -> Variable:
        return (self.y - self.mu) * self._theta_slope * self.r

    @cached_property
    def weight(self) -> Variable:
        return self.variance * self._theta_slope**2 * self.r

    @cached_property
    def observed_weight(self) -> Variable:
        bend = derivative(self._theta_slope, self.eta)
        return self.weight - (self.y - self.mu) * bend * self.r

    @cached_property
    def weight_slope(self) -> Variable:
        return derivative(self.weight, self.eta)

    @cached_property
    def bias_weight(self) -> Variable:
        return self._theta_slope * derivative(self.slope, self.eta) * self.r

    @cached_property
    def kernel(self) -> Variable:
        return (self.y * self.theta - self.family.cumulant(self.theta, **self.shapes)) * self.r

    @cached_property
    def deviance(self) -> Variable:
        return self.family.deviance_at(self.y, self.mu, self.theta, **self.shapes)

    @cached_property
    def weighted_deviance(self) -> Variable:
        return self.deviance * self.r

    @cached_property
    def pearson(self) -> Variable:
        squared = (self.y - self.mu) ** 2
        # in a far tail both underflow: the limit at y = μ is 0
        return pt.switch(pt.eq(squared, 0.0), 0.0, squared / self.variance)

    @cached_property
    def loglik(self) -> Variable:
        return self.family.logpdf_at(self.y, self.mu, self.theta, 1 / self.r, **self.shapes)


@lru_cache(maxsize=256)
def row_model(family: Family, link: Link) -> RowModel:
    """The row model of a family under a link, derived once."""
    return RowModel(family, link)
