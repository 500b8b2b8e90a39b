"""Algebra on graphs: PyTensor's canonical and stable forms, and a few identities of links.

The identities keep both tails of a mean in (0, 1) exact: 1 − μ is never formed by subtraction
where the inverse link has a complement of the same form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.configdefaults import config
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter, dfs_rewriter, node_rewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.spec.graph import digest_of, substitute


def is_a(v: Variable, kind: type) -> bool:
    owner = v.owner
    return (
        owner is not None
        and isinstance(owner.op, Elemwise)
        and isinstance(owner.op.scalar_op, kind)
    )


def _factor(v: Variable) -> tuple[float, Variable | None]:
    """v as (number, rest) with v = number · rest, through products, quotients and signs."""
    if isinstance(v, Constant):
        return float(v.data), None
    if is_a(v, ps.Neg):
        number, rest = _factor(v.owner.inputs[0])
        return -number, rest
    if is_a(v, ps.TrueDiv) and isinstance(v.owner.inputs[1], Constant):
        number, rest = _factor(v.owner.inputs[0])
        return number / float(v.owner.inputs[1].data), rest
    if is_a(v, ps.Mul):
        number, others = 1.0, []
        for part in v.owner.inputs:
            k, rest = _factor(part)
            number *= k
            if rest is not None:
                others.append(rest)
        if len(others) == 1:
            return number, others[0]
        if others and number != 1.0:
            return number, pt.mul(*others)
    return 1.0, v


def _settled(v: Variable) -> bool:
    """Whether v is the near branch that `_log_half_erfc` itself writes."""
    rest = _factor(v)[1]
    return (
        rest is not None and is_a(rest, psm.Erfc) and is_a(rest.owner.inputs[0], ps.ScalarMinimum)
    )


def _log_half_erfc(z: Variable) -> Variable:
    """log(½ erfc(z)), stable in both tails."""
    far = pt.log(0.5 * pt.erfcx(pt.maximum(z, 0.0))) - z**2
    near = pt.log(0.5 * pt.erfc(pt.minimum(z, 0.0)))
    return pt.switch(z > 0, far, near)


@node_rewriter([Elemwise])
def _complements(fgraph: FunctionGraph, node: Any) -> list[Variable] | None:
    """log μ, log(1 − μ) and 1 − μ for μ = σ(x), ½ erfc(z), atan2(1, z)/π."""
    op = node.op.scalar_op
    if isinstance(op, ps.Log) and is_a(node.inputs[0], ps.Expm1):
        x = node.inputs[0].owner.inputs[0]
        return [x + pt.log1mexp(-x)]  # log(eˣ − 1) without overflow
    if isinstance(op, ps.Log) and not _settled(node.inputs[0]):
        number, rest = _factor(node.inputs[0])
        if rest is not None and number == 0.5 and is_a(rest, psm.Erfc):
            return [_log_half_erfc(rest.owner.inputs[0])]
    if isinstance(op, ps.Log1p) and not _settled(node.inputs[0]):
        number, rest = _factor(node.inputs[0])
        if rest is not None and number == -0.5 and is_a(rest, psm.Erfc):
            return [_log_half_erfc(-rest.owner.inputs[0])]
        if (
            rest is not None
            and math.isclose(number, -1 / math.pi, rel_tol=1e-15)
            and is_a(rest, ps.ArcTan2)
            and isinstance(rest.owner.inputs[0], Constant)
            and float(rest.owner.inputs[0].data) == 1.0
        ):
            return [pt.log(pt.arctan2(1.0, -rest.owner.inputs[1]) / math.pi)]
    if isinstance(op, ps.Sub):
        first, second = node.inputs
        if isinstance(first, Constant) and float(first.data) == 1.0 and is_a(second, psm.Sigmoid):
            return [pt.sigmoid(-second.owner.inputs[0])]
    return None


@node_rewriter([Elemwise])
def _angles(fgraph: FunctionGraph, node: Any) -> list[Variable] | None:
    """cos, sin and tan of an arctangent."""
    op, angle = node.op.scalar_op, node.inputs[0]
    if isinstance(op, ps.Cos | ps.Sin | ps.Tan) and is_a(angle, ps.ArcTan):
        x = angle.owner.inputs[0]
        cosine = 1.0 / pt.sqrt(1.0 + x**2)
        return [{ps.Cos: cosine, ps.Sin: x * cosine, ps.Tan: x}[type(op)]]
    return None


@node_rewriter(None)
def _undo(fgraph: FunctionGraph, node: Any) -> list[Variable] | None:
    """f⁻¹(f(x)) = x."""
    if not getattr(node.op, "inverts", False):
        return None
    function, (value, *_) = node.op.function, node.inputs
    whole = function.output.owner
    if whole is None or value.owner is None or value.owner.op != whole.op:
        return None
    if function.variables[0] not in whole.inputs:
        return None
    x = value.owner.inputs[whole.inputs.index(function.variables[0])]
    inputs = list(fgraph.inputs)
    same = digest_of(inputs, [function(x, *node.inputs[1:])]) == digest_of(inputs, [value])
    return [x] if same else None


@node_rewriter([Elemwise])
def _powers(fgraph: FunctionGraph, node: Any) -> list[Variable] | None:
    """(1/√x)² = 1/x and its relatives, on the positive arguments of the power links."""
    if not isinstance(node.op.scalar_op, ps.Pow | ps.Sqr):
        return None
    exponent = 2.0
    if isinstance(node.op.scalar_op, ps.Pow):
        if not isinstance(node.inputs[1], Constant):
            return None
        exponent = float(node.inputs[1].data)
    inner, sign = node.inputs[0], 1.0
    while True:
        if is_a(inner, ps.Reciprocal):
            inner, sign = inner.owner.inputs[0], -sign
        elif (
            is_a(inner, ps.TrueDiv)
            and isinstance(inner.owner.inputs[0], Constant)
            and float(inner.owner.inputs[0].data) == 1.0
        ):
            inner, sign = inner.owner.inputs[1], -sign
        else:
            break
    if is_a(inner, ps.Sqrt):
        total = sign * exponent / 2
    elif is_a(inner, ps.Pow) and isinstance(inner.owner.inputs[1], Constant):
        total = sign * exponent * float(inner.owner.inputs[1].data)
    else:
        return None
    base = inner.owner.inputs[0]
    for whole, form in ((1.0, base), (-1.0, 1.0 / base), (2.0, base**2), (-2.0, 1.0 / base**2)):
        if math.isclose(total, whole, rel_tol=1e-14):
            return [form]
    return [base**total]


def _fraction(v: Variable) -> tuple[list[Variable], list[Variable]]:
    """The factors above and below the bar of nested products, quotients and squares."""
    if is_a(v, ps.Mul):
        parts = [_fraction(part) for part in v.owner.inputs]
        return [f for above, _ in parts for f in above], [f for _, below in parts for f in below]
    if is_a(v, ps.TrueDiv):
        (above, under), (below, over) = (_fraction(part) for part in v.owner.inputs)
        return above + over, under + below
    if is_a(v, ps.Reciprocal):
        above, below = _fraction(v.owner.inputs[0])
        return below, above
    if is_a(v, ps.Sqr):
        above, below = _fraction(v.owner.inputs[0])
        return 2 * above, 2 * below
    return [v], []


@node_rewriter([Elemwise])
def _bounded_ratios(fgraph: FunctionGraph, node: Any) -> list[Variable] | None:
    """eᵘ/(eᵘ − 1) = −1/(e⁻ᵘ − 1): the left side is NaN where eᵘ overflows."""
    if not isinstance(node.op.scalar_op, ps.Mul | ps.TrueDiv):
        return None
    above, below = _fraction(node.outputs[0])
    inputs, changed = list(fgraph.inputs), False
    exponents = [digest_of(inputs, f.owner.inputs) if is_a(f, ps.Exp) else "" for f in above]
    for k, factor in enumerate(below):
        if not is_a(factor, ps.Expm1):
            continue
        u = factor.owner.inputs[0]
        digest = digest_of(inputs, [u])
        if digest in exponents:
            above[exponents.index(digest)] = pt.constant(np.float64(-1.0))
            exponents[exponents.index(digest)] = ""
            below[k], changed = pt.expm1(-u), True
    if not changed:
        return None
    total: Variable = pt.constant(np.float64(1.0))
    # divided one by one: products under the bar overflow first
    for k, factor in enumerate(above):
        total = total * factor / below[k] if k < len(below) else total * factor
    for factor in below[len(above) :]:
        total = total / factor
    return [total]


def _term(v: Variable) -> tuple[float, Variable | None]:
    """v as (number, rest), also where the number stands in the numerator of a quotient."""
    if is_a(v, ps.TrueDiv):
        numerator, denominator = v.owner.inputs
        number, rest = _factor(numerator)
        if isinstance(denominator, Constant):
            return number / float(denominator.data), rest
        return number, (1.0 if rest is None else rest) / denominator
    return _factor(v)


def _summands(v: Variable, sign: float = 1.0) -> list[tuple[float, Variable | None]]:
    """The terms of nested sums and differences."""
    if is_a(v, ps.Add):
        return [term for part in v.owner.inputs for term in _summands(part, sign)]
    if is_a(v, ps.Sub):
        first, second = v.owner.inputs
        return _summands(first, sign) + _summands(second, -sign)
    number, rest = _term(v)
    return [(sign * number, rest)]


@node_rewriter([Elemwise])
def _like_terms(fgraph: FunctionGraph, node: Any) -> list[Variable] | None:
    """k₁x + k₂x = (k₁ + k₂)x across a whole sum, so that what cancels leaves no rounding error."""
    if not isinstance(node.op.scalar_op, ps.Add | ps.Sub):
        return None
    inputs = list(fgraph.inputs)
    merged: dict[str, tuple[float, Variable | None]] = {}
    terms = _summands(node.outputs[0])
    for number, rest in terms:
        key = "" if rest is None else digest_of(inputs, [rest])
        merged[key] = (merged.get(key, (0.0, rest))[0] + number, rest)
    left = [(k, rest) for k, rest in merged.values() if k != 0.0]
    if len(left) == len(terms):
        return None
    total: Variable = pt.constant(np.float64(0.0))
    for k, (number, rest) in enumerate(left):
        part = (
            pt.constant(np.float64(number))
            if rest is None
            else (rest if number == 1.0 else pt.constant(np.float64(number)) * rest)
        )
        total = part if k == 0 else total + part
    return [total]


_STABLE: GraphRewriter | None = None


def _stable_forms() -> GraphRewriter:
    global _STABLE
    if _STABLE is None:
        from pytensor.compile.mode import optdb

        _STABLE = optdb.query(RewriteDatabaseQuery(include=["canonicalize", "stabilize"]))
    return _STABLE


@config.change_flags(traceback__limit=0)  # a third of the time goes into origins nobody reads
def simplify(outputs: Sequence[Variable], inputs: Sequence[Variable]) -> list[Variable]:
    """The same functions in canonical and numerically stable form."""
    graph = FunctionGraph(list(inputs), list(outputs), clone=True)
    for identities in (_undo, _angles, _powers, _complements):
        dfs_rewriter(identities).rewrite(graph)
    _stable_forms().rewrite(graph)
    for identities in (_complements, _bounded_ratios, _like_terms):
        dfs_rewriter(identities).rewrite(graph)
    back = dict(zip(graph.inputs, inputs, strict=True))
    return [substitute(v, back) for v in graph.outputs]
