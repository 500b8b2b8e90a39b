"""Which columns of a design are linear combinations of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from expfam_glm.data.blocks import Blocks
from expfam_glm.errors import AliasWarning, warn
from expfam_glm.kernels.coded import Coded, Matrix, dense, largest
from expfam_glm.kernels.sums import join, triangle, weighted_gram

# A column is aliased if its residual on the earlier kept columns is below this part of its norm.
ALIAS_TOLERANCE = 1e-7
_BLOCK_ROWS = 4096
# Squared residuals of columns of length one: below the first a rounding error, from the second on
# none.
_ZERO, _CLEAR = 1e-11, 1e-9


def aliased(X: Matrix) -> np.ndarray:
    """Columns whose residual on the earlier kept columns is below 1e-7 of their norm.

    Parameters
    ----------
    X : ndarray or Coded, shape (n, p)

    Returns
    -------
    ndarray of bool, shape (p,)

    Notes
    -----
    Decided on the R factor, in column order, as in R's `lm` and `glm`.
    """
    if isinstance(X, Coded) and X.by_level.all():
        plain = plainly_aliased(X)
        if plain.any():
            return plain
    size = _size(X)
    starts = range(0, X.shape[0], _BLOCK_ROWS)
    return _aliased(reduce(join, (triangle(dense(X[k : k + _BLOCK_ROWS]) / size) for k in starts)))


def plainly_aliased(X: Matrix) -> np.ndarray:
    """Columns of factors that are linear combinations of earlier ones, if XᵀX says so clearly.

    Among columns that follow from levels alone a residual is zero, or at least of the size of one
    row among all; elsewhere, and where a residual lies between, nothing is said.
    """
    result = np.zeros(X.shape[1], bool)
    if not isinstance(X, Coded):
        return result
    G = weighted_gram(X.only(X.by_level), np.ones(X.rows))
    size = np.sqrt(G.diagonal())
    left = np.divide(G, np.outer(size, size), out=np.zeros_like(G), where=G != 0)
    gone = np.zeros(len(G), bool)
    for j in range(len(G)):
        pivot = left[j, j]
        gone[j] = pivot < _ZERO
        if not gone[j]:
            if pivot < _CLEAR:
                return result
            row = left[j, j + 1 :] / np.sqrt(pivot)
            left[j + 1 :, j + 1 :] -= np.outer(row, row)
    result[X.by_level] = gone
    return result


def aliased_in(blocks: Blocks) -> np.ndarray:
    """`aliased` for rows that are read in batches."""
    size = _size(blocks.problem.sample.matrix)
    return _aliased(blocks.reduce(lambda block: triangle(dense(block.X) / size), join))


def _size(X: Matrix) -> np.ndarray:
    """The largest value of each column: the squares of what is left by it neither overflow nor
    vanish."""
    size = largest(X)
    size[size == 0] = 1.0
    return size


def _aliased(R: np.ndarray) -> np.ndarray:
    p = R.shape[1]
    norms = np.sqrt(np.sum(R * R, axis=0))
    basis: list[np.ndarray] = []
    result = np.zeros(p, bool)
    for j in range(p):
        residual = R[:, j].copy()
        for _ in range(2):  # twice is enough
            for q in basis:
                residual -= (q @ residual) * q
        length = float(np.sqrt(residual @ residual))
        if norms[j] == 0 or length < ALIAS_TOLERANCE * norms[j]:
            result[j] = True
        else:
            basis.append(residual / length)
    return result


def expand(values: np.ndarray, aliased: np.ndarray) -> np.ndarray:
    """A vector or matrix over the kept coefficients, NaN at the aliased ones."""
    if not aliased.any():
        return values
    kept = np.flatnonzero(~aliased)
    full = np.full((aliased.size,) * values.ndim, np.nan)
    full[np.ix_(*[kept] * values.ndim)] = values
    return full


def warn_aliased(labels: Sequence[str], mask: np.ndarray) -> str:
    """Name the aliased columns in a warning and return its text."""
    named = ", ".join(label for label, gone in zip(labels, mask, strict=True) if gone)
    text = (
        f"the column(s) {named} are linear combinations of earlier columns; their coefficients "
        "are not determined and are reported as NaN."
    )
    warn(text, AliasWarning)
    return text
