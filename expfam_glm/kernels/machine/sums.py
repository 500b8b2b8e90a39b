"""One pass over the rows of a block: predictors, the functions of a row, and their sums.

NumPy takes some forty calls for the rows of a block, each over all of its memory, and two threads
wait for one another between them; and its BLAS has kernels for half as wide vectors on many
processors that have vectors of 512 bits. Here the text of the NumPy function of a row becomes a
loop over eight rows at a time, with their predictors before it and their score and information
after it, while they are in the nearest cache. On other processors, and for functions that are not
elementary, NumPy does the same.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from expfam_glm.kernels.machine.block import ARGUMENTS, GROUP, Wanted, compiled, counts, gram_text
from expfam_glm.kernels.machine.code import WIDTH, Code
from expfam_glm.kernels.machine.gram import ROWS
from expfam_glm.kernels.machine.load import function, is_wide
from expfam_glm.kernels.machine.rows import Unwritten, outputs_of, without_numbers
from expfam_glm.kernels.scratch import aligned, scratch

# Arguments after η, y and r.
_MOST_FURTHER = 64
# Columns up to which a thread keeps its memory for the next call.
_MOST_HELD = 1024
_ROWWISE = ("offset", "prior", "outer")
_own = threading.local()


class Found(NamedTuple):
    """The sums of a block."""

    score: np.ndarray  # (p,)
    information: np.ndarray | None  # (p, p)
    totals: list[float]
    lows: list[float]  # of η, and of what was asked for
    highs: list[float]


@dataclass(frozen=True)
class RowSums:
    """Sums over the rows of a block of functions (η, y, r, *shapes) of a row."""

    source: str
    wanted: Wanted
    shapes: tuple[float, ...] = ()

    @cached_property
    def _text(self) -> tuple[str, tuple[float, ...]]:
        """The function of (η, y, r, *further), and these further arguments."""
        text, numbers = without_numbers(self.source, 3 + len(self.shapes))
        return text, (*self.shapes, *numbers)

    @property
    def written(self) -> bool:
        """Whether machine code can have the function on this processor."""
        text, further = self._text
        return len(further) <= _MOST_FURTHER and is_wide() and _can_write(text, len(further))

    def over(
        self,
        X: np.ndarray,
        beta: np.ndarray,
        y: np.ndarray,
        offset: np.ndarray | None = None,
        prior: np.ndarray | None = None,
        outer: np.ndarray | None = None,
    ) -> Found | None:
        """The sums over rows X (n, p); None where they, or the processor, are of another kind.

        Parameters
        ----------
        X : ndarray, shape (n, p)
        beta : ndarray, shape (p,)
        y : ndarray, shape (n,)
        offset, prior, outer : ndarray, shape (n,), optional
            The offset; r, else 1; what the sums are weighted by.
        """
        p = X.shape[1]
        columns = {"y": y, "offset": offset, "prior": prior, "outer": outer}
        given = {name: v for name, v in columns.items() if v is not None}
        side_by_side = all(v.strides == (8,) and v.dtype == np.float64 for v in given.values())
        if not (is_wide() and fits(X) and side_by_side):
            return None
        by_columns = _by_columns(X)
        wanted = self.wanted
        text, further = self._text
        run = compiled(
            text,
            wanted,
            len(further),
            by_columns,
            *(name in given for name in _ROWWISE),
        )
        totals, ends = counts(wanted)
        memory = _memory(p, totals + 2 * ends, wanted.weight is not None)
        memory.beta[:p], memory.beta[p:] = beta, 0.0
        memory.score[:] = 0.0
        memory.further[: len(further)] = further
        found = memory.found
        found[:totals], found[totals : totals + ends] = 0.0, np.inf
        found[totals + ends :] = -np.inf
        memory.read(X, **given)
        run(memory.address)
        G = memory.products
        return Found(
            memory.score[:p].copy(), None if G is None else G[:p, :p].copy(),
            found[:totals].sum(axis=1).tolist(),
            found[totals : totals + ends].min(axis=1).tolist(),
            found[totals + ends :].max(axis=1).tolist(),
        )  # fmt: skip


def gram(X: np.ndarray, W: np.ndarray) -> np.ndarray:
    """XᵀWX of rows that `fits`, symmetric to the last bit.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    W : ndarray, shape (n,)
        Not negative.

    Returns
    -------
    ndarray, shape (p, p)
    """
    p = X.shape[1]
    roots = np.sqrt(W, out=scratch("roots", W.shape))
    memory = _memory(p, 0, True)
    memory.read(X, prior=roots)
    function(gram_text(_by_columns(X)), "gram")(memory.address)
    assert memory.products is not None
    return memory.products[:p, :p].copy()


class _Memory:
    """What the functions read and write to, for designs of p columns."""

    def __init__(self, p: int, found: int, informed: bool) -> None:
        panels = -(-p // WIDTH)
        side, wide = panels * WIDTH, -(-p // GROUP) * GROUP
        self.beta, self.score = aligned((wide,)), aligned((wide,))
        self.further, self.found = aligned((_MOST_FURTHER,)), aligned((found, WIDTH))
        self.products = aligned((side, side)) if informed else None
        self.work = aligned((3, ROWS))
        self.panels = aligned((side if informed else 0, ROWS))
        self.arguments = np.zeros((), [(name, np.int64) for name in ARGUMENTS])
        self.address = _address(self.arguments)
        for name in ("beta", "score", "further", "found", "work", "panels"):
            self.arguments[name] = _address(getattr(self, name))
        if self.products is not None:
            self.arguments["products"] = _address(self.products)
        for name, value in {"p": p, "count": panels, "side": side}.items():
            self.arguments[name] = value

    def read(self, X: np.ndarray, **columns: np.ndarray) -> None:
        """Where X and what else has a number for each row are read."""
        self.arguments["X"], self.arguments["n"] = _address(X), len(X)
        self.arguments["step"] = X.strides[_by_columns(X)] // 8
        for name, values in columns.items():
            self.arguments[name] = _address(values)


def _memory(p: int, found: int, informed: bool) -> _Memory:
    """The memory of this thread, for one call; that of many columns is not held longer."""
    key = (p, found, informed)
    if getattr(_own, "key", None) == key:
        return _own.memory
    memory = _Memory(*key)
    if p <= _MOST_HELD:
        _own.key, _own.memory = key, memory
    return memory


def fits(X: np.ndarray) -> bool:
    """Whether the doubles of each row, or of each column, lie side by side, one after another."""
    if X.dtype != np.float64 or X.size == 0 or X.strides[0] % 8 or X.strides[1] % 8:
        return False
    return _by_rows(X) or _by_columns(X)


def _by_rows(X: np.ndarray) -> bool:
    return X.strides[1] == 8 and X.strides[0] >= 8 * X.shape[1]


def _by_columns(X: np.ndarray) -> bool:
    return not _by_rows(X) and X.strides[0] == 8 and X.strides[1] >= 8 * X.shape[0]


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@lru_cache(maxsize=512)
def _can_write(source: str, further: int) -> bool:
    try:
        outputs_of(source, Code(), ["%x"] * (3 + further))
    except Unwritten:
        return False
    return True
