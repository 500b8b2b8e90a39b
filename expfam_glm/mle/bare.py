"""Row kernels on blocks: their values in memory that a thread keeps, or their sums at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.kernels.machine.block import Wanted
from expfam_glm.kernels.machine.sums import Found, RowSums
from expfam_glm.kernels.row import RowKernel, lent

# Doubles of a design from which machine code pays for loading it.
_FEWEST_DOUBLES = 1 << 20


class Bare:
    """The kernel of rows at some shapes; NumPy is silenced by the caller."""

    def __init__(self, kernel: RowKernel, shapes: tuple[float, ...] = ()) -> None:
        self.run, self.shapes, self.buffers = kernel.bare, shapes, kernel.buffers
        self.source: str = kernel.source
        self.rest = (*shapes, *(None,) * kernel.buffers)

    def __call__(self, eta: np.ndarray, y: np.ndarray, r: np.ndarray | float) -> tuple[Any, ...]:
        """The quantities at η."""
        return self.run(eta, y, r, *self.rest)

    def at(
        self, block: Block, beta: np.ndarray, r: np.ndarray | float
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """η and the quantities of a block at β, in memory that the thread's next call reuses."""
        out, *memory = lent(self.buffers + 1, block.y.shape[0])
        eta = block.eta(beta, out)
        return eta, self.run(eta, block.y, r, *self.shapes, *memory)

    def summed(self, wanted: Wanted, blocks: Blocks) -> RowSums | None:
        """Its sums in machine code, where there are rows enough and it can be had."""
        if blocks.rows * blocks.columns < _FEWEST_DOUBLES:
            return None
        sums = RowSums(self.source, wanted, self.shapes)
        return sums if sums.written else None


def over_block(
    sums: RowSums | None,
    block: Block,
    beta: np.ndarray,
    prior: np.ndarray | float,
    outer: np.ndarray | float | None,
) -> Found | None:
    """The sums over a block, where machine code can have them: weights are arrays, or one."""
    if sums is None or block.scatter is not None or not isinstance(block.X, np.ndarray):
        return None
    weights = (v if isinstance(v, np.ndarray) else None for v in (prior, outer))
    return sums.over(block.X, beta, block.y, block.offset, *weights)
