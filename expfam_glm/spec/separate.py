"""The kernel yθ(η) − b(θ(η)) of a row taken apart, so that sums over rows cost the least.

Only the kernel of a log-density depends on η. What in θ and b(θ) is constant or linear in η needs
no pass over the rows, because Σ yη = (Xᵀy)ᵀβ; the rest is a sum of products k(ψ)·G(η, ψ), ψ the
shape parameters, and row by row only the G are computed.

The forms are those for sums: every row is right to a rounding error of its terms, but a small
difference of large ones loses digits, and far tails overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import derivative, substitute
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.link import Link
from expfam_glm.spec.simplify import is_a, simplify
from expfam_glm.spec.terms import Sum, Table, number


class Kernel(NamedTuple):
    """θ, b(θ) and their derivatives in the shapes and in η, of one row.

    theta, cumulant      the function itself, then ∂/∂ψ of each shape
    slopes               dθ/dη and db(θ)/dη
    parts                the functions G(η, ψ) of all these sums
    curved               d²b(θ)/dη² where θ is linear in η and this is one number, else None
    """

    theta: list[Sum]
    cumulant: list[Sum]
    slopes: tuple[Sum, Sum]
    parts: list[Variable]
    curved: float | None


@lru_cache(maxsize=128)
def separate(family: Family, link: Link) -> Kernel:
    """The kernel of a family under a link in parts; the symbols are those of its `row_model`."""
    rows = row_model(family, link)
    eta, shapes = rows.eta, list(rows.shapes.values())
    symbols = [eta, *shapes]
    whole = _loosened([rows.theta, family.cumulant(rows.theta, **rows.shapes)], symbols)
    slopes = _loosened([derivative(v, at) for at in (*shapes, eta) for v in whole], symbols)
    table = Table(eta, symbols)
    sums = [table.sum_of(v) for v in (*whole, *slopes)]
    curved = None
    if not shapes and not sums[0].terms and not sums[-1].terms and sums[-1].slope is not None:
        (bend,) = simplify([sums[-1].slope], symbols)
        curved = float(bend.data)
    return Kernel(
        sums[:-2:2], sums[1:-2:2], (sums[-2], sums[-1]), list(table.parts.values()), curved
    )


def _loosened(outputs: Sequence[Variable], symbols: Sequence[Variable]) -> list[Variable]:
    """Canonical forms that share exponentials."""
    graph = FunctionGraph(list(symbols), simplify(outputs, symbols), clone=True)
    dfs_rewriter(_in_sums).rewrite(graph)
    back = dict(zip(graph.inputs, symbols, strict=True))
    return [substitute(v, back) for v in graph.outputs]


@node_rewriter([Elemwise])
def _in_sums(fgraph: FunctionGraph, node: Any) -> list[Variable] | None:
    """Softplus and sigmoid by one exponential; logarithms and powers of exponentials."""
    op, x = node.op.scalar_op, node.inputs[0]
    if isinstance(op, psm.Softplus):
        return [pt.log1p(pt.exp(x))]
    if isinstance(op, psm.Sigmoid):
        return [1.0 - 1.0 / (1.0 + pt.exp(x))]
    if isinstance(op, psm.Log1mexp) and (u := _log1p_of(x)) is not None:
        return [-pt.log1p(1.0 / u)]  # log(1 − 1/(1 + u))
    if isinstance(op, ps.Log) and (is_a(x, ps.Mul) or is_a(x, ps.Exp)):
        factors = x.owner.inputs if is_a(x, ps.Mul) else [x]
        exponents = [v.owner.inputs[0] for v in factors if is_a(v, ps.Exp)]
        others = [v for v in factors if not is_a(v, ps.Exp)]
        if exponents:
            return [pt.add(*exponents, *([pt.log(pt.mul(*others))] if others else []))]
    if (v := _reciprocal_of(node.outputs[0])) is not None and (u := _reciprocal_of(v)) is not None:
        return [u]
    if isinstance(op, ps.Log1p) and (v := _reciprocal_of(x)) is not None and _is_growing(v):
        return [pt.log1p(v) - pt.log(v)]
    if isinstance(op, ps.Pow) and is_a(x, ps.Exp):
        return [pt.exp(node.inputs[1] * x.owner.inputs[0])]
    return None


def _log1p_of(x: Variable) -> Variable | None:
    """u where x = −log1p(u)."""
    if is_a(x, ps.Neg):
        (inner,) = x.owner.inputs
    elif is_a(x, ps.Mul) and len(x.owner.inputs) == 2 and number(x.owner.inputs[0]) == -1.0:
        inner = x.owner.inputs[1]
    else:
        return None
    return inner.owner.inputs[0] if is_a(inner, ps.Log1p) else None


def _reciprocal_of(x: Variable) -> Variable | None:
    """v where x = 1/v, v/c where x = c/v with a number c."""
    if is_a(x, ps.Reciprocal):
        return x.owner.inputs[0]
    if is_a(x, ps.TrueDiv) and (above := number(x.owner.inputs[0])):
        below = x.owner.inputs[1]
        return below if above == 1.0 else pt.mul(pt.constant(np.float64(1.0 / above)), below)
    return None


def _is_growing(v: Variable) -> bool:
    """Whether v is a product with an exponential."""
    parts = v.owner.inputs if is_a(v, ps.Mul) else [v]
    return any(is_a(part, ps.Exp) for part in parts)
