"""Elementwise graphs as scalar operations, which backends compile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.scalar as ps
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import Elemwise


def scalar_graph(variables: Sequence[Variable], outputs: Sequence[Variable]) -> ps.Composite:
    """A graph of 0-d elementwise operations as one scalar operation."""
    known: dict[Variable, Any] = {v: ps.float64(v.name) for v in variables}

    def scalar(v: Variable) -> Any:
        if v not in known:
            assert isinstance(v, Constant)
            known[v] = ps.constant(v.data.item(), dtype=v.type.dtype)
        return known[v]

    for node in toposort(outputs, blockers=variables):
        assert isinstance(node.op, Elemwise), node.op
        made = node.op.scalar_op.make_node(*(scalar(v) for v in node.inputs))
        known.update(zip(node.outputs, made.outputs, strict=True))
    return ps.Composite([known[v] for v in variables], [scalar(v) for v in outputs])
