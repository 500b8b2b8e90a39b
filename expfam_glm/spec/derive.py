"""What follows from b, c, a and the support of a family: graphs, derived by differentiation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors

from expfam_glm.spec.derived import Derived
from expfam_glm.spec.domain import inner_point
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.graph import derivative, scalar, substitute
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import written
from expfam_glm.spec.program import Program
from expfam_glm.spec.simplify import simplify
from expfam_glm.spec.terms import Table

# Where limits in θ are taken: the nearest first, for yθ to keep its digits, and at y = 0 the
# farthest; and how much they may still change from one to the next, for each unit of y.
_FAR = (44.0, 88.0, 175.0, 350.0, 700.0)
_SETTLED = 1e-12


def _stable(variables: Any, output: Variable) -> Expression:
    """A function in canonical and numerically stable form."""
    return Expression(variables, simplify([output], variables)[0])


def cumulant(family: Derived) -> Expression:
    """b(θ)."""
    return _stable(family.b.variables, family.b.output)


def mean_function(family: Derived) -> Expression:
    """b′(θ)."""
    raw = family.cumulant
    return Expression(raw.variables, raw.derivative("theta").output)


def variance_function(family: Derived) -> Expression:
    """b″(θ)."""
    mean = family.mean_function
    raw = _stable(mean.variables, mean.output).derivative("theta")
    return _stable(raw.variables, raw.output)


def variance_of_mean(family: Derived) -> Expression:
    """V(μ) = b″(θ(μ)), simplified as a whole."""
    mu, shapes = scalar("mu"), _shapes(family)
    composed = family.variance_function(family.theta(mu, **shapes), **shapes)
    return _stable([mu, *shapes.values()], composed)


def theta_of_eta(family: Derived, link: Link) -> tuple[Expression, bool]:
    """θ as a function of η under a link, and whether it is proportional to η."""
    eta, shapes = scalar("eta"), _shapes(family)
    if link.link == family.theta:  # θ(g⁻¹(η)) = η by the meaning of an inverse
        return Expression([eta], eta), True
    variables = [eta, *shapes.values()]
    theta = _stable(variables, family.theta(link.inverse(eta), **shapes))
    slope = _stable(variables, theta.derivative("eta").output)
    return theta, isinstance(slope.output, Constant)


def derived_conjugate(family: Derived) -> Expression:
    """yθ(y) − b(θ(y)), with its limits at the edges of the mean space."""
    y, shapes = scalar("y"), _shapes(family)
    variables = [y, *shapes.values()]
    theta = family.theta(y, **shapes)
    (inner,) = simplify([y * theta - family.cumulant(theta, **shapes)], variables)
    edges = _edges(family, shapes)
    if edges:
        at_edge = {edge: pt.eq(y, edge) for edge in edges}
        safe = y
        for edge in edges:
            safe = pt.switch(at_edge[edge], inner_point(family.mean_space), safe)
        inner = substitute(inner, {y: safe})
        for edge, limit in edges.items():
            inner = pt.switch(at_edge[edge], limit, inner)
    return _stable(variables, inner)


def saturated(family: Derived) -> Expression:
    """b*(y)/a + c(y, a), the log-density at μ = y."""
    y, a, shapes = scalar("y"), scalar("a"), _shapes(family)
    whole = family.conjugate(y, **shapes) / a + family.base_measure(y, a, **shapes)
    return _stable([y, a, *shapes.values()], whole)


def saturated_slopes(family: Derived) -> Program:
    """(y, a) → s, ∂s/∂log a, ∂²s/∂(log a)² of the saturated log-density s."""
    symbols, parts, factors = _products(family)
    if parts is None:
        parts, factors = [None], [family.saturated.output]
    graphs = []
    for ks in _log_slopes(factors, symbols):
        products = [k if v is None else k * v for k, v in zip(ks, parts, strict=True)]
        graphs.append(reduce(pt.add, products))
    return written(symbols, simplify(graphs, symbols), symbols[:1])


def saturated_parts(family: Derived) -> Program | None:
    """(y) → G₁, G₂, … where s is a sum of products k(a)·G(y), else None."""
    symbols, parts, _ = _products(family)
    if parts is None:
        return None
    y, _, *shapes = symbols
    one = pt.constant(np.float64(1.0))
    return written([y, *shapes], [one if v is None else v for v in parts], [y])


def saturated_factors(family: Derived) -> Program:
    """(a) → the k of each of these parts, then their ∂/∂log a, then their ∂²/∂(log a)²."""
    symbols, _, factors = _products(family)
    graphs = [k for ks in _log_slopes(factors, symbols) for k in ks]
    return written(symbols[1:], graphs)


def _products(
    family: Derived,
) -> tuple[list[Variable], list[Variable | None] | None, list[Variable]]:
    """(y, a, shapes), and the saturated log-density s as Σ k(a)·G(y): the G (None for 1) and the k.

    No G where s is no such sum.
    """
    y, a, *_ = symbols = list(family.saturated.variables)
    (s,) = simplify([family.saturated.output], symbols)
    table = Table(y, symbols)
    whole = table.sum_of(s)
    if a in ancestors(list(table.parts.values())):
        return symbols, None, []
    parts: list[Variable | None] = [None, y, *table.parts.values()]
    factors = [whole.constant, whole.slope, *(whole.terms[k] for k in sorted(whole.terms))]
    there = [(k, part) for k, part in zip(factors, parts, strict=True) if k is not None]
    return symbols, [part for _, part in there], [k for k, _ in there]


def _log_slopes(factors: list[Variable], symbols: list[Variable]) -> list[list[Variable]]:
    """Functions of a, and their first and second derivatives in log a."""
    a, orders = symbols[1], [factors]
    for _ in range(2):
        orders.append([a * derivative(k, a) for k in orders[-1]])
    return [simplify(ks, symbols) for ks in orders]


def curvatures(family: Derived) -> Program:
    """(y, r) → h″(r), h‴(r) of the saturated log-density at a = 1/r."""
    s = family.saturated
    r = scalar("r")
    turned = Expression([s.variables[0], r], substitute(s.output, {s.variables[1]: 1 / r}))
    second = turned.derivative("r").derivative("r")
    outputs = [second.output, second.derivative("r").output]
    return written(turned.variables, simplify(outputs, turned.variables), turned.variables[:1])


def _shapes(family: Derived) -> dict[str, Variable]:
    """A symbol for each shape parameter."""
    return {name: scalar(name) for name in family.shape}


def _edges(family: Derived, shapes: Mapping[str, Any]) -> dict[float, Any]:
    """b*(y) where the support touches the edge of the mean space.

    It is the limit of yθ − b(θ) at the end of the θ-domain.
    """
    found = {}
    ends = (
        (family.mean_space.low, family.theta_domain.low, -1.0),
        (family.mean_space.high, family.theta_domain.high, 1.0),
    )
    for y, end, sign in ends:
        if np.isfinite(y) and family.support.contains(y):
            if np.isinf(end):
                found[y] = _limit(family, y, sign, shapes)
            else:
                symbol = pt.constant(np.float64(end))
                found[y] = y * end - family.cumulant(symbol, **shapes)
    return found


def _limit(family: Derived, y: float, sign: float, shapes: Mapping[str, Any]) -> Any:
    """yθ − b(θ) at the first of `_FAR` from which it does not change any more, or infinity."""
    close = _SETTLED * max(1.0, abs(y))
    thetas = sign * np.array(_FAR if y else _FAR[::-1])
    if not shapes:
        with np.errstate(all="ignore"):
            values = y * thetas - family.cumulant(thetas)
            settled = np.flatnonzero(np.abs(np.diff(values)) < close)
        return values[settled[0]] if settled.size else np.float64(np.inf)
    steps = [y * t - family.cumulant(pt.constant(np.float64(t)), **shapes) for t in thetas]
    found: Any = np.inf
    for near, far in reversed(list(pairwise(steps))):
        found = pt.switch(pt.abs(far - near) < close, near, found)
    return found
