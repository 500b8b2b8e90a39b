"""Whether the squares of responses and columns, of which variances are made, are doubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from expfam_glm.errors import DataError
from expfam_glm.kernels.coded import Coded, Matrix
from expfam_glm.kernels.threads import in_order

_TINY = np.finfo(float).tiny  # below, doubles lose their digits
_HEAD = 1024  # rows that are looked at first
# Doubles of which BLAS makes a sum on one thread: others go on spinning for a while afterwards.
_FEW = 1 << 13
# From here on, and in pieces of so many, it pays to share the work.
_MANY = 1 << 20


def check_columns(X: Matrix, labels: Sequence[str], *, part: bool, bounded: bool) -> None:
    """Refuse columns of X whose squares overflow, or vanish where X is not a part of more rows.

    `bounded` says that the sum of all squares is known to be finite.
    """
    with np.errstate(over="ignore", under="ignore"):
        squares = X.squares.copy() if isinstance(X, Coded) else _of_dense(X, bounded)
    for j in map(int, np.flatnonzero(~((squares >= _TINY) & (squares < np.inf)))):
        _check(f"the column {labels[j]}", float(np.abs(X[:, j]).max()), squares[j], part)


def _of_dense(X: np.ndarray, bounded: bool) -> np.ndarray:
    """The sum of squares of each column, or of its first rows where it is neither 0 nor ∞."""
    squares = _squares(X[:_HEAD])  # sums only grow, so that mostly these decide
    small = np.flatnonzero(squares < _TINY)
    squares[small] = _squares(X[:, small])
    return squares if bounded or np.isfinite(square_sum(X)) else _squares(X)


def square_sum(values: np.ndarray) -> float:
    """The sum of all squares: a finite one proves that every value is finite."""
    flat = values.ravel(order="K")
    with np.errstate(all="ignore"):
        if flat.size >= _MANY:
            pieces = [flat[k : k + _MANY] for k in range(0, flat.size, _MANY)]
            return sum(in_order(_square_sum, pieces, flat.size))
        return sum(_square_sum(flat[k : k + _FEW]) for k in range(0, flat.size, _FEW))


def _square_sum(values: np.ndarray) -> float:
    return float(np.dot(values, values))


def _squares(X: np.ndarray) -> np.ndarray:
    """The sum of squares of each column."""
    return np.einsum("ij,ij->j", X, X)


def check_response(
    y: np.ndarray, name: str, weight: float, variance: Callable[[], float], *, part: bool
) -> None:
    """Refuse responses whose squares overflow or vanish, or overflow in Pearson's χ².

    `weight` is Σ f w, `variance` gives that of a response at their mean.
    """
    largest = max(float(y.max()), -float(y.min()))
    with np.errstate(all="ignore"):
        square = np.float64(largest) ** 2
        if np.isinf(square * weight) and np.isfinite(square):
            square = np.nanmax([square, largest / np.float64(variance()) * largest * weight])
    _check(f"the response {name}", largest, square, part)


def _check(what: str, largest: float, square: float, part: bool) -> None:
    """Refuse values whose square, or the sum of whose squares, is no double."""
    if square == np.inf or (0 < largest and square < _TINY and not part):
        far = "large" if square == np.inf else "small"
        raise DataError(
            f"{what} has values of up to {largest:.3g}, too {far} for floating-point numbers to "
            f"hold their squares; rescale it, as by dividing by 1e{np.floor(np.log10(largest)):g}."
        )
