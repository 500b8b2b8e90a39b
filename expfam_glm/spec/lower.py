"""Scalar graphs lowered to NumPy: one vectorised call an operation, buffers reused in place.

NumPy's own exp, log and log1p run several times faster than a fused scalar loop, nothing has to
be compiled, and a fresh process starts at once. PyTensor derives and simplifies the graph; this
file only writes it down as calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.errors import DeclarationError
from expfam_glm.spec.program import Function, Program

# Operations with a NumPy function of the same meaning that can write into a given buffer.
_UFUNCS = {
    "Add": "add", "Mul": "multiply", "Sub": "subtract", "TrueDiv": "divide",
    "Neg": "negative", "Abs": "absolute", "Sqr": "square", "Sqrt": "sqrt",
    "Reciprocal": "reciprocal", "Exp": "exp", "Exp2": "exp2", "Expm1": "expm1",
    "Log": "log", "Log1p": "log1p", "Log2": "log2", "Log10": "log10",
    "Pow": "power", "Maximum": "maximum", "Minimum": "minimum",
    "ScalarMaximum": "maximum", "ScalarMinimum": "minimum",
    "Sin": "sin", "Cos": "cos", "Tan": "tan", "ArcSin": "arcsin", "ArcCos": "arccos",
    "ArcTan": "arctan", "ArcTan2": "arctan2", "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh",
    "ArcSinh": "arcsinh", "ArcCosh": "arccosh", "ArcTanh": "arctanh",
    "Floor": "floor", "Ceil": "ceil", "Sign": "sign", "Mod": "mod", "IntDiv": "floor_divide",
}  # fmt: skip

# Operations written as an expression of their arguments.
_TEMPLATES = {
    "Log1mexp": "np.where({0} > -0.6931471805599453, "
    "np.log(-np.expm1(np.minimum({0}, -0.0))), np.log1p(-np.exp({0})))",
    "Switch": "np.where({0}, {1}, {2})",
    "Second": "{1} + 0.0 * {0}",
    "GT": "np.greater({0}, {1})", "GE": "np.greater_equal({0}, {1})",
    "LT": "np.less({0}, {1})", "LE": "np.less_equal({0}, {1})",
    "EQ": "np.equal({0}, {1})", "NEQ": "np.not_equal({0}, {1})",
    "AND": "np.logical_and({0}, {1})", "OR": "np.logical_or({0}, {1})",
    "Invert": "np.logical_not({0})", "XOR": "np.logical_xor({0}, {1})",
    "IsNan": "np.isnan({0})", "IsInf": "np.isinf({0})",
    "TriGamma": "special.polygamma(1, {0})",
    "PolyGamma": "special.polygamma({0}, {1})",
}  # fmt: skip


# Operations that are first written as others, so that their steps share buffers and results.
_COMPOSED: dict[str, Callable[..., Any]] = {
    "Sigmoid": lambda x: pt.reciprocal(pt.exp(-x) + 1.0),
    "Softplus": lambda x: pt.maximum(x, 0.0) + pt.log1p(pt.exp(-pt.abs(x))),
}


# Those that are written as operators of numbers.
_OPERATORS = {"Add": " + ", "Mul": " * ", "Sub": " - ", "TrueDiv": " / "}


def _call(op: Any, arguments: list[str], out: str | None, numbers: bool) -> str:
    """One operation as the text of a NumPy or SciPy call, or of an operator."""
    kind = type(op).__name__
    if numbers and kind in _OPERATORS:
        return _OPERATORS[kind].join(arguments)
    if numbers and kind == "Neg":
        return f"-{arguments[0]}"
    target = f", out={out}" if out else ""
    if kind in ("Add", "Mul"):
        text = arguments[0]
        for extra in arguments[1:]:
            text = f"np.{_UFUNCS[kind]}({text}, {extra}{target})"
        return text
    if kind in _UFUNCS:
        return f"np.{_UFUNCS[kind]}({', '.join(arguments)}{target})"
    if kind == "Cast":
        return f"np.asarray({arguments[0]}).astype({op.o_type.dtype!r})"
    if kind in _TEMPLATES:
        return _TEMPLATES[kind].format(*arguments)
    spec = getattr(op, "nfunc_spec", None)
    if spec:
        name = spec[0]
        name = name.removeprefix("scipy.") if name.startswith("scipy.") else f"np.{name}"
        return f"{name}({', '.join(arguments)})"
    raise DeclarationError(
        f"the operation {op} has no NumPy or SciPy counterpart; write the function with the "
        "elementary and special functions of pytensor.tensor."
    )


def _is_minus_one(v: Variable) -> bool:
    return isinstance(v, Constant) and float(v.data) == -1.0


def lower(
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
    rows: Sequence[Variable] = (),
    numbers: bool = False,
) -> Function:
    """A NumPy function of `inputs` that returns the tuple of `outputs`.

    Parameters
    ----------
    inputs, outputs : sequence of symbolic scalars
    rows : sequence of symbolic scalars
        Inputs that are always arrays of one common length: what is computed from them may be
        overwritten in place. The inputs themselves are never written to.
    numbers : bool
        Whether to write sums and products as operators, which take a fifth of the time of a call
        for NumPy's numbers (Python's own raise errors where these give infinity).

    Returns
    -------
    callable
        As `Program.load` describes it.

    Raises
    ------
    DeclarationError
        If an operation has no NumPy or SciPy counterpart.
    """
    return written(inputs, outputs, rows, numbers).load()


def written(
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
    rows: Sequence[Variable] = (),
    numbers: bool = False,
) -> Program:
    """The text of that function."""
    names: dict[Variable, str] = {v: f"x{k}" for k, v in enumerate(inputs)}
    full = set(rows)
    solvers: dict[str, Callable[..., Any]] = {}
    seen: dict[tuple[str, ...], Variable] = {}
    alias: dict[Variable, Variable] = {}
    negated: dict[Variable, Variable] = {}  # −x: x
    steps: list[tuple[Any, Variable, list[Variable]]] = []

    def root(v: Variable) -> Variable:
        return alias.get(v, v)

    def constant(v: Constant) -> str:
        data = np.asarray(v.data)
        return f"({data.item()!r})" if np.isfinite(data) else f"np.float64('{data.item()}')"

    def key_of(v: Variable) -> str:
        return constant(v) if isinstance(v, Constant) else str(id(v))

    def add(node: Any) -> None:
        op = node.op.scalar_op if isinstance(node.op, Elemwise) else node.op
        arguments = [root(v) for v in node.inputs]
        (out,) = node.outputs
        kind = type(op).__name__
        if kind == "Identity":
            alias[out] = arguments[0]
            return
        if kind == "Mul" and len(arguments) == 2 and any(map(_is_minus_one, arguments)):
            (other,) = [v for v in arguments if not _is_minus_one(v)] or arguments[:1]
            op, kind, arguments = ps.neg, "Neg", [other]
        if kind == "Neg" and arguments[0] in negated:
            alias[out] = negated[arguments[0]]
            return
        if kind in _COMPOSED:
            composed = _COMPOSED[kind](*arguments)
            for part in toposort([composed], blockers=arguments):
                add(part)
            alias[out] = root(composed)
            return
        key = (f"{kind}:{op}", *(key_of(v) for v in arguments))
        if key in seen:
            alias[out] = seen[key]
            return
        seen[key] = out
        if kind == "Neg":
            negated[out] = arguments[0]
        steps.append((op, out, arguments))
        if any(v in full for v in arguments):
            full.add(out)

    for node in toposort(list(outputs), blockers=list(inputs)):
        add(node)

    results = [root(v) for v in outputs]
    last: dict[Variable, int] = {}
    for k, (_, _, arguments) in enumerate(steps):
        for v in arguments:
            last[v] = k
    kept = set(results) | set(inputs)

    def text(v: Variable) -> str:
        return constant(v) if isinstance(v, Constant) else names[v]

    lines: list[str] = []
    free: list[str] = []  # arrays of the common length that nothing needs any more
    count = 0
    for k, (op, out, arguments) in enumerate(steps):
        names[out] = f"t{k}"
        dead = sorted(
            names[v]
            for v in set(arguments) - kept
            if last[v] == k and v in full and v.type.dtype == "float64"
        )
        kind = type(op).__name__
        # the third argument of a sum is read after the sum of the first two is written
        late = set(map(text, arguments[2:]))
        ready = [name for name in dead if name not in late]
        buffer = None
        if out in full and kind in _UFUNCS and out.type.dtype == "float64":
            if ready or free:
                buffer = (ready or free).pop()
                dead = [name for name in dead if name != buffer]
            else:
                buffer, count = f"w{count}", count + 1
        if getattr(op, "elementwise", False):
            solvers[f"solve{k}"] = op.evaluate
            call = f"solve{k}({', '.join(map(text, arguments))})"
        else:
            call = _call(op, [text(v) for v in arguments], buffer, numbers)
        lines.append(f"    t{k} = {call}")
        free += dead
    lent = [f"w{k}" for k in range(count)]
    header = f"def lowered({', '.join([*(f'x{k}' for k in range(len(inputs))), *lent])}):"
    footer = f"    return ({', '.join(text(v) for v in results)},)"
    return Program("\n".join([header, *lines, footer]), count, solvers)
