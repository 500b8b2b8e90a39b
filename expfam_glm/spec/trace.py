"""From a function written with symbols to its graph, with what is wrong said at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.builders import SymbolicOp
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.errors import DeclarationError
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.graph import digest_of, scalar, substitute


def traced(
    function: Callable[..., Any], arguments: Sequence[str], shapes: Sequence[str], where: str
) -> Expression:
    """Call a function on symbols and keep the graph that it returns."""
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
    output = _call(function, variables[: len(arguments)], keywords, where)
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
    found = Expression(variables, output)
    again = _call(function, variables[: len(arguments)], keywords, where)
    if (
        isinstance(again, Variable)
        and digest_of(variables, [substitute(again, {})]) != found.digest
    ):
        raise DeclarationError(
            f"{where} gives another expression when it is called again: it must depend on "
            f"{', '.join(found.names)} alone, and neither on random numbers nor on a state."
        )
    return found


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


def _check_elementwise(output: Variable, where: str, *others: type) -> None:
    """Refuse what a function of scalars has no use for; `others` are looked into later."""
    for node in toposort([output]):
        op = node.op
        if not (isinstance(op, (Elemwise, *others)) or getattr(op, "elementwise", False)):
            raise DeclarationError(
                f"{where} uses {op}, which is not elementwise; families and links are scalar "
                "functions, so write it without sums, shapes or indexing."
            )
