"""A graph as a sum: a part without some variable x, one linear in x, and products k·G(x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors

from expfam_glm.spec.graph import digest_of
from expfam_glm.spec.simplify import is_a

_ONE, _MINUS = pt.constant(np.float64(1.0)), pt.constant(np.float64(-1.0))


class Sum(NamedTuple):
    """constant + slope·x + Σ k·G; None for 0, graphs without x for the other factors."""

    constant: Variable | None
    slope: Variable | None
    terms: dict[int, Variable]  # k by the place of G among the parts


class Table:
    """Functions G of a variable x by their digests, in the order in which they turn up."""

    def __init__(self, x: Variable, symbols: Sequence[Variable]) -> None:
        self.x, self.symbols = x, list(symbols)
        self.parts: dict[str, Variable] = {}

    def moves(self, v: Variable) -> bool:
        """Whether a graph depends on x."""
        return self.x in set(ancestors([v]))

    def sum_of(self, v: Variable) -> Sum:
        """A graph as constant, slope and products."""
        constant: Variable | None = None
        slope: Variable | None = None
        terms: dict[int, Variable] = {}
        for k, part in self._terms(v, _ONE):
            if part is None:
                constant = _plus(constant, k)
            elif part is self.x:
                slope = _plus(slope, k)
            else:
                digest = digest_of(self.symbols, [part])
                self.parts.setdefault(digest, part)
                place = list(self.parts).index(digest)
                terms[place] = _plus(terms.get(place), k)
        return Sum(constant, slope, terms)

    def _terms(self, v: Variable, k: Variable) -> list[tuple[Variable, Variable | None]]:
        """k·v as a list of (factor without x, function of x or None for 1)."""
        if not self.moves(v):
            return [] if number(v) == 0.0 else [(_times(k, v), None)]
        if is_a(v, ps.Add):
            return [term for part in v.owner.inputs for term in self._terms(part, k)]
        if is_a(v, ps.Sub):
            first, second = v.owner.inputs
            return [*self._terms(first, k), *self._terms(second, _times(k, _MINUS))]
        if is_a(v, ps.Neg):
            return self._terms(v.owner.inputs[0], _times(k, _MINUS))
        if is_a(v, ps.Mul):
            moving, still = self._apart(v)
            for part in still:
                k = _times(k, part)
            return self._terms(moving[0], k) if len(moving) == 1 else [(k, pt.mul(*moving))]
        if is_a(v, ps.TrueDiv):
            above, below = v.owner.inputs
            moving, still = self._apart(below)
            for part in still:
                k = k / part
            if not moving:
                return self._terms(above, k)
            inner = self._terms(above, k)
            if len(inner) == 1:
                ((k, part),) = inner
                return [(k, (_ONE if part is None else part) / _product(moving))]
            return [(k, above / _product(moving))]
        return [(k, v)]

    def _apart(self, v: Variable) -> tuple[list[Variable], list[Variable]]:
        """The factors that depend on x, and the others."""
        factors = v.owner.inputs if is_a(v, ps.Mul) else [v]
        return [f for f in factors if self.moves(f)], [f for f in factors if not self.moves(f)]


def _product(factors: list[Variable]) -> Variable:
    return factors[0] if len(factors) == 1 else pt.mul(*factors)


def _plus(first: Variable | None, second: Variable) -> Variable:
    return second if first is None else first + second


def _times(k: Variable, factor: Variable) -> Variable:
    """k·factor, of numbers as a number."""
    one, other = number(k), number(factor)
    if one is not None and other is not None:
        return pt.constant(np.float64(one * other))
    return factor if one == 1.0 else k if other == 1.0 else k * factor


def number(v: Variable) -> float | None:
    """The value of a constant, None of anything else."""
    return float(v.data) if isinstance(v, Constant) else None
