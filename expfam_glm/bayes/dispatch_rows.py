"""The fused sum over rows for numba: a compiled loop over blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytensor.scalar as ps
from pytensor.graph.basic import Variable
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import (
    numba_funcify_and_cache_key,
    numba_njit,
    register_funcify_and_cache_key,
)

from expfam_glm.bayes.fused_sum import RowSum
from expfam_glm.bayes.scalars import SHARED, parts_of, scalar_graph
from expfam_glm.spec.graph import substitute

_VERSION = 5  # of the code below: compiled functions of other versions are not reused
_BLOCK = 1 << 15  # numbers of X at a time, so that a block stays in a cache


@register_funcify_and_cache_key(RowSum)
def _numba_row_sum(op: RowSum, node: Any, **keywords: Any) -> tuple[Callable[..., Any], Any]:
    """One pass over X; what depends on scalars alone is computed before it."""
    variables, n_rows = list(op.value.variables), op.n_rows
    numbers = variables[1 + n_rows :]
    outputs = [e.output for e in op.expressions]
    before = parts_of(numbers, outputs, "c")
    outputs = [substitute(v, before) for v in outputs]
    ahead = list(dict.fromkeys(before.values()))
    first = {symbol: v for v, symbol in before.items()}
    row, key = _compiled([*variables, *ahead], outputs)
    scope = {"np": np, "row": row, "NUMBERS": _BLOCK}
    if ahead:
        scope["prelude"], other = _compiled(numbers, [first[symbol] for symbol in ahead])
        key = None if key is None or other is None else key + other
    source = _source(op, len(numbers), len(ahead))
    function = compile_numba_function_src(source, "row_sum", scope)
    text = f"{_VERSION} {_BLOCK} {key} {source}"
    return numba_njit(function), key and sha256(text.encode()).hexdigest()


def _compiled(variables: list[Variable], outputs: list[Variable]) -> tuple[Any, Any]:
    """A scalar function that returns a tuple, and its key in the cache."""
    composite = scalar_graph(variables, outputs, SHARED)
    call = composite.make_node(*(ps.float64() for _ in variables))
    return numba_funcify_and_cache_key(composite, call)


def _source(op: RowSum, n_numbers: int, n_ahead: int) -> str:
    """The loop as text, for its numbers of vectors, scalars and derivatives."""
    rows = [f"r{k}" for k in range(op.n_rows)]
    numbers = [f"s{k}" for k in range(n_numbers)]
    ahead = [f"c{k}" for k in range(n_ahead)]
    lines = [f"def row_sum({', '.join(['X', 'beta', *rows, *numbers])}):"]
    body = ["n = X.shape[0]", "block = max(256, NUMBERS // max(1, X.shape[1]))", "value = 0.0"]
    body += [f"n{v} = {v}.item()" for v in numbers]
    inner = [f"n{v}" for v in numbers]
    if ahead:
        call = f"prelude({', '.join(inner)})"
        body.append(f"{ahead[0]} = {call}" if n_ahead == 1 else f"{', '.join(ahead)} = {call}")
    for v in rows:
        body += [f"if {v}.shape[0] != n:", "    raise ValueError('a vector has not one number for"
                 " each row of the design')"]  # fmt: skip
    places = [k for k, _ in op.slopes]
    for k in places:
        if k == 0:
            body += ["by0 = np.zeros(beta.shape[0])", "score = np.empty(min(block, n))"]
        else:
            body.append(f"by{k} = np.empty(n)" if k <= op.n_rows else f"by{k} = 0.0")
    body += [
        "for first in range(0, n, block):",
        "    size = min(block, n - first)",
        "    part = X[first : first + size]",
        "    eta = np.dot(part, beta)",
        "    for k in range(size):",
    ]
    arguments = ["eta[k]", *(f"{v}[first + k]" for v in rows), *inner, *ahead]
    call = f"row({', '.join(arguments)})"
    body.append(f"        {', '.join(['f', *(f'd{k}' for k in places)])} = {call}")
    body.append("        value += f")
    for k in places:
        target = (
            "score[k] = d0" if k == 0
            else f"by{k}[first + k] = d{k}" if k <= op.n_rows else f"by{k} += d{k}"
        )  # fmt: skip
        body.append(f"        {target}")
    if 0 in places:
        body.append("    by0 += np.dot(score[:size], part)")
    results = ["np.asarray(value)"]
    results += [f"by{k}" if k <= op.n_rows else f"np.asarray(by{k})" for k in places]
    body.append(f"return {', '.join(results)}")
    return "\n".join(lines + [f"    {line}" for line in body]) + "\n"
