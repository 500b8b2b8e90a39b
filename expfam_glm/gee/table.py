"""Working correlations from a matrix over distinct times: each of its elements given, or an α."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.patterned import Patterned
from expfam_glm.gee.structures import SHOWN, Shown, average
from expfam_glm.gee.whole import Counted

# Doubles of residuals laid out by cluster and time at once.
_WIDE = 1 << 20


class Table(Patterned):
    """A matrix over distinct times: R_jk = α at the number that stands at (j, k), or as given.

    Parameters
    ----------
    clusters : Clusters
    name : str
    given : ndarray (m, m), optional
        The whole matrix, if it is known.
    numbers : ndarray of int (m, m), optional
        Which α stands at each pair of times; −1 where the correlation is zero.
    labels : sequence of str
        Names of the α.
    dim : str
        The dimension of α in the result.
    """

    def __init__(
        self,
        clusters: Clusters,
        name: str,
        *,
        given: np.ndarray | None = None,
        numbers: np.ndarray | None = None,
        labels: Sequence[str] = (),
        dim: str = "alpha_pair",
    ) -> None:
        super().__init__(clusters)
        assert clusters.waves is not None
        self.name = name
        self.given = given
        self.numbers = numbers
        self.labels = list(labels)
        self.waves = clusters.waves
        self.alpha_dims = None if given is not None else (dim,)
        if given is None and (clusters.of is None or clusters.of.counted is not None):
            self._refuse_unseen()

    @property
    def codes(self) -> np.ndarray:
        return self.waves.codes

    @cached_property
    def _upper(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns of the matrix above its diagonal that have an α, and which."""
        assert self.numbers is not None
        rows, columns = np.triu_indices(self.numbers.shape[0], 1)
        number = self.numbers[rows, columns]
        kept = number >= 0
        return rows[kept], columns[kept], number[kept]

    def _products(self, r: np.ndarray) -> np.ndarray:
        """Σ r_j r_k over clusters, for each α."""
        clusters, times = self.clusters, self.waves.levels.shape[0]
        total = np.zeros((times, times))
        if clusters.sizes[-1] == times:
            wide = r.reshape(-1, times)
            total += wide.T @ wide
        else:
            step = max(1, _WIDE // times)
            for first in range(0, clusters.count, step):
                last = min(first + step, clusters.count)
                low = clusters.starts[first]
                high = clusters.starts[last] if last < clusters.count else r.shape[0]
                wide = np.zeros((last - first, times))
                wide[clusters.cluster[low:high] - first, self.codes[low:high]] = r[low:high]
                total += wide.T @ wide
        rows, columns, number = self._upper
        return np.bincount(number, total[rows, columns], minlength=len(self.labels))

    @cached_property
    def _counts(self) -> np.ndarray:
        """How many pairs of rows each α has."""
        whole = self.clusters.of
        if whole is not None and whole.counted is not None:
            return whole.counted.numbers
        return np.rint(self._products(np.ones(self.codes.shape[0])))

    def counted(self) -> Counted | None:
        if self.given is not None:
            return None
        return Counted(np.arange(len(self.labels)), self._counts)

    def _refuse_unseen(self) -> None:
        """An α that no cluster has a pair for tells nothing about itself."""
        times, wanted = self.waves.levels.shape[0], len(self.labels)
        pairs = self.clusters.totals.pairs
        average(self.name, np.zeros(()), np.array(pairs), 1.0, 0)
        missing = None
        if pairs >= wanted:
            missing = np.flatnonzero(self._counts == 0)
            if not missing.size:
                return
        lacking = missing.size if missing is not None else wanted - pairs
        count = f"{lacking}" if missing is not None else f"at least {lacking}"
        shown = ", ".join(f"({self.labels[k]})" for k in ([] if missing is None else missing[:5]))
        raise CorrelationError(
            f"the {self.name} working correlation has {wanted} elements for {times} distinct "
            f"times, and no cluster has both times of {count} of these pairs"
            f"{': ' + shown if shown else ''}. Give time= with the planned occasions, or use "
            "correlation='ar1' or 'exchangeable'."
        )

    def alpha_labels(self) -> list[str]:
        return self.labels

    def pair_sums(self, r: np.ndarray) -> np.ndarray:
        return np.empty(0) if self.given is not None else self._products(r)

    def estimate(self, sums: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        if self.given is not None:
            return np.empty(0)
        scarce = np.flatnonzero(self._counts <= lost)
        if scarce.size:
            raise CorrelationError(
                f"under ddof='p' the {self.name} correlation at ({self.labels[scarce[0]]}) "
                f"has {self._counts[scarce[0]]:g} pair(s) of rows, less {lost} coefficients. Use "
                "ddof='none'."
            )
        return sums / (dispersion * (self._counts - lost))

    def _matrix(self, parameter: np.ndarray) -> np.ndarray:
        if self.given is not None:
            return self.given
        R = np.eye(self.waves.levels.shape[0])
        rows, columns, number = self._upper
        R[rows, columns] = R[columns, rows] = parameter[number]
        return R

    def matrices(self, parameter: np.ndarray, patterns: np.ndarray) -> np.ndarray:
        return self._matrix(parameter)[patterns[:, :, None], patterns[:, None, :]]

    def numbers_of(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        assert self.numbers is not None
        return self.numbers[first, second]

    def _times(self, codes: np.ndarray) -> list[str]:
        return [str(self.waves.levels[k]) for k in codes]

    def shown(self, parameter: np.ndarray) -> Shown:
        return Shown(self.waves.levels[:SHOWN], self._matrix(parameter)[:SHOWN, :SHOWN])
