"""Nested exchangeable correlation: one α for each level of clusters within clusters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.pieces import Piece
from expfam_glm.gee.structures import SHOWN, Root, Shown, Structure, average
from expfam_glm.gee.whole import Counted


class Level(NamedTuple):
    """The cells of one level, which stand side by side; all rows in the order of the clusters."""

    starts: np.ndarray  # (cells,) first rows
    sizes: np.ndarray  # (cells,)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows (the last axis) of each cell."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of cells (the last axis) on each of their rows."""
        return np.repeat(values, self.sizes, axis=-1)

    def on(self, piece: Piece) -> Level:
        """The cells of a piece."""
        cells = slice(*np.searchsorted(self.starts, [piece.rows.start, piece.rows.stop]))
        return Level(self.starts[cells] - piece.rows.start, self.sizes[cells])


class NestedRoot(Root):
    """From the innermost level outwards, z ← z − c v (vᵀz)/vᵀv with v the image of ones.

    R/ψ = I + Σ_l a_l J_l, where J_l is one within the cells of level l. If T is a root of the inner
    levels and v = T 1, then (I − c v vᵀ/vᵀv) T with (1 − c)² = 1/(1 + a vᵀv) is one of level l too.
    """

    def __init__(self, levels: list[Level], steps: np.ndarray, names: list[str]) -> None:
        own = 1 - float(np.sum(steps))  # ψ: what is left to a row itself
        if own <= 0:
            raise _indefinite(names, np.cumsum(steps), "rows of the innermost cells")
        self.scale = float(1 / np.sqrt(own))
        self.levels = levels
        self.images: list[tuple[np.ndarray, np.ndarray]] = []  # v, and c/vᵀv on each cell
        v = np.ones(int(levels[0].sizes.sum()))
        for number in range(len(levels) - 1, -1, -1):
            level = levels[number]
            square = level.sums(v * v)
            gain = 1 + steps[number] / own * square
            if gain.min() <= 0:
                rows = int(level.sizes[np.argmin(gain)])
                raise _indefinite(names, np.cumsum(steps), f"{names[number]} with {rows} rows")
            c = (1 - 1 / np.sqrt(gain)) / square
            self.images.append((v, c))
            v = v * level.spread(1 / np.sqrt(gain))

    def _apply(self, columns: np.ndarray, piece: Piece, outwards: bool) -> np.ndarray:
        """The rank-one steps of all levels, inner ones first or last."""
        numbers = range(len(self.images))
        for number in numbers if outwards else reversed(numbers):
            whole = self.levels[len(self.levels) - 1 - number]
            cells = slice(*np.searchsorted(whole.starts, [piece.rows.start, piece.rows.stop]))
            level = whole.on(piece)
            v, c = self.images[number][0][piece.rows], self.images[number][1][cells]
            columns -= v * level.spread(level.sums(columns * v) * c)
        return columns

    def whiten(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        return self._apply(columns, piece, outwards=True)

    def precision(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        scale = float(self.scale)
        return self._apply(self._apply(columns * scale**2, piece, True), piece, False)


class Cells(Structure):
    """R_ij = α of the innermost level that rows i and j of a cluster share."""

    alpha_dims = ("alpha_level",)

    def __init__(self, clusters: Clusters, labels: Sequence[np.ndarray], names: list[str]) -> None:
        super().__init__(clusters)
        self.names = names
        edges = np.zeros(clusters.order.shape[0], bool)
        edges[clusters.starts] = True
        self.levels = [Level(clusters.starts, clusters.sizes)]
        for values in labels:  # in the order of the clusters, equal ones side by side
            edges[1:] |= values[1:] != values[:-1]
            starts = np.flatnonzero(edges)
            self.levels.append(Level(starts, np.diff(starts, append=edges.shape[0])))

    def _products(self, r: np.ndarray) -> np.ndarray:
        """Σ r_i r_j over the pairs of rows that share each level, but not the next one."""
        totals = [np.sum(level.sums(r) ** 2) for level in self.levels]
        return -np.diff(np.array([*totals, r @ r])) / 2

    @cached_property
    def _counts(self) -> np.ndarray:
        whole = self.clusters.of
        if whole is not None and whole.counted is not None:
            return whole.counted.numbers
        sums = [np.sum(level.sizes.astype(float) ** 2) for level in self.levels]
        return np.abs(np.diff([*sums, float(self.clusters.order.shape[0])])) / 2

    def counted(self) -> Counted:
        return Counted(np.arange(len(self.names)), self._counts)

    def pair_sums(self, r: np.ndarray) -> np.ndarray:
        return self._products(r)

    def estimate(self, sums: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        pairs = np.array(self.clusters.totals.pairs)
        average("nested", np.zeros(()), pairs, dispersion, lost)
        scarce = np.flatnonzero(self._counts <= lost)
        if scarce.size:
            raise CorrelationError(
                f"the nested correlation within {self.names[scarce[0]]} cannot be estimated: only "
                f"{self._counts[scarce[0]]:g} pair(s) of rows share it but no further level"
                f"{f', less {lost} coefficients' if lost else ''}. Leave that level out."
            )
        return sums / (dispersion * (self._counts - lost))

    def products(self, parameter: np.ndarray, r: np.ndarray) -> np.ndarray:
        columns = []
        for level in self.levels:
            first = np.searchsorted(level.starts, self.clusters.starts)
            columns.append(np.add.reduceat(level.sums(r) ** 2, first))
        columns.append(self.clusters.sums(r * r))
        return -np.diff(np.stack(columns, axis=1), axis=1) / 2

    def expected(self, parameter: np.ndarray) -> np.ndarray:
        return self.products(parameter, np.ones(self.clusters.order.shape[0])) * parameter

    def curvature(self, parameter: np.ndarray) -> np.ndarray:
        return np.diag(self._counts)

    def gain(self, lost: int) -> np.ndarray:
        return self._counts / (self._counts - lost)

    def alpha_labels(self) -> list[str]:
        return self.names

    def root(self, parameter: np.ndarray) -> Root:
        return NestedRoot(self.levels, np.diff(parameter, prepend=0.0), self.names)

    def shown(self, parameter: np.ndarray) -> Shown:
        size = min(self.clusters.largest, SHOWN)
        matrix = np.full((size, size), parameter[0])
        for level, alpha in zip(self.levels[1:], parameter[1:], strict=True):
            cell = np.searchsorted(level.starts, np.arange(size), side="right")
            matrix[cell[:, None] == cell] = alpha
        np.fill_diagonal(matrix, 1.0)
        return Shown(np.arange(size), matrix)


def _indefinite(names: list[str], alpha: np.ndarray, where: str) -> CorrelationError:
    found = ", ".join(f"{name} {value:.6g}" for name, value in zip(names, alpha, strict=True))
    return CorrelationError(
        f"the nested working correlation is not positive definite for {where}: alpha = {found}. "
        "The innermost alpha must be below 1, and no level may be so much less correlated than "
        "the next inner one that sums over its cells have a negative variance. Use "
        "correlation='exchangeable' or leave a level out."
    )
