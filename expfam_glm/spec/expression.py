"""Scalar functions as PyTensor graphs: traced once, compared and pickled by their graph."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from numbers import Real
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.builders import SymbolicOp
from pytensor.gradient import DisconnectedType, grad
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.scalar.math import PolyGamma
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.special import LogAddExp

from expfam_glm.errors import ArgumentError, DeclarationError


def scalar(name: str) -> Variable:
    """A symbolic float64 scalar."""
    return pt.scalar(name, dtype="float64")


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


def _check_elementwise(output: Variable, where: str, *others: type) -> None:
    """Refuse what a function of scalars has no use for; `others` are looked into later."""
    for node in toposort([output]):
        op = node.op
        if not (isinstance(op, (Elemwise, *others)) or getattr(op, "elementwise", False)):
            raise DeclarationError(
                f"{where} uses {op}, which is not elementwise; families and links are scalar "
                "functions, so write it without sums, shapes or indexing."
            )


class Expression:
    """A scalar function of named arguments, kept as a graph.

    Called with symbolic arguments it gives a graph, with numbers or arrays it gives numbers.
    Two expressions are equal when their graphs are.
    """

    __slots__ = ("_compiled", "digest", "names", "output", "variables")

    def __init__(self, variables: Sequence[Variable], output: Variable) -> None:
        self.variables = tuple(variables)
        self.names = tuple(str(v.name) for v in self.variables)
        self.output = output
        self.digest = digest_of(self.variables, [output])
        self._compiled: Callable[..., Any] | None = None

    @classmethod
    def trace(
        cls,
        function: Callable[..., Any] | Expression,
        arguments: Sequence[str],
        shapes: Sequence[str],
        where: str,
    ) -> Expression:
        """Call `function` once on symbols and keep the graph that it returns."""
        if isinstance(function, Expression):
            return function
        if not callable(function):
            raise DeclarationError(f"{where} must be a function of {', '.join(arguments)}.")
        variables = [scalar(name) for name in (*arguments, *shapes)]
        keywords = dict(zip(shapes, variables[len(arguments) :], strict=True))
        signature = None
        try:
            signature = inspect.signature(function)
            accepted = signature.parameters
        except (TypeError, ValueError):
            accepted = {}  # type: ignore[assignment]
        takes_all = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        if isinstance(function, Op):
            keywords = {}  # such as pt.exp, whose keywords are not arguments
        elif accepted and not takes_all:
            keywords = {k: v for k, v in keywords.items() if k in accepted}
        if signature is not None and not isinstance(function, Op):
            try:
                signature.bind(*arguments, **keywords)
            except TypeError as error:
                named = ", ".join(arguments)
                raise DeclarationError(
                    f"{where} is called with ({named}), but takes {signature}; write "
                    f"lambda {named}: …, even if not all of them are used."
                ) from error
        output = cls._call(function, variables[: len(arguments)], keywords, where)
        if isinstance(output, Real) and not isinstance(output, bool):
            output = pt.constant(np.float64(output))
        if not isinstance(output, Variable):
            raise DeclarationError(f"{where} must return an expression; it returned {output!r}.")
        if getattr(output.type, "ndim", None) != 0:
            raise DeclarationError(f"{where} must return a scalar; it returned {output.type}.")
        if output.type.dtype == "bool" or output.type.dtype.startswith("complex"):
            raise DeclarationError(f"{where} must return a real number; it returned {output.type}.")
        _check_elementwise(output, where, SymbolicOp)
        output = substitute(output, {})
        _check_elementwise(output, where)
        known = set(variables)
        leaves = [v for v in graph_inputs([output]) if not isinstance(v, Constant)]
        strangers = [v for v in leaves if v not in known]
        if strangers:
            raise DeclarationError(
                f"{where} uses the symbol(s) {', '.join(map(str, strangers))} that are not its "
                "arguments; name further parameters in shape={...}."
            )
        traced = cls(variables, output)
        again = cls._call(function, variables[: len(arguments)], keywords, where)
        if (
            isinstance(again, Variable)
            and digest_of(variables, [substitute(again, {})]) != traced.digest
        ):
            raise DeclarationError(
                f"{where} gives another expression when it is called again: it must depend on "
                f"{', '.join(traced.names)} alone, and neither on random numbers nor on a state."
            )
        return traced

    @staticmethod
    def _call(
        function: Callable[..., Any],
        symbols: Sequence[Variable],
        keywords: Mapping[str, Variable],
        where: str,
    ) -> Any:
        """What a function returns on symbols."""
        try:
            return function(*symbols, **keywords)
        except DeclarationError:
            raise
        except Exception as error:
            raise DeclarationError(
                f"{where} cannot be traced: calling it on symbols raised "
                f"{type(error).__name__}: {str(error).rstrip('.')}. Write it with the functions of "
                "pytensor.tensor (pt.exp, pt.log, pt.switch, …), without if statements or NumPy."
            ) from error

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords or len(args) != len(self.names):
            args = tuple(self._ordered(args, keywords))
        if any(isinstance(v, Variable) for v in args):
            symbols = [
                pt.as_tensor(v, dtype=None if isinstance(v, Variable) else "float64") for v in args
            ]
            return substitute(self.output, dict(zip(self.variables, symbols, strict=True)))
        if self._compiled is None:
            from expfam_glm.spec.lower import lower

            self._compiled = lower(self.variables, [self.output])
        arrays = [np.asarray(v, dtype=float) for v in args]
        (result,) = self._compiled(*arrays)
        shape = arrays[0].shape if len(arrays) == 1 else np.broadcast(*arrays).shape
        return np.array(np.broadcast_to(result, shape)) if shape else float(result)

    def _ordered(self, args: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The values of all arguments, in their order."""
        values = dict(zip(self.names, args, strict=False)) | dict(keywords)
        unknown = [name for name in keywords if name not in self.names]
        if unknown:
            raise ArgumentError(
                f"{', '.join(unknown)} is no argument here; there are {', '.join(self.names)}."
            )
        missing = [name for name in self.names if name not in values]
        if missing:
            raise DeclarationError(f"a value is needed for {', '.join(missing)}.")
        return [values[name] for name in self.names]

    def derivative(self, name: str) -> Expression:
        """The partial derivative by one argument."""
        return Expression(
            self.variables, derivative(self.output, self.variables[self.names.index(name)])
        )

    def fix(self, **values: float) -> Expression:
        """The same function with some arguments replaced by constants."""
        constants = {
            v: pt.constant(np.float64(values[str(v.name)]))
            for v in self.variables
            if v.name in values
        }
        kept = [v for v in self.variables if v not in constants]
        return Expression(kept, substitute(self.output, constants))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.variables, self.output)

    def __repr__(self) -> str:
        return f"<function of ({', '.join(self.names)}), graph {self.digest[:8]}>"
