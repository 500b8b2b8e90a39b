"""What one row contributes to a model, as functions of η, derived from family and link."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import derivative, scalar, substitute
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import written
from expfam_glm.spec.program import Program
from expfam_glm.spec.simplify import simplify


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


def row_program(family: Family, link: Link, outputs: Sequence[str], unit: bool) -> Program:
    """(η, y, r, *shapes) → some quantities of a row, with r = 1 known if `unit`."""
    rows = row_model(family, link)
    known = {rows.r: pt.constant(np.float64(1.0))} if unit else {}
    graphs = [substitute(getattr(rows, name), known) for name in outputs]
    graphs = simplify(graphs, rows.variables)
    return written(rows.variables, graphs, (rows.eta, rows.y))


def shape_program(family: Family, link: Link, free: bool) -> Program:
    """(η, y, r, *shapes) → −ℓ_ηη; ℓ_ηv; ℓ; ℓ_v; ℓ_vv′ for v in the shapes and, if free, log a."""
    rows = row_model(family, link)
    loglik, score, weight = simplify(
        [rows.loglik, rows.score, rows.observed_weight], rows.variables
    )

    def by(graph: Variable, name: str) -> Variable:
        if name == "log a":  # r = w/a
            return -rows.r * derivative(graph, rows.r)
        return derivative(graph, rows.shapes[name])

    names = [*family.shape, *(["log a"] if free else [])]
    first = [by(loglik, name) for name in names]
    second = [by(first[i], names[j]) for i in range(len(names)) for j in range(i + 1)]
    mixed = [by(score, name) for name in names]
    graphs = [substitute(v, {}) for v in (weight, *mixed, loglik, *first, *second)]
    return written(rows.variables, graphs, (rows.eta, rows.y))
