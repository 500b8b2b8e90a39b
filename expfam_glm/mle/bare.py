"""Row kernels on blocks, in memory that a thread keeps from one block to the next."""

from __future__ import annotations

from typing import Any

import numpy as np

from expfam_glm.data.blocks import Block
from expfam_glm.kernels.row import RowKernel, lent


class Bare:
    """The kernel of rows at some shapes; NumPy is silenced by the caller."""

    def __init__(self, kernel: RowKernel, shapes: tuple[float, ...] = ()) -> None:
        self.run, self.shapes, self.buffers = kernel.bare, shapes, kernel.buffers
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
