"""Python expressions inside a formula: what they name, what they call, and whether that is safe.

Importing this module imports formulaic, hence pandas: do it inside functions only.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from formulaic.transforms import TRANSFORMS
from formulaic.utils.code import sanitize_variable_names

from expfam_glm.data.frames import close_to
from expfam_glm.errors import FormulaError

FUNCTIONS: dict[str, Any] = {  # what a formula may call beyond formulaic's own transforms
    "sqrt": np.sqrt,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "abs": np.abs,
}
KNOWN = frozenset(TRANSFORMS) | frozenset(FUNCTIONS)
VALUES = {"np", "contr", "Sum", "Helmert", "Diff", "Poly"}  # known names that are not called
TYPES = {"bool", "float", "int", "str"}

SAFE_ATTRIBUTES = {
    "np": {name for name in dir(np) if isinstance(getattr(np, name), np.ufunc | float)}
    | {"clip", "where", "round"},
    "contr": {"helmert", "poly", "sum", "treatment", "SAS", "diff", "custom"},
}
REFERENCE = "C(x, Treatment('level')) makes a factor of x with that reference level."
_OF_FACTORS = ("factor", "ordered", "relevel")  # what R's users write
MOST_BITS = 2.0**13  # of a constant; doubles end at 2**10

SAFE_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Attribute, ast.Constant, ast.Load),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.List, ast.Tuple, ast.Dict),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)


@dataclass(frozen=True)
class Expression:
    """One evaluable piece of a formula: the name of a column, or Python code."""

    code: str
    python: bool
    written: str
    variables: tuple[str, ...]
    functions: tuple[str, ...]


def expression_of(code: str, python: bool, written: str) -> Expression:
    """An expression with the variables and functions that it names."""
    if not python:
        return Expression(code, False, written, (code,), ())
    variables: dict[str, None] = {}
    functions: dict[str, None] = {}
    tree, names = _tree(code)
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    called = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                functions[name] = None
                called.add(node.func)
                if name == "Q" and len(node.args) == 1 and isinstance(node.args[0], ast.Constant):
                    variables[str(node.args[0].value)] = None
            case ast.Name(id=name, ctx=ast.Store()):
                bound.add(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in bound and node not in called:
            variables[names.get(node.id, node.id)] = None
    return Expression(code, True, written, tuple(variables), tuple(functions))


def _tree(code: str) -> tuple[ast.Expression, dict[str, str]]:
    """The syntax tree of an expression, and the backquoted names behind its stand-in names."""
    names: dict[str, str] = {}
    plain = sanitize_variable_names(code, {}, names, template="backquoted_{}")
    return ast.parse(plain, mode="eval"), names


def required(
    expressions: Iterable[Expression], names: tuple[str, ...], *, allow_code: bool = True
) -> list[str]:
    """The columns that expressions need, in order; unknown variables and functions are refused."""
    needed: dict[str, None] = {}
    parts = tuple(expressions)
    values = VALUES | TYPES if allow_code else VALUES
    known = KNOWN | set(dir(builtins)) if allow_code else KNOWN
    for part in parts:
        where = f"{part.written}: " if part.python else ""
        for name in part.variables:
            if name in names:
                needed[name] = None
            elif not part.python or name not in values:
                raise FormulaError(
                    f"{where}variable {name!r} is not in the data; {close_to(name, names)}"
                )
        for name in part.functions:
            if name in ("offset", "cbind"):
                raise FormulaError(
                    f"{part.written}: offset() must stand alone among the terms on the right side, "
                    "cbind() on the left side."
                )
            if name not in known:
                raise FormulaError(
                    f"{where}function {name!r} is not known; {close_to(name, sorted(KNOWN))}"
                    + (f" {REFERENCE}" if name in _OF_FACTORS else "")
                )
    for part in parts:
        for name in part.functions:
            if name in needed:
                raise FormulaError(
                    f"{part.written}: the column {name!r} hides the function {name}(); rename it."
                )
    return list(needed)


def arguments_of(code: str, function: str) -> list[Expression] | None:
    """The arguments of an expression that is a call of the function, None if it is not."""
    tree, names = _tree(code)
    call = tree.body
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return None
    if call.func.id != function or call.keywords:
        return None
    for node in ast.walk(call):
        if isinstance(node, ast.Name) and node.id in names:
            node.id = f"`{names[node.id]}`"
    arguments = [(ast.unparse(a), isinstance(a, ast.Name)) for a in call.args]
    return [expression_of(c.strip("`") if name else c, not name, c) for c, name in arguments]


def refuse_code(code: str, written: str) -> None:
    """Refuse an expression that could run more than the known transforms."""
    if written.startswith("{"):
        raise FormulaError(
            f"{written} runs Python code, which is not allowed here: it takes allow_code=True, and "
            "data in memory."
        )
    for node in ast.walk(_tree(code)[0]):
        if _is_endless(node):
            raise FormulaError(
                f"{written} computes a number or text without bounds ({ast.unparse(node)}), which "
                "is not allowed here."
            )
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                safe = name in SAFE_ATTRIBUTES.get(owner, ())
            case ast.Call(func=ast.Name(id=name)):
                safe = name in KNOWN or name in ("offset", "cbind")
            case ast.Call(func=ast.Attribute()):
                safe = True
            case ast.Call() | ast.Attribute():
                safe = False
            case _:
                safe = isinstance(node, SAFE_NODES)
        if not safe:
            raise FormulaError(
                f"{written} runs code other than the known transforms ({ast.unparse(node)}), "
                "which is not allowed here."
            )


def _is_endless(node: ast.AST) -> bool:
    """Whether constants alone make something huge: 9**9**9, 1 << 10**9, "a" * 10**9."""
    match node:
        case ast.BinOp(op=ast.Pow() | ast.LShift()):
            return (_bits(node) or 0.0) > MOST_BITS
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            return any(
                isinstance(side, ast.List | ast.Tuple)
                or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
                for side in (left, right)
            )
    return False


def _bits(node: ast.AST) -> float | None:
    """A bound of log2 of the size of what constants make; None where a variable takes part."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return log2(max(abs(value), 1))
        case ast.UnaryOp(operand=operand):
            return _bits(operand)
        case ast.BoolOp(values=values):
            sizes = [_bits(value) for value in values]
            return max((size for size in sizes if size is not None), default=None)
        case ast.BinOp(left=left, op=op, right=right):
            first, second = _bits(left), _bits(right)
            if first is None or second is None:
                return None
            match op:
                case ast.Pow():
                    return 2 ** min(second, 64.0) * first
                case ast.LShift():
                    return 2 ** min(second, 64.0) + first
                case ast.Add() | ast.Sub():
                    return max(first, second) + 1
            return first + second
    return None
