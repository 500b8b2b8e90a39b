"""Working correlations of one α for each distance in time: Toeplitz and m-dependent."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from expfam_glm.errors import CorrelationError, DataError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.lags import Lags, lags_among, unit_of
from expfam_glm.gee.patterned import SINGULAR, Batch, Patterned
from expfam_glm.gee.structures import Shown, average
from expfam_glm.gee.whole import Counted

# From this many equally spaced rows on a recursion is faster than a factorisation.
_RECURSION_FROM = 128


def refuse_distant(clusters: Clusters, name: str, most: int) -> None:
    """Refuse clusters in which no two rows are near enough to be correlated."""
    nearest = float(np.min(clusters.steps, initial=np.inf))
    if most < nearest < np.inf:
        raise CorrelationError(
            f"the {name} correlation cannot be estimated: no two rows of a cluster are {most} or "
            f"less apart in time (the nearest are {nearest:g} apart). Number the occasions, or "
            "raise m."
        )


class Lagged(Patterned):
    """R_ij = α_d at the distance d = abs(t_i − t_j), zero beyond the longest one that counts."""

    alpha_dims = ("alpha_lag",)

    def __init__(self, clusters: Clusters, name: str, most: int | None) -> None:
        super().__init__(clusters)
        self.name = name
        self.most = most
        self._unit, regular = unit_of(clusters)
        if not regular:
            raise DataError(
                f"times of a {name} correlation must be equally spaced, gaps allowed, because each "
                "distance in time has its own alpha; these are irregular. Use correlation='ar1', "
                "or give planned occasions as time=."
            )
        if most is not None and self._unit % 1:
            raise DataError(
                f"times of a {name} correlation must be whole numbers apart; some are "
                f"{self._unit:g} apart. Number the occasions."
            )

    @cached_property
    def _lags(self) -> Lags:
        average(self.name, np.zeros(()), np.array(self.clusters.totals.pairs), 1.0, 0)
        lags = lags_among(self.clusters)
        if self.most is not None:
            refuse_distant(self.clusters, self.name, self.most)
        kept = slice(None) if self.most is None else lags.distance <= self.most
        products = lags.products
        return Lags(lags.distance[kept], lags.number[kept], lambda r: products(r)[kept], lags.whole)

    @cached_property
    def codes(self) -> np.ndarray:
        """Steps of time since the first row of the cluster."""
        clusters = self.clusters
        since = clusters.instants - clusters.spread(clusters.instants[clusters.starts])
        return np.rint(since / self._unit).astype(np.intp)

    def alpha_labels(self) -> list[str]:
        return [f"{distance:g}" for distance in self._lags.distance]

    def counted(self) -> Counted:
        lags = lags_among(self.clusters)
        return Counted(lags.distance, lags.number)

    def pair_sums(self, r: np.ndarray) -> np.ndarray:
        return self._lags.products(r)

    def estimate(self, sums: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        lags = self._lags
        scarce = np.flatnonzero(lags.number <= lost)
        if scarce.size:
            raise CorrelationError(
                f"under ddof='p' the {self.name} correlation at the distance "
                f"{lags.distance[scarce[0]]:g} has {lags.number[scarce[0]]:g} pair(s) of rows, "
                f"less {lost} coefficients. Use ddof='none'."
            )
        return sums / (dispersion * (lags.number - lost))

    def _at(self, parameter: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Correlation of rows so many steps apart; NaN where no pair of rows tells it."""
        number = self.numbers_of(np.zeros_like(apart), apart)
        values = np.where(number < 0, np.nan, parameter[number])
        if self.most is not None:
            values[apart > int(self.most / self._unit)] = 0.0
        values[apart == 0] = 1.0
        return values

    def matrices(self, parameter: np.ndarray, patterns: np.ndarray) -> np.ndarray:
        return self._at(parameter, np.abs(patterns[:, :, None] - patterns[:, None, :]))

    def _inverses(self, parameter: np.ndarray, batch: Batch) -> np.ndarray:
        codes = batch.patterns
        size = codes.shape[1]
        if size < _RECURSION_FROM or len(codes) > 1 or np.any(np.diff(codes[0]) != 1):
            return super()._inverses(parameter, batch)
        inverse, good = inverse_factor(self._at(parameter, np.arange(size)))
        if good < size:  # the leading rows alone say why not
            return super()._inverses(parameter, batch._replace(patterns=codes[:, : good + 1]))
        return inverse[None]

    def numbers_of(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        steps = np.rint(self._lags.distance / self._unit).astype(np.intp)
        apart = np.abs(second - first)
        at = np.minimum(np.searchsorted(steps, apart), steps.shape[0] - 1)
        return np.where(steps[at] == apart, at, -1)

    def _times(self, codes: np.ndarray) -> list[str]:
        return [f"{self._unit * code:g}" for code in codes]

    def _bound(self) -> str:
        if self.most != 1 or self._unit != 1:
            return ""
        bound = 0.5 / np.cos(np.pi / (self.clusters.totals.largest + 1))
        return f" A row and its neighbours need |alpha| < {bound:.6g} in the largest cluster."

    def shown(self, parameter: np.ndarray) -> Shown:
        at, times = self._by_time()
        steps = np.rint(at / self._unit).astype(np.intp)
        apart = np.abs(steps[:, None] - steps)
        return Shown(times, self._at(parameter, apart))


def inverse_factor(correlations: np.ndarray) -> tuple[np.ndarray, int]:
    """L⁻¹ of the Toeplitz matrix R = L Lᵀ with this first row, in O(n²).

    Row k is e_k − Σ φ_kj e_(k−j) over the root of the error of predicting row k from the earlier
    ones (Durbin and Levinson). Returns also how many rows have an error that is positive.
    """
    n = correlations.shape[0]
    inverse = np.zeros((n, n))
    inverse[0, 0] = 1.0
    weights, error = np.zeros(0), 1.0  # φ of the nearest row first
    for k in range(1, n):
        last = (correlations[k] - weights @ correlations[k - 1 : 0 : -1]) / error
        weights = np.append(weights - last * weights[::-1], last)
        error *= 1 - last * last
        if not error > SINGULAR:
            return inverse, k
        root = np.sqrt(error)
        inverse[k, :k] = -weights[::-1] / root
        inverse[k, k] = 1 / root
    return inverse, n
