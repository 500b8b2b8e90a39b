"""Elementwise graphs as scalar operations, which backends compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytensor.scalar as ps
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.spec.graph import digest_of, scalar


def _sigmoid(x: Any) -> Any:
    t = ps.exp(-ps.abs(x))
    return ps.switch(ps.ge(x, 0.0), 1.0, t) / (1.0 + t)


def _softplus(x: Any) -> Any:
    return ps.scalar_maximum(x, 0.0) + ps.log1p(ps.exp(-ps.abs(x)))


# Operations written by others that a value and its derivative have in common.
SHARED: dict[type, Callable[[Any], Any]] = {psm.Sigmoid: _sigmoid, psm.Softplus: _softplus}


def scalar_graph(
    variables: Sequence[Variable],
    outputs: Sequence[Variable],
    written: Mapping[type, Callable[..., Any]] = MappingProxyType({}),
) -> ps.Composite:
    """A graph of 0-d elementwise operations as one scalar operation, some of them written out."""
    known: dict[Variable, Any] = {v: ps.float64(v.name) for v in variables}

    def known_or_constant(v: Variable) -> Any:
        if v not in known:
            assert isinstance(v, Constant)
            known[v] = ps.constant(v.data.item(), dtype=v.type.dtype)
        return known[v]

    for node in toposort(outputs, blockers=variables):
        assert isinstance(node.op, Elemwise), node.op
        arguments = [known_or_constant(v) for v in node.inputs]
        if (form := written.get(type(node.op.scalar_op))) is not None:
            known[node.outputs[0]] = form(*arguments)
            continue
        made = node.op.scalar_op.make_node(*arguments)
        known.update(zip(node.outputs, made.outputs, strict=True))
    results = [ps.identity(known[v]) if v in variables else known_or_constant(v) for v in outputs]
    return ps.Composite([known[v] for v in variables], results)


def parts_of(
    symbols: Sequence[Variable], outputs: Sequence[Variable], prefix: str
) -> dict[Variable, Variable]:
    """The largest parts of graphs that depend on `symbols` alone, and names for them."""
    named: dict[str, Variable] = {}
    found: dict[Variable, Variable] = {}

    def visit(v: Variable) -> None:
        if v.owner is None or v in found:
            return
        leaves = [w for w in graph_inputs([v]) if not isinstance(w, Constant)]
        if leaves and all(w in symbols for w in leaves):
            key = digest_of(symbols, [v])
            found[v] = named.setdefault(key, scalar(f"{prefix}{len(named)}"))
            return
        for w in v.owner.inputs:
            visit(w)

    for output in outputs:
        visit(output)
    return found
