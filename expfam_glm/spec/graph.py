"""Scalar PyTensor graphs: symbols, substitution, derivatives, and a digest of their structure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.builders import SymbolicOp
from pytensor.gradient import DisconnectedType, grad
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import toposort
from pytensor.scalar.math import PolyGamma
from pytensor.tensor.special import LogAddExp


def scalar(name: str) -> Variable:
    """A symbolic float64 scalar."""
    return pt.scalar(name, dtype="float64")


def as_symbol(value: Any) -> Variable:
    """A symbol, or numbers as float64."""
    return pt.as_tensor(value, dtype=None if isinstance(value, Variable) else "float64")


def _as_double(variable: Variable) -> Variable:
    """Constants in float64, because PyTensor types a bare scalar as the smallest float."""
    if isinstance(variable, Constant) and variable.type.dtype not in ("bool", "float64"):
        return pt.constant(np.asarray(variable.data, dtype="float64"))
    return variable


def _takes_an_order(op: Op) -> bool:
    """Whether an operation has an argument that must stay a whole number (ψ⁽ⁿ⁾)."""
    return isinstance(getattr(op, "scalar_op", None), PolyGamma)


def _opened(op: SymbolicOp, inputs: Sequence[Variable]) -> list[Variable]:
    """An operation that is a graph in itself, such as xlogy, as elementwise operations.

    log Σ eˣ is written without the maximum, at whose corners it could not be differentiated twice.
    """
    if isinstance(op, LogAddExp):
        return [reduce(lambda total, x: total + pt.softplus(x - total), inputs)]
    return list(op.build_inner_graph(*inputs))


def substitute(output: Variable, replacements: Mapping[Variable, Variable]) -> Variable:
    """The graph of `output` with variables replaced, rebuilt node by node (shapes broadcast)."""
    known: dict[Variable, Variable] = dict(replacements)
    if output in known:
        return known[output]
    for node in toposort([output], blockers=list(replacements)):
        whole = _takes_an_order(node.op)
        inputs = [known.get(v, v if whole else _as_double(v)) for v in node.inputs]
        if isinstance(node.op, SymbolicOp):
            made = _opened(node.op, inputs)
        else:
            made = node.op.make_node(*inputs).outputs
        known.update(zip(node.outputs, made, strict=True))
    return known.get(output, _as_double(output))


def derivative(output: Variable, wrt: Variable) -> Variable:
    """d output / d wrt; zero where the output does not depend on it."""
    result = grad(output, wrt, disconnected_inputs="ignore", return_disconnected="none")
    if result is None or isinstance(result.type, DisconnectedType):
        return pt.constant(np.float64(0.0))
    return result


def digest_of(inputs: Sequence[Variable], outputs: Sequence[Variable]) -> str:
    """SHA-256 of the structure of a graph: its operations, constants and wiring."""
    names: dict[Variable, str] = {v: f"i{k}" for k, v in enumerate(inputs)}
    lines: list[str] = []

    def name(v: Variable) -> str:
        if v not in names:
            data = np.asarray(v.data, dtype=float)
            names[v] = f"c{data.tobytes().hex()}"
        return names[v]

    for node in toposort(list(outputs), blockers=list(inputs)):
        op = node.op
        inner = getattr(op, "scalar_op", op)
        title = f"{type(inner).__module__}.{type(inner).__qualname__}:{inner}"
        lines.append(f"{title}({','.join(name(v) for v in node.inputs)})")
        for k, out in enumerate(node.outputs):
            names[out] = f"n{len(lines)}.{k}"
    lines.append(";".join(name(v) for v in outputs))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
