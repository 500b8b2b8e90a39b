"""What is computed of each row of a family under a link, and how it adds up: `RowSums` runs it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import derivative, substitute
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import lower
from expfam_glm.spec.separate import separate
from expfam_glm.spec.simplify import simplify

type Terms = list[tuple[int, Any]]  # places of G among the results, and their factors


class Quantity(NamedTuple):
    """Σ of θ with f·w·y, less Σ of b(θ) with f·w: factors of Σ1, Ση and of the ΣG of both."""

    of_y: tuple[Any, Any, Terms]
    of_one: tuple[Any, Any, Terms]

    def __call__(self, ones: Any, linear: Any, of_y: Any, of_one: Any) -> Any:
        """The value, of such sums (pairs: with f·w·y, with f·w)."""
        (constant, slope, terms), (less, less_slope, less_terms) = self
        value = constant * ones[0] - less * ones[1] + slope * linear[0] - less_slope * linear[1]
        for k, factor in terms:
            value = value + factor * of_y[k]
        for k, factor in less_terms:
            value = value - factor * of_one[k]
        return value


class Plan(NamedTuple):
    """Factors at given shapes.

    quantities    the sum of the kernels, then its derivatives in the shapes
    level         of the score: the factors of f·w·y and of f·w
    bends         of the score: the factors of f·w·y and of f·w beside the one G
    """

    quantities: list[Quantity]
    level: tuple[Any, Any]
    bends: tuple[Any, Any]


class Recipe:
    """Row kernels and factors of a family under a link.

    single: the score of a row is f·w·y and f·w with factors, plus the same times one G, whose
    place is `bent`; else the row kernel ends with the score.
    logs: places where the row kernel gives e^G, of which only the sum of the logarithms is wanted.
    """

    def __init__(self, family: Family, link: Link) -> None:
        rows, kernel = row_model(family, link), separate(family, link)
        shapes = list(rows.shapes.values())
        sums = [*kernel.theta, *kernel.cumulant]
        used = sorted({place for own in sums for place in own.terms})
        bent = {place for own in kernel.slopes for place in own.terms}
        self.single = len(bent) == 1 and all(own.slope is None for own in kernel.slopes)
        places = [*used, *sorted(bent.difference(used) if self.single else ())]
        at = {place: k for k, place in enumerate(places)}
        self.count = len(places)
        self.bent = at[min(bent)] if self.single else -1
        outputs = [kernel.parts[place] for place in places]
        self.of_y = sorted({at[k] for own in kernel.theta for k in own.terms})
        self.of_one = sorted({at[k] for own in kernel.cumulant for k in own.terms})
        self.logs = set()
        for k in set(self.of_one).difference(self.of_y, [self.bent]):
            if (inner := _of_logarithm(outputs[k])) is not None:
                outputs[k] = inner
                self.logs.add(k)
        inputs = [rows.eta, rows.y, *shapes]
        if not self.single:
            score = substitute(rows.score, {rows.r: pt.constant(1.0)})
            outputs += simplify([score], inputs)
        self.rows: Any = lower(inputs, outputs, rows=(rows.eta, rows.y))
        self.parts: Any = lower(
            [rows.eta, *shapes], [kernel.parts[place] for place in used], rows=(rows.eta,)
        )
        sums += kernel.slopes if self.single else ()
        factors = [pt.constant(0.0, dtype="float64")]
        self.places: list[tuple[int, int, list[tuple[int, int]]]] = []
        for own in sums:
            first, second = own.constant, own.slope
            constant = 0 if first is None else len(factors)
            factors += [] if first is None else [first]
            slope = 0 if second is None else len(factors)
            factors += [] if second is None else [second]
            terms = [(at[k], len(factors) + i) for i, k in enumerate(own.terms)]
            self.places.append((constant, slope, terms))
            factors += own.terms.values()
        self.factors: Any = lower(shapes, factors, numbers=True).bare

    def plan(self, psi: tuple[Any, ...]) -> Plan:
        """The factors at some shapes: numbers, or arrays of many."""
        values = self.factors(*map(np.float64, psi))
        values = [v if getattr(v, "ndim", 0) else float(v) for v in values]
        found = [
            (values[constant], values[slope], [(k, values[i]) for k, i in terms])
            for constant, slope, terms in self.places
        ]
        if self.single:
            *found, theta, cumulant = found
            level = theta[0], cumulant[0]
            bends = _sum(theta[2]), _sum(cumulant[2])
        else:
            level = bends = 0.0, 0.0
        half = len(found) // 2
        return Plan(list(map(Quantity, found[:half], found[half:])), level, bends)


def _of_logarithm(v: Variable) -> Variable | None:
    """1 + z, where v is log(1 + z)."""
    op = None if v.owner is None else v.owner.op
    if isinstance(op, Elemwise) and isinstance(op.scalar_op, ps.Log1p):
        return pt.add(pt.constant(1.0), v.owner.inputs[0])
    return None


def _sum(terms: Terms) -> Any:
    return sum(factor for _, factor in terms)


@lru_cache(maxsize=128)
def recipe_of(family: Family, link: Link) -> Recipe:
    """The recipe, made once."""
    return Recipe(family, link)


@lru_cache(maxsize=128)
def careful_rows(family: Family, link: Link) -> Any:
    """(η, y, *shapes) → yθ − b(θ), its derivatives in η and the shapes, in the stable forms."""
    rows = row_model(family, link)
    outputs = [rows.kernel, rows.score, *(derivative(rows.kernel, v) for v in rows.shapes.values())]
    outputs = [substitute(v, {rows.r: pt.constant(1.0)}) for v in outputs]
    inputs = [rows.eta, rows.y, *rows.shapes.values()]
    return lower(inputs, simplify(outputs, inputs), rows=(rows.eta, rows.y))
