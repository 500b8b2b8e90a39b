"""Log-likelihoods of families that are summed over rows with η = Xβ + … become one `RowSum`.

`FamilyDensity` marks the log-density of a family in a graph. Where such a density is summed, and
its parameters are elementwise functions of Xβ, of other vectors and of scalars, a rewrite replaces
the sum, before gradients are taken. Everywhere else the mark is dropped and leaves the ordinary
graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.replace import _vectorize_node
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.graph.traversal import ancestors, graph_inputs, toposort
from pytensor.scalar.basic import Mul
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum

from expfam_glm.bayes.fused_sum import RowSum
from expfam_glm.bayes.membership import holds, in_support, possible_parameters
from expfam_glm.bayes.scalars import parts_of
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import derivative, scalar, substitute
from expfam_glm.spec.simplify import simplify


class FamilyDensity(Op):
    """log f(y) of rows, marked with what it is made of: y, μ, θ, a and the shapes."""

    __props__ = ("family", "on_unit_lattice")
    view_map: ClassVar = {0: [0]}

    def __init__(self, family: Family, on_unit_lattice: bool) -> None:
        self.family = family
        self.on_unit_lattice = on_unit_lattice

    def __str__(self) -> str:
        return f"log-density of {self.family.name}"

    def make_node(self, density: Variable, *parts: Variable) -> Apply:
        return Apply(self, [density, *parts], [density.type()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        outputs[0][0] = inputs[0]

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [shapes[0]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Only the density itself counts."""
        return [[k == 0] for k in range(len(node.inputs))]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], cotangents: list[Variable]
    ) -> list[Variable]:
        return [cotangents[0], *(DisconnectedType()() for _ in inputs[1:])]


@_vectorize_node.register(FamilyDensity)
def _vectorize_density(op: FamilyDensity, node: Apply, *batched: Variable) -> Apply:
    return op.make_node(*batched)


@node_rewriter([FamilyDensity])
def drop_mark(fgraph: FunctionGraph, node: Apply) -> list[Variable]:
    """The density itself."""
    return [node.inputs[0]]


@node_rewriter([Sum])
def fuse_density(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """A summed log-density, perhaps times data, as one pass over X."""
    (summed,) = node.inputs
    if summed.type.ndim != 1 or summed.owner is None:
        return None
    density, times = summed, []
    if isinstance(summed.owner.op, Elemwise) and isinstance(summed.owner.op.scalar_op, Mul):
        times = [v for v in summed.owner.inputs if not _is_marked(v)]
        if len(times) != len(summed.owner.inputs) - 1 or any(map(_is_free, times)):
            return None
        (density,) = (v for v in summed.owner.inputs if _is_marked(v))
    total = _fused(density.owner, times) if _is_marked(density) else None
    return None if total is None else [total]


@node_rewriter([RowSum])
def drop_unused_slopes(fgraph: FunctionGraph, node: Apply) -> dict[Variable, Variable] | None:
    """Derivatives that nothing needs are not computed."""
    op = node.op
    used = [k for k, out in enumerate(node.outputs[1:]) if fgraph.clients[out]]
    if len(used) == len(op.slopes):
        return None
    short = RowSum(op.value, tuple(op.slopes[k] for k in used), op.n_rows)
    made = short.make_node(*node.inputs).outputs
    return {node.outputs[0]: made[0]} | {
        node.outputs[k + 1]: new for k, new in zip(used, made[1:], strict=True)
    }


optdb["stabilize"].register("expfam_glm_fuse", fuse_density, "fast_run")
optdb["specialize"].register("expfam_glm_drop_mark", drop_mark, "fast_run")
optdb["specialize"].register("expfam_glm_drop_slopes", drop_unused_slopes, "fast_run")


def _is_marked(v: Variable) -> bool:
    return v.owner is not None and isinstance(v.owner.op, FamilyDensity)


def _is_free(v: Variable) -> bool:
    """Whether v depends on anything but data."""
    return any(not isinstance(w, Constant | SharedVariable) for w in graph_inputs([v]))


class _Leaves:
    """The symbols that stand for the vectors and scalars below an elementwise graph."""

    def __init__(self) -> None:
        self.symbols: dict[Variable, Variable] = {}  # vector, or scalar spread over rows → symbol
        self.meaning: dict[Variable, Variable] = {}  # symbol → vector or scalar

    def read(self, v: Variable) -> bool:
        """Find the leaves of v; whether all between is elementwise."""
        if v in self.symbols:
            return True
        if isinstance(v, Constant) and v.data.size == 1:
            value = np.asarray(v.data).item()
            self.symbols[v] = pt.constant(value if isinstance(value, bool) else np.float64(value))
            return True
        node = v.owner
        if v.type.ndim == 0 or v.type.broadcastable == (True,):
            self._name(v, v if v.type.ndim == 0 else _unspread(v))
            return True
        if node is not None and isinstance(node.op, Elemwise):
            return all(self.read(w) for w in node.inputs)
        if node is not None and getattr(node.op, "elementwise", False):
            return False  # such as θ(μ) by iteration, no function of single numbers
        self._name(v, v)
        return v.type.ndim == 1

    def _name(self, v: Variable, meaning: Variable) -> None:
        known = [s for s, own in self.meaning.items() if own is meaning]
        self.symbols[v] = known[0] if known else scalar(f"v{len(self.meaning)}")
        self.meaning[self.symbols[v]] = meaning

    def product(self) -> tuple[Variable, Variable, Variable] | None:
        """The symbol of Xβ, X and β, where X is data."""
        for symbol, v in self.meaning.items():
            column = v.owner.inputs[0].owner if _drops_column(v) else None
            if column is None or not isinstance(column.op, Dot):
                continue
            X, beta = column.inputs
            if _is_free(X) or {X.type.dtype, beta.type.dtype} != {"float64"}:
                continue
            return symbol, X, beta.owner.inputs[0] if _adds_column(beta) else beta[:, 0]
        return None


def _unspread(v: Variable) -> Variable:
    """The scalar in a vector of one."""
    node = v.owner
    if node is not None and isinstance(node.op, DimShuffle) and node.inputs[0].type.ndim == 0:
        return node.inputs[0]
    return v.dimshuffle()


def _drops_column(v: Variable) -> bool:
    return v.owner is not None and _shuffles(v.owner, (0,)) and v.owner.inputs[0].type.ndim == 2


def _adds_column(v: Variable) -> bool:
    return v.owner is not None and _shuffles(v.owner, (0, "x"))


def _shuffles(node: Apply, order: tuple[Any, ...]) -> bool:
    return isinstance(node.op, DimShuffle) and tuple(node.op.new_order) == order


def _fused(node: Apply, times: Sequence[Variable]) -> Variable | None:
    """The sum of a marked density times data, or None where it is no function of one Xβ."""
    family, parts = node.op.family, node.inputs[1:]
    leaves = _Leaves()
    if not all([leaves.read(v) for v in (*parts, *times)]):
        return None
    found = leaves.product()
    if found is None:
        return None
    eta, X, beta = found
    y, mu, theta, a, *shapes = (substitute(v, leaves.symbols) for v in parts)
    named = dict(zip(family.shape, shapes, strict=True))
    free = [s for s, v in leaves.meaning.items() if _is_free(v)]
    value = family.logpdf_at(y, mu, theta, a, **named)
    if not all(isinstance(inner.op, Elemwise) for inner in toposort([value])):
        return None  # such as Tweedie's c, a sum of many terms
    beside = set(ancestors([a, *shapes]))
    slopes = [
        derivative(value, s) if s in beside else (y - mu) * derivative(theta, s) / a  # the score
        for s in free
    ]
    tests = possible_parameters(family, mu, theta, a, named)
    tests += in_support(family, y, a, node.op.on_unit_lattice)
    first = 1 + len(slopes)
    simple = simplify([value, *slopes, *tests], list(leaves.meaning))
    outputs, tests = simple[:first], simple[first:]
    positive = [a, *(v for name, v in named.items() if family.shape[name].low >= 0)]
    outer = []
    for test in tests:
        rows = [s for s in graph_inputs([test]) if s in free and leaves.meaning[s].type.ndim]
        if isinstance(test, Constant) and test.data:
            continue
        if not rows:  # of all rows together, or folded to a constant
            outer.append(pt.all(substitute(test, leaves.meaning)))
        elif not holds(test, positive):
            outputs[0] = pt.switch(test, outputs[0], -np.inf)
    for v in times:
        outputs = [substitute(v, leaves.symbols) * output for output in outputs]
    total = _row_sum(outputs, free, leaves, (eta, X, beta))
    for test in (*outer, ~pt.isnan(total)):
        total = pt.switch(test, total, -np.inf)
    return total


def _row_sum(
    outputs: list[Variable],
    free: list[Variable],
    leaves: _Leaves,
    product: tuple[Variable, Variable, Variable],
) -> Variable:
    """The sum of the first of `outputs`, the others being its derivatives by the free symbols."""
    eta, X, beta = product
    data = {s: v for s, v in leaves.meaning.items() if s not in free}
    computed = parts_of(list(data), outputs, "d")
    meaning = leaves.meaning | {s: substitute(v, data) for v, s in computed.items()}
    outputs = [substitute(v, computed) for v in outputs]
    occurring = set(graph_inputs(outputs)) & set(meaning)
    rows = [s for s in meaning if s in occurring and s is not eta and meaning[s].type.ndim]
    numbers = [s for s in meaning if s in occurring and s is not eta and not meaning[s].type.ndim]
    variables = [eta, *rows, *numbers]
    slopes = tuple(
        (variables.index(s), Expression(variables, slope))
        for s, slope in zip(free, outputs[1:], strict=True)
        if s in variables
    )
    op = RowSum(Expression(variables, outputs[0]), slopes, len(rows))
    inputs = [pt.cast(meaning[s], "float64") for s in variables[1:]]
    return op.make_node(X, beta, *inputs).outputs[0]
