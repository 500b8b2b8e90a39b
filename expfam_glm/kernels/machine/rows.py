"""The NumPy function of a row, which is a list of calls, as instructions on eight rows."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from expfam_glm.kernels.machine import elementary
from expfam_glm.kernels.machine.code import MASK, VECTOR, Code, constant

Value = tuple[str, bool]  # the name of a vector, and whether it is a mask

_BINARY = {
    "add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv",
    ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv",
}  # fmt: skip
_COMPARED = {
    "greater": "ogt", "greater_equal": "oge", "less": "olt", "less_equal": "ole",
    "equal": "oeq", "not_equal": "une",
    ast.Gt: "ogt", ast.GtE: "oge", ast.Lt: "olt", ast.LtE: "ole",
}  # fmt: skip
_MASKS = {"logical_and": "and", "logical_or": "or", "logical_xor": "xor"}
_FUNCTIONS: Mapping[str, Callable[[Code, str], str]] = {
    "exp": elementary.exp, "expm1": elementary.expm1,
    "log": elementary.log, "log1p": elementary.log1p,
    "sqrt": lambda code, x: code.call("sqrt", x),
    "absolute": lambda code, x: code.call("fabs", x),
    "square": lambda code, x: code.two("fmul", x, x),
    "negative": lambda code, x: code(f"fneg {VECTOR} {x}"),
    "reciprocal": lambda code, x: code.two("fdiv", constant(1.0), x),
}  # fmt: skip
_EXTREMES = ("maximum", "minimum")
_LARGEST_POWER = 8
# Numbers that stay in the code: others may be parameters, whose values are not to make new code.
_KEPT = (0.0, 0.5, 1.0, 2.0)


@lru_cache(maxsize=512)
def without_numbers(source: str, arguments: int) -> tuple[str, tuple[float, ...]]:
    """A function of further arguments in place of the numbers in its text, and these numbers.

    Parameters
    ----------
    source : str
        The text of a `Program`.
    arguments : int
        How many arguments x0, x1, ... it has; the numbers follow them.
    """
    taker = _Taker(arguments)
    return ast.unparse(taker.visit(ast.parse(source))), tuple(taker.numbers)


class _Taker(ast.NodeTransformer):
    def __init__(self, first: int) -> None:
        self.first = first
        self.numbers: list[float] = []

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, float) or abs(node.value) in _KEPT:
            return node
        self.numbers.append(node.value)
        return ast.Name(f"x{self.first + len(self.numbers) - 1}", ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.Call:
        power = isinstance(node.func, ast.Attribute) and node.func.attr == "power"
        node.args = [
            arg if power and place == 1 else self.visit(arg) for place, arg in enumerate(node.args)
        ]
        return node


class Unwritten(Exception):
    """The function calls what has no counterpart here."""


def outputs_of(source: str, code: Code, inputs: Sequence[str]) -> list[str]:
    """The outputs of `lowered` as vectors of eight rows.

    Parameters
    ----------
    source : str
        The text of a `Program`.
    code : Code
        What the instructions are added to.
    inputs : sequence of str
        The vectors that its arguments x0, x1, ... are.

    Raises
    ------
    Unwritten
        If it is not made of elementary functions alone.
    """
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    writer = _Writer(code, {f"x{k}": (name, False) for k, name in enumerate(inputs)})
    for statement in function.body:
        if isinstance(statement, ast.Assign):
            (target,) = statement.targets
            assert isinstance(target, ast.Name)
            writer.names[target.id] = writer.value(statement.value)
        else:
            assert isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple)
            return [writer.vector(part) for part in statement.value.elts]
    raise Unwritten


class _Writer:
    def __init__(self, code: Code, names: dict[str, Value]) -> None:
        self.code, self.names = code, names

    def vector(self, node: ast.expr) -> str:
        name, is_mask = self.value(node)
        if is_mask:
            raise Unwritten
        return name

    def mask(self, node: ast.expr) -> str:
        name, is_mask = self.value(node)
        if not is_mask:
            raise Unwritten
        return name

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Name(id=name):
                return self.names[name]
            case ast.Constant(value=float() | int() as value):
                return constant(float(value)), False
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _FUNCTIONS["negative"](self.code, self.vector(operand)), False
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return self._two(_BINARY[type(op)], left, right)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
                return self._compared(_COMPARED[type(op)], left, right)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr=name), args=args):
                return self._call(name, args)
        raise Unwritten

    def _two(self, operation: str, a: ast.expr, b: ast.expr) -> Value:
        return self.code.two(operation, self.vector(a), self.vector(b)), False

    def _compared(self, how: str, a: ast.expr, b: ast.expr) -> Value:
        return self.code.compare(how, self.vector(a), self.vector(b)), True

    def _call(self, name: str, args: Sequence[ast.expr]) -> Value:
        code = self.code
        match name, args:
            case "float64", [ast.Constant(value=str() as text)]:
                return constant(float(text)), False
            case "where", [mask, a, b]:
                return code.select(self.mask(mask), self.vector(a), self.vector(b)), False
            case "power", [a, b]:
                return self._power(self.vector(a), b), False
            case "isnan", [a]:
                x = self.vector(a)
                return code.compare("uno", x, x), True
            case "isinf", [a]:
                x = code.call("fabs", self.vector(a))
                return code.compare("oeq", x, constant(float("inf"))), True
            case "logical_not", [a]:
                return code(f"xor {MASK} {self.mask(a)}, splat (i1 true)"), True
            case _, [a] if name in _FUNCTIONS:
                return _FUNCTIONS[name](code, self.vector(a)), False
            case _, [a, b] if name in _BINARY:
                return self._two(_BINARY[name], a, b)
            case _, [a, b] if name in _EXTREMES:
                return code.call(name, self.vector(a), self.vector(b)), False
            case _, [a, b] if name in _COMPARED:
                return self._compared(_COMPARED[name], a, b)
            case _, [a, b] if name in _MASKS:
                return code(f"{_MASKS[name]} {MASK} {self.mask(a)}, {self.mask(b)}"), True
        raise Unwritten

    def _power(self, x: str, exponent: ast.expr) -> str:
        """x^k by multiplication."""
        try:
            k = ast.literal_eval(exponent)
        except ValueError:
            raise Unwritten from None
        if k == 0.5:
            return self.code.call("sqrt", x)
        if k != int(k) or not 0 < abs(k) <= _LARGEST_POWER:
            raise Unwritten
        value, square = "", x
        for bit in reversed(f"{int(abs(k)):b}"):
            if bit == "1":
                value = self.code.two("fmul", value, square) if value else square
            square = self.code.two("fmul", square, square)
        return value if k > 0 else self.code.two("fdiv", constant(1.0), value)
