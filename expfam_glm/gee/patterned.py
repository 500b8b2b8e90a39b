"""Working correlations whose matrices are factored densely, once for each distinct set of times."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dtrtri

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.pieces import Piece
from expfam_glm.gee.structures import Root, Structure

# A residual variance given the earlier rows of a cluster below this is not positive.
SINGULAR = 1e-10
# The inverse factor of a cluster of so many rows takes 2 GB.
_MOST_ROWS = 16_000


class Batch(NamedTuple):
    """The clusters of one size, side by side in the sorted rows."""

    rows: slice
    first: int  # number of the first cluster
    patterns: np.ndarray  # (m, size) the distinct sets of times, as codes
    which: np.ndarray  # (clusters,) the pattern of each; (1,) if there is one only
    example: np.ndarray  # (m,) a cluster that has the pattern


class PatternedRoot(Root):
    """T = L⁻¹ with R = L Lᵀ, for all patterns of each size."""

    def __init__(self, batches: dict[int, Batch], inverses: dict[int, np.ndarray]) -> None:
        self.batches = batches
        self.inverses = inverses  # by size, (m, size, size)

    def whiten(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        columns[:] = self._apply(columns, piece, transposed=False)
        return columns

    def precision(self, columns: np.ndarray, piece: Piece) -> np.ndarray:
        return self._apply(self._apply(columns, piece, False), piece, True)

    def _apply(self, columns: np.ndarray, piece: Piece, transposed: bool) -> np.ndarray:
        """L⁻¹ or L⁻ᵀ on the rows of each cluster."""
        batch, inverse = self.batches[piece.size], self.inverses[piece.size]
        if inverse.shape[0] == 1:
            series = np.ascontiguousarray(columns).reshape(-1, piece.size)
            return (series @ (inverse[0] if transposed else inverse[0].T)).reshape(columns.shape)
        first = piece.clusters.start - batch.first
        own = inverse[batch.which[first : first + piece.sizes.shape[0]]]
        blocks = columns.reshape(columns.shape[0], -1, piece.size).transpose(1, 0, 2)
        product = blocks @ (own if transposed else own.transpose(0, 2, 1))
        return product.transpose(1, 0, 2).reshape(columns.shape)


class Patterned(Structure):
    """A structure in which clusters with the same codes have the same matrix."""

    equal_sizes = True
    name: str

    def __init__(self, clusters: Clusters) -> None:
        super().__init__(clusters)
        if clusters.largest > _MOST_ROWS:
            raise CorrelationError(
                f"a cluster of {clusters.largest} rows is too large for this working correlation: "
                f"its matrix alone takes {8e-9 * clusters.largest**2:.1f} GB, and it is factored "
                f"again at every step (at most {_MOST_ROWS} rows are taken). Use "
                "correlation='ar1', 'exchangeable' or 'independence', which need no matrix, or "
                "smaller clusters."
            )

    @cached_property
    @abstractmethod
    def codes(self) -> np.ndarray:
        """(n,) what the matrix of a cluster depends on."""

    @abstractmethod
    def matrices(self, parameter: np.ndarray, patterns: np.ndarray) -> np.ndarray:
        """R (m, size, size) for sets of codes (m, size)."""

    @abstractmethod
    def _times(self, codes: np.ndarray) -> list[str]:
        """How codes are named in messages."""

    def numbers_of(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Which α stands between rows of these codes; −1 for none."""
        raise AssertionError(f"{self.name} has no numbered alpha")

    def products(self, parameter: np.ndarray, r: np.ndarray) -> np.ndarray:
        q = len(self.alpha_labels())
        found = np.zeros((self.clusters.count, q))
        for batch in self.batches.values():
            size = batch.patterns.shape[1]
            codes, own = (v[batch.rows].reshape(-1, size) for v in (self.codes, r))
            last = batch.first + own.shape[0]
            cells = q * np.arange(own.shape[0])[:, None]
            for apart in range(1, size):
                number = self.numbers_of(codes[:, :-apart], codes[:, apart:])
                kept = number >= 0
                product = own[:, :-apart] * own[:, apart:]
                counted = np.bincount((cells + number)[kept], product[kept], own.shape[0] * q)
                found[batch.first : last] += counted.reshape(-1, q)
        return found

    def expected(self, parameter: np.ndarray) -> np.ndarray:
        return self.products(parameter, np.ones(self.clusters.order.shape[0])) * parameter

    def curvature(self, parameter: np.ndarray) -> np.ndarray:
        return np.diag(self.pair_counts)

    def gain(self, lost: int) -> np.ndarray:
        return self.pair_counts / (self.pair_counts - lost)

    @property
    def pair_counts(self) -> np.ndarray:
        """(q,) how many pairs of rows each α has."""
        return self.products(np.empty(0), np.ones(self.clusters.order.shape[0])).sum(axis=0)

    @cached_property
    def batches(self) -> dict[int, Batch]:
        """Clusters by size, so that their matrices can be stacked."""
        clusters, result = self.clusters, {}
        for piece in clusters.pieces(clusters.order.shape[0], equal=True):
            codes = self.codes[piece.rows].reshape(-1, piece.size)
            if np.all(codes == codes[0]):
                patterns, which, example = codes[:1], np.zeros(1, np.intp), np.zeros(1, np.intp)
            else:
                patterns, example, which = np.unique(
                    codes, axis=0, return_index=True, return_inverse=True
                )
            first = piece.clusters.start
            result[piece.size] = Batch(
                piece.rows, first, patterns, which.reshape(-1), first + example
            )
        return result

    def root(self, parameter: np.ndarray) -> Root:
        return PatternedRoot(
            self.batches,
            {size: self._inverses(parameter, batch) for size, batch in self.batches.items()},
        )

    def _inverses(self, parameter: np.ndarray, batch: Batch) -> np.ndarray:
        """Inverse Cholesky factors of R at each set of codes."""
        parts = self.matrices(parameter, batch.patterns)
        try:
            L = np.linalg.cholesky(parts)
            if np.min(np.diagonal(L, axis1=1, axis2=2)) ** 2 > SINGULAR:
                if L.shape[0] == 1:
                    return dtrtri(L[0], lower=1)[0][None]
                return np.linalg.inv(L)
        except np.linalg.LinAlgError:
            pass
        smallest = np.linalg.eigvalsh(parts)[:, 0]
        worst = int(np.argmin(smallest))
        codes = batch.patterns[worst]
        times = ", ".join(self._times(codes[:8])) + (", …" if codes.shape[0] > 8 else "")
        off = np.tril(parts[worst], -1)
        largest = off.reshape(-1)[np.argmax(np.abs(off))]
        raise CorrelationError(
            f"the {self.name} working correlation is not positive definite: for clusters of "
            f"{codes.shape[0]} rows at times {times} its smallest eigenvalue is "
            f"{smallest[worst]:.3g} (it must be above 0), its largest alpha {largest:.6g}."
            f"{self._bound()} Use correlation='exchangeable' or 'ar1', or fewer distinct times."
        )

    def _bound(self) -> str:
        """What bounds α, where a formula says it."""
        return ""
