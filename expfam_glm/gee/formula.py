"""A working correlation that the user writes down as a function R(α, t)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from expfam_glm.errors import CorrelationError
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.patterned import Batch, Patterned
from expfam_glm.gee.structures import SHOWN, Shown, average
from expfam_glm.gee.times import numbers

_ROUNDING = 1e-8  # allowed asymmetry and departure of the diagonal from one
_EXACT = 1e-15
_STEP = 1e-6  # of α, for the slope of R
_AT_BOUND = 1e-8  # of α, from a bound
_FLAT = 1e-8  # of R, which is at most one: a smaller slope is the rounding of differences
_INVOLVED = 0.1  # of the largest share in a direction along which R is flat


class Formula(Patterned):
    """R(α, t) of the times of a cluster, α by least squares on the products of residuals."""

    name = "custom"
    alpha_dims = ("alpha_name",)

    def __init__(
        self,
        clusters: Clusters,
        function: Callable[[np.ndarray, np.ndarray], Any],
        start: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray],
        names: list[str],
    ) -> None:
        super().__init__(clusters)
        assert clusters.waves is not None
        self.function = function
        self.start = start
        self.bounds = bounds
        self.names = names
        levels = clusters.waves.levels
        self.levels = numbers(levels) if levels.dtype.kind in "fiubMm" else levels

    @property
    def codes(self) -> np.ndarray:
        assert self.clusters.waves is not None
        return self.clusters.waves.codes

    def alpha_labels(self) -> list[str]:
        return self.names

    def matrices(self, parameter: np.ndarray, patterns: np.ndarray) -> np.ndarray:
        return np.stack([self._matrix(parameter, self.levels[codes]) for codes in patterns])

    def _matrix(self, alpha: np.ndarray, times: np.ndarray) -> np.ndarray:
        """R(α, t), checked."""
        try:
            R = np.asarray(self.function(alpha, times))
            R = R if R.dtype.kind == "c" else R.astype(float)
        except Exception as failure:
            raise CorrelationError(
                f"the function of the custom correlation failed at {self._at(alpha, times)}: "
                f"{type(failure).__name__}: {failure}"
            ) from failure
        m = times.shape[0]
        wrong = ""
        if R.shape != (m, m):
            wrong = f"has shape {R.shape}, not ({m}, {m})"
        elif R.dtype.kind == "c":
            wrong = "is complex"
        elif not np.all(np.isfinite(R)):
            wrong = "has missing or infinite elements"
        elif np.max(np.abs(R - R.T)) > _ROUNDING:
            wrong = "is not symmetric"
        elif np.max(np.abs(np.diagonal(R) - 1)) > _ROUNDING:
            wrong = "has a diagonal that is not one"
        if wrong:
            raise CorrelationError(f"the custom correlation {wrong} at {self._at(alpha, times)}.")
        return R

    def _at(self, alpha: np.ndarray, times: np.ndarray) -> str:
        shown = ", ".join(map(str, times[:8])) + (", …" if times.shape[0] > 8 else "")
        return f"alpha = {np.array2string(alpha, precision=6)}, times = [{shown}]"

    def pair_sums(self, r: np.ndarray) -> np.ndarray:
        return r

    def estimate(self, sums: np.ndarray, dispersion: float, lost: int) -> np.ndarray:
        pairs = self.clusters.pairs
        average(self.name, np.zeros(()), np.array(pairs), dispersion, lost)
        gain = pairs / (pairs - lost) / dispersion
        parts = []
        for size, batch in self.batches.items():
            if size > 1:
                counts = self._counts(batch)
                below = np.tril_indices(size, -1)
                means = gain * self._products(batch, sums)[:, *below] / counts[:, None]
                parts.append((batch.patterns, below, np.sqrt(counts)[:, None], means))

        def misfit(alpha: np.ndarray) -> np.ndarray:
            return np.concatenate([
                (root * (self.matrices(alpha, patterns)[:, *below] - means)).reshape(-1)
                for patterns, below, root, means in parts
            ])  # fmt: skip

        found = least_squares(
            misfit, self.start, jac="3-point", bounds=self.bounds, x_scale="jac",
            xtol=_EXACT, ftol=_EXACT, gtol=_EXACT, max_nfev=100 * self.start.size,
        )  # fmt: skip
        alpha: np.ndarray = found.x
        return alpha

    def _jacobian(self, alpha: np.ndarray, patterns: np.ndarray) -> np.ndarray:
        """∂R/∂α (m, size, size, q) by central differences."""
        low, high = self.bounds
        columns = []
        for k in range(alpha.size):
            room, size = min(alpha[k] - low[k], high[k] - alpha[k]), max(abs(alpha[k]), 1.0)
            h = np.zeros(alpha.size)
            h[k] = _STEP * (min(size, room) if room > _AT_BOUND * size else size)
            up, down = (np.clip(alpha + s * h, low, high) for s in (1, -1))
            change = self.matrices(up, patterns) - self.matrices(down, patterns)
            columns.append(change / (up[k] - down[k]))
        return np.stack(columns, axis=-1)

    def _at_bound(self, alpha: np.ndarray) -> np.ndarray:
        """Which α have run to an end of their range."""
        low, high = self.bounds
        return np.minimum(alpha - low, high - alpha) <= _AT_BOUND * np.maximum(np.abs(alpha), 1.0)

    def _undetermined(self, alpha: np.ndarray) -> np.ndarray:
        """Which α can change, alone or with others, while R stays the same."""
        curvature = self.curvature(alpha)
        size = np.sqrt(curvature.diagonal())
        flat = size * np.maximum(np.abs(alpha), 1.0) <= _FLAT * np.sqrt(self.clusters.pairs)
        if flat.any():
            return flat
        values, vectors = np.linalg.eigh(curvature / np.outer(size, size))
        share = np.abs(vectors[:, 0])
        return (values[0] <= _FLAT**1.5) & (share > _INVOLVED * share.max())

    def smooth(self, parameter: np.ndarray) -> bool:
        return not (self._at_bound(parameter).any() or self._undetermined(parameter).any())

    def remark(self, parameter: np.ndarray) -> str:
        for which, what in (
            (self._undetermined(parameter), "not determined: R(alpha, t) stays the same while "
             "it changes, and the number given is one of many. Write R with fewer parameters"),
            (self._at_bound(parameter), "at its bound: the products of residuals ask for one "
             "beyond. Give other bounds, or another correlation"),
        ):  # fmt: skip
            if which.any():
                named = ", ".join(np.array(self.names)[which])
                return f"the alpha {named} of the custom correlation is {what}."
        return ""

    def products(self, parameter: np.ndarray, r: np.ndarray) -> np.ndarray:
        return self._weighted(parameter, lambda batch: r[batch.rows])

    def expected(self, parameter: np.ndarray) -> np.ndarray:
        return self._weighted(parameter, None)

    def _weighted(
        self, parameter: np.ndarray, rows: Callable[[Batch], np.ndarray] | None
    ) -> np.ndarray:
        """Σ ∂R_ij/∂α times r_i r_j, or times R_ij, over the pairs of each cluster."""
        found = np.zeros((self.clusters.count, parameter.size))
        for size, batch in self.batches.items():
            below = np.tril_indices(size, -1)
            slope = self._jacobian(parameter, batch.patterns)[:, *below]
            count = (batch.rows.stop - batch.rows.start) // size
            which = batch.which if batch.which.size == count else np.zeros(count, np.intp)
            if rows is None:
                factor = self.matrices(parameter, batch.patterns)[:, *below][which]
            else:
                series = rows(batch).reshape(-1, size)
                factor = series[:, below[0]] * series[:, below[1]]
            found[batch.first : batch.first + count] = np.einsum("kj,kjq->kq", factor, slope[which])
        return found

    def curvature(self, parameter: np.ndarray) -> np.ndarray:
        total = np.zeros((parameter.size,) * 2)
        for size, batch in self.batches.items():
            slope = self._jacobian(parameter, batch.patterns)[:, *np.tril_indices(size, -1)]
            total += np.einsum("k,kjq,kjs->qs", self._counts(batch), slope, slope)
        return total

    def gain(self, lost: int) -> np.ndarray:
        pairs = self.clusters.pairs
        return np.full(self.start.size, pairs / (pairs - lost))

    def _counts(self, batch: Batch) -> np.ndarray:
        """How many clusters have each pattern."""
        if batch.patterns.shape[0] == 1:
            return np.array([float(batch.rows.stop - batch.rows.start) / batch.patterns.shape[1]])
        return np.bincount(batch.which).astype(float)

    def _products(self, batch: Batch, r: np.ndarray) -> np.ndarray:
        """Σ r rᵀ over the clusters of each pattern."""
        series = r[batch.rows].reshape(-1, batch.patterns.shape[1])
        if batch.patterns.shape[0] == 1:
            return (series.T @ series)[None]
        order = np.argsort(batch.which, kind="stable")
        series = series[order]
        edges = np.flatnonzero(np.diff(batch.which[order], prepend=-1))
        return np.add.reduceat(series[:, :, None] * series[:, None, :], edges, axis=0)

    def _times(self, codes: np.ndarray) -> list[str]:
        return [str(self.levels[k]) for k in codes]

    def shown(self, parameter: np.ndarray) -> Shown:
        assert self.clusters.waves is not None
        labels = self.clusters.waves.levels[:SHOWN]
        return Shown(labels, self._matrix(parameter, self.levels[:SHOWN]))
