"""Working correlations from a matrix over distinct times: unstructured and fixed."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.structures import SHOWN, Shown, Structure

# A residual variance given the earlier rows of a cluster below this is not positive.
_SINGULAR = 1e-10


class Batch(NamedTuple):
    """The clusters of one size, side by side in the sorted rows."""

    rows: slice
    patterns: np.ndarray  # (m, size) the distinct sets of times
    which: np.ndarray  # (clusters,) the pattern of each; (1,) if there is one only


class Table(Structure):
    """A matrix over distinct times; clusters of one size are factored and whitened together."""

    def __init__(self, clusters: Clusters, name: str, matrix: np.ndarray | None) -> None:
        super().__init__(clusters)
        self.name = name
        self.given = matrix
        assert clusters.waves is not None
        self.waves = clusters.waves
        self.alpha_dims = None if matrix is not None else ("alpha_pair",)
        if matrix is None:
            self._refuse_unseen()

    @cached_property
    def _upper(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the matrix above its diagonal."""
        return np.triu_indices(self.waves.levels.shape[0], 1)

    def _products(self, r: np.ndarray) -> np.ndarray:
        """Σ r_j r_k over clusters, for each pair of times."""
        wide = np.zeros((self.clusters.count, self.waves.levels.shape[0]))
        wide[self.clusters.cluster, self.waves.codes] = r
        return (wide.T @ wide)[self._upper]

    @cached_property
    def _counts(self) -> np.ndarray:
        """How many clusters have both times of each pair."""
        return np.rint(self._products(np.ones(self.waves.codes.shape[0])))

    def _refuse_unseen(self) -> None:
        """A pair of times that no cluster has tells nothing about its correlation."""
        self._average(self.name, 0.0, self.clusters.pairs, 1.0, 0)
        times = self.waves.levels.shape[0]
        wanted = times * (times - 1) // 2
        missing = None
        if self.clusters.pairs >= wanted:
            missing = np.flatnonzero(self._counts == 0)
            if not missing.size:
                return
        lacking = missing.size if missing is not None else wanted - self.clusters.pairs
        count = f"{lacking}" if missing is not None else f"at least {lacking}"
        shown = ", ".join(f"({self._pair(k)})" for k in ([] if missing is None else missing)[:5])
        raise CorrelationError(
            f"the unstructured working correlation has {wanted} elements for {times} distinct "
            f"times, and no cluster has both times of {count} of these pairs"
            f"{': ' + shown if shown else ''}. Give time= with the planned occasions, or use "
            "correlation='ar1' or 'exchangeable'."
        )

    def _pair(self, k: int) -> str:
        rows, columns = self._upper
        return f"{self.waves.levels[rows[k]]!s}, {self.waves.levels[columns[k]]!s}"

    def alpha_labels(self) -> list[str]:
        return [self._pair(k) for k in range(self._upper[0].shape[0])]

    def moments(self, r: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        if self.given is not None:
            return np.empty(0)
        scarce = np.flatnonzero(self._counts <= lost)
        if scarce.size:
            raise CorrelationError(
                f"under ddof='p' the unstructured correlation at times ({self._pair(scarce[0])}) "
                f"has {self._counts[scarce[0]]:g} pair(s) of rows, less {lost} coefficients. Use "
                "ddof='none'."
            )
        return self._products(r) / (dispersion * (self._counts - lost))

    def _matrix(self, parameter: np.ndarray) -> np.ndarray:
        if self.given is not None:
            return self.given
        R = np.eye(self.waves.levels.shape[0])
        R[self._upper] = parameter
        R[self._upper[::-1]] = parameter
        return R

    @cached_property
    def _batches(self) -> list[Batch]:
        """Clusters by size, so that their matrices can be stacked."""
        result = []
        sizes, at = np.unique(self.clusters.sizes[::-1], return_counts=True)
        stop = self.waves.codes.shape[0]
        for size, count in zip(sizes.tolist(), at.tolist(), strict=True):
            rows = slice(stop - size * count, stop)
            stop = rows.start
            waves = self.waves.codes[rows].reshape(count, size)
            if np.all(waves == waves[0]):
                patterns, which = waves[:1], np.zeros(1, np.intp)
            else:
                patterns, which = np.unique(waves, axis=0, return_inverse=True)
            result.append(Batch(rows, patterns, which.reshape(-1)))
        return result

    def whiten(self, parameter: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """T = L⁻¹ with R = L Lᵀ, the rows and columns of R that a cluster has."""
        R = self._matrix(parameter)
        for rows, patterns, which in self._batches:
            inverse = np.linalg.inv(self._factor(R, patterns))
            size = patterns.shape[1]
            if patterns.shape[0] == 1:
                series = columns.T[:, rows].reshape(-1, size)
                columns.T[:, rows] = (series @ inverse[0].T).reshape(columns.shape[1], -1)
            else:
                blocks = columns[rows].reshape(-1, size, columns.shape[1])
                columns[rows] = (inverse[which] @ blocks).reshape(-1, columns.shape[1])
        return columns

    def _factor(self, R: np.ndarray, patterns: np.ndarray) -> np.ndarray:
        """Cholesky factors of R at each set of times."""
        parts = R[patterns[:, :, None], patterns[:, None, :]]
        try:
            L = np.linalg.cholesky(parts)
            if np.min(np.diagonal(L, axis1=1, axis2=2)) ** 2 > _SINGULAR:
                return L
        except np.linalg.LinAlgError:
            pass
        smallest = np.linalg.eigvalsh(parts)[:, 0]
        worst = int(np.argmin(smallest))
        times = ", ".join(str(self.waves.levels[k]) for k in patterns[worst][:8])
        more = ", …" if patterns.shape[1] > 8 else ""
        largest = np.max(np.abs(np.tril(parts[worst], -1)))
        raise CorrelationError(
            f"the {self.name} working correlation is not positive definite: for clusters of "
            f"{patterns.shape[1]} rows at times {times}{more} its smallest eigenvalue is "
            f"{smallest[worst]:.3g} (it must be above 0), its largest alpha {largest:.6g}. Use "
            "correlation='exchangeable' or 'ar1', or fewer distinct times."
        )

    def shown(self, parameter: np.ndarray) -> Shown:
        return Shown(self.waves.levels[:SHOWN], self._matrix(parameter)[:SHOWN, :SHOWN])
