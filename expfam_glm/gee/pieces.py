"""A run of clusters, small enough that what is computed on it stays in cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """Some clusters that stand side by side."""

    rows: slice
    clusters: slice
    size: int  # of each cluster; 0 if they differ
    starts: np.ndarray  # the first row of each cluster, counted from the first of the piece
    sizes: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows (the last axis) of each cluster."""
        if not self.size:
            return np.add.reduceat(values, self.starts, axis=-1)
        if self.size == 1:
            return values
        rows = np.ascontiguousarray(values).reshape(-1, self.size)
        return (rows @ np.ones(self.size)).reshape(*values.shape[:-1], -1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of clusters (the last axis) repeated on each of their rows."""
        return np.repeat(values, self.size or self.sizes, axis=-1)
