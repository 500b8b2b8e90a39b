"""Elementwise graphs as scalar operations, which backends compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytensor.scalar as ps
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import Elemwise


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

    def scalar(v: Variable) -> Any:
        if v not in known:
            assert isinstance(v, Constant)
            known[v] = ps.constant(v.data.item(), dtype=v.type.dtype)
        return known[v]

    for node in toposort(outputs, blockers=variables):
        assert isinstance(node.op, Elemwise), node.op
        arguments = [scalar(v) for v in node.inputs]
        if (form := written.get(type(node.op.scalar_op))) is not None:
            known[node.outputs[0]] = form(*arguments)
            continue
        made = node.op.scalar_op.make_node(*arguments)
        known.update(zip(node.outputs, made.outputs, strict=True))
    results = [ps.identity(known[v]) if v in variables else scalar(v) for v in outputs]
    return ps.Composite([known[v] for v in variables], results)
