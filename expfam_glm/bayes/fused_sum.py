"""A sum over rows of a function of their linear predictors, with its derivatives, as one operation.

In an ordinary graph η, the value and the derivative of every row are vectors as long as the data,
and the design is read twice. Here blocks of rows are read once, and value and gradient come from
the same pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad, grad_undefined
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from expfam_glm.spec.expression import Expression
from expfam_glm.spec.graph import substitute
from expfam_glm.spec.lower import lower

_BLOCK = 1 << 17  # numbers of X at a time, so that a block stays in a cache


class RowSum(Op):
    """(X, β, rows…, scalars…) → Σ f(xᵢᵀβ, rows…, scalars…), and the derivatives asked for.

    Parameters
    ----------
    value : Expression
        f, a function of η, of one variable for each vector of rows, and of the scalars.
    slopes : tuple of (int, Expression)
        The number of a variable of f, and the derivative of f by it. The outputs after the first
        are the derivatives of the sum: (p,) for η (that is, by β), (n,) for a vector, () for a
        scalar.
    n_rows : int
        How many of the variables are vectors, apart from η.
    """

    __props__ = ("value", "slopes", "n_rows")

    def __init__(
        self, value: Expression, slopes: tuple[tuple[int, Expression], ...], n_rows: int
    ) -> None:
        self.value = value
        self.slopes = slopes
        self.n_rows = n_rows

    def __str__(self) -> str:
        return f"RowSum{{{self.value.digest[:8]}, {len(self.slopes)} derivatives}}"

    @property
    def expressions(self) -> list[Expression]:
        """f and its derivatives."""
        return [self.value, *(slope for _, slope in self.slopes)]

    def make_node(self, *inputs: Any) -> Apply:
        X, beta, *rest = (pt.as_tensor(v) for v in inputs)
        kinds = [2, 1] + [1] * self.n_rows + [0] * (len(rest) - self.n_rows)
        assert [v.type.ndim for v in (X, beta, *rest)] == kinds
        assert len(rest) + 1 == len(self.value.variables)
        outputs = [pt.scalar(dtype="float64")]
        for k, _ in self.slopes:
            like = beta if k == 0 else rest[k - 1]
            outputs.append(pt.tensor(dtype="float64", shape=like.type.shape))
        return Apply(self, [X, beta, *rest], outputs)

    def infer_shape(self, node: Apply, shapes: list[Any]) -> list[Any]:
        return [(), *(shapes[k + 1] for k, _ in self.slopes)]

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        n, rows = inputs[0].shape[0], inputs[2 : 2 + self.n_rows]
        if any(row.shape[0] != n for row in rows):
            raise ValueError(
                f"the design has {n} rows, and the vectors beside it "
                f"{', '.join(str(row.shape[0]) for row in rows)}."
            )
        with np.errstate(all="ignore"):  # what is not a number is seen by the graph
            results = self._sums(inputs)
        for storage, result in zip(outputs, results, strict=True):
            storage[0] = np.asarray(result)

    def _sums(self, inputs: list[Any]) -> list[np.ndarray]:
        """The sum and its derivatives, block by block."""
        X, beta, *rest = inputs
        rows, scalars = rest[: self.n_rows], rest[self.n_rows :]
        kernel, n = _kernel(self), X.shape[0]
        results = [np.zeros(()), *(np.zeros(inputs[k + 1].shape) for k, _ in self.slopes)]
        size = max(512, _BLOCK // max(1, X.shape[1]))
        for first in range(0, n, size):
            block = slice(first, min(first + size, n))
            eta = X[block] @ beta
            found = kernel(eta, *(row[block] for row in rows), *scalars)
            results[0] += np.broadcast_to(found[0], eta.shape).sum()
            for (k, _), result, slope in zip(self.slopes, results[1:], found[1:], strict=True):
                if k == 0:
                    result += np.broadcast_to(slope, eta.shape) @ X[block]
                elif k <= self.n_rows:
                    result[block] = slope
                else:
                    result += np.broadcast_to(slope, eta.shape).sum()
        return results

    def written_out(self, inputs: Sequence[Variable]) -> list[Variable]:
        """The outputs as an ordinary graph."""
        X, beta, *rest = inputs
        eta = pt.dot(X, beta)
        given = dict(zip(self.value.variables, [eta, *rest], strict=True))
        found = [pt.broadcast_to(substitute(e.output, given), eta.shape) for e in self.expressions]
        outputs = [found[0].sum()]
        for (k, _), slope in zip(self.slopes, found[1:], strict=True):
            within = slope if k <= self.n_rows else slope.sum()
            outputs.append(pt.dot(slope, X) if k == 0 else within)
        return outputs

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], cotangents: list[Variable]
    ) -> list[Variable]:
        """Products with the derivatives of the same pass; of these, by the ordinary graph."""
        results: list[Any] = [
            grad_undefined(self, k, v, "the sum over rows was fused with this as data")
            for k, v in enumerate(inputs)
        ]
        bends = [
            (cotangents[k + 1] * slope).sum()
            for k, slope in enumerate(self.written_out(inputs)[1:])
            if not isinstance(cotangents[k + 1].type, DisconnectedType)
        ]
        for place, (k, _) in enumerate(self.slopes):
            wrt = inputs[k + 1]
            total: Any = 0.0
            if not isinstance(cotangents[0].type, DisconnectedType):
                total = cotangents[0] * outputs[place + 1]
            if bends:
                bend = grad(pt.add(*bends) if len(bends) > 1 else bends[0], wrt,
                            disconnected_inputs="ignore")  # fmt: skip
                total = total + bend
            results[k + 1] = pt.as_tensor(total)
        return results


@lru_cache(maxsize=128)
def _kernel(op: RowSum) -> Any:
    """f and its derivatives in one NumPy function of blocks."""
    variables = op.value.variables
    outputs = [e.output for e in op.expressions]
    return lower(variables, outputs, rows=variables[: 1 + op.n_rows])
