"""Rows sorted into clusters once, so that every sum over clusters is one NumPy call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from expfam_glm.data.codes import Coded, code
from expfam_glm.errors import DataError, show_rows

_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, eq=False)
class Clusters:
    """The rows of each cluster side by side: larger clusters first, then by time within a cluster.

    All arrays but `order` follow that sorted order; `order` holds the original row numbers.
    """

    order: np.ndarray  # (n,)
    sizes: np.ndarray  # (K,)
    starts: np.ndarray  # (K,) the first row of each cluster
    labels: np.ndarray  # (K,) as given by the user
    time: np.ndarray | None  # (n,) as given, or positions; None where it has no meaning
    waves: Coded | None  # distinct times of all clusters, ascending

    @property
    def count(self) -> int:
        """K."""
        return self.sizes.shape[0]

    @property
    def largest(self) -> int:
        """The number of rows of the largest cluster."""
        return int(self.sizes[0])

    @property
    def pairs(self) -> int:
        """How many pairs of rows share a cluster."""
        sizes = self.sizes.astype(np.int64)
        return int(np.sum(sizes * (sizes - 1)) // 2)

    @cached_property
    def cluster(self) -> np.ndarray:
        """(n,) the cluster of each row."""
        return np.repeat(np.arange(self.count), self.sizes)

    @cached_property
    def position(self) -> np.ndarray:
        """(n,) 0, 1, 2, … within each cluster."""
        return np.arange(self.order.shape[0]) - np.repeat(self.starts, self.sizes)

    @cached_property
    def instants(self) -> np.ndarray:
        """(n,) times as numbers; dates in days since the first one."""
        assert self.time is not None
        return _numbers(self.time)

    @cached_property
    def gaps(self) -> np.ndarray:
        """(n,) time since the previous row of the cluster; infinite on its first row."""
        gaps = np.empty(self.order.shape[0])
        gaps[1:] = np.diff(self.instants)
        gaps[self.starts] = np.inf
        return gaps

    def sums(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Sums over the rows of each cluster, times weights; (n, q) is best in Fortran order."""
        n = self.order.shape[0]
        members = csr_array(
            (np.ones(n) if weights is None else weights, np.arange(n), np.append(self.starts, n)),
            shape=(self.count, n),
        )
        if values.ndim == 1:
            return members @ values
        return np.stack([members @ column for column in values.T], axis=1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """One value a cluster, repeated on each of its rows."""
        return np.repeat(values, self.sizes)


def positions(groups: np.ndarray) -> np.ndarray:
    """For each row, how many earlier rows belong to the same cluster."""
    codes = code(groups).codes
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    before = np.repeat(np.cumsum(sizes) - sizes, sizes)
    result = np.empty(codes.shape[0], np.intp)
    result[order] = np.arange(codes.shape[0]) - before
    return result


def arrange(
    groups: np.ndarray, time: np.ndarray | None = None, *, metric: bool = False
) -> Clusters:
    """Sort rows into clusters.

    Parameters
    ----------
    groups : ndarray (n,)
        Cluster labels of any type.
    time : ndarray (n,), optional
        Times, or labels of occasions; None where the order within a cluster has no meaning.
    metric : bool
        Whether distances between times have a meaning, so that they must be numbers or dates.

    Returns
    -------
    Clusters

    Raises
    ------
    DataError
        For missing labels or times, a single cluster, times that are not numbers where they must
        be, or a time that occurs twice in a cluster.
    """
    groups = np.asarray(groups)
    _refuse_missing(groups, "groups")
    levels, codes = code(groups)
    if levels.shape[0] < 2:
        raise DataError(
            f"groups has one cluster only ({levels[0]!s}, {codes.shape[0]} rows); generalised "
            "estimating equations need several. Name the column that tells the clusters apart, or "
            "use fit()."
        )
    sizes = np.bincount(codes)
    ranking = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(ranking)
    rank[ranking] = np.arange(ranking.shape[0])
    cluster = rank[codes]
    waves = None
    if time is None:
        order = np.argsort(cluster, kind="stable")
    else:
        time = np.asarray(time)
        _refuse_missing(time, "time")
        if metric and time.dtype.kind not in "fiubMm":
            raise DataError(
                f"time must hold numbers or dates, because the correlation depends on distances "
                f"in time; found {show_rows(time, np.arange(time.shape[0]) < 3)}. Use "
                "correlation='unstructured' for named occasions."
            )
        moments = code(time)
        order = np.lexsort((moments.codes, cluster))
        waves = Coded(moments.levels, moments.codes[order])
        time = time[order]
    sizes = sizes[ranking]
    arranged = Clusters(
        order=order,
        sizes=sizes,
        starts=np.cumsum(sizes) - sizes,
        labels=levels[ranking],
        time=time,
        waves=waves,
    )
    _refuse_twice(arranged)
    return arranged


def _refuse_missing(values: np.ndarray, role: str) -> None:
    """Missing labels belong to no cluster."""
    kind = values.dtype.kind
    if kind == "f":
        missing = ~np.isfinite(values)
    elif kind in "Mm":
        missing = np.isnat(values)
    elif kind == "O":
        missing = np.fromiter((v is None or v != v for v in values.tolist()), bool, len(values))
    else:
        return
    if missing.any():
        raise DataError(
            f"{role} has {int(missing.sum())} missing or infinite value(s): "
            f"{show_rows(values, missing)}; fill them in, or leave these rows out."
        )


def _refuse_twice(clusters: Clusters) -> None:
    """A time that occurs twice in a cluster has no place in a correlation over times."""
    if clusters.waves is None:
        return
    codes, cluster = clusters.waves.codes, clusters.cluster
    twice = np.flatnonzero((codes[1:] == codes[:-1]) & (cluster[1:] == cluster[:-1]))
    if twice.size:
        first = twice[0]
        rows = sorted(clusters.order[[first, first + 1]].tolist())
        assert clusters.time is not None
        raise DataError(
            f"time {clusters.time[first]!s} occurs more than once in cluster "
            f"{clusters.labels[cluster[first]]!s} (rows {rows[0]} and {rows[1]}), and so do "
            f"{twice.size - 1} other(s); the correlation needs distinct times within a cluster. "
            "Correct the times, leave time= out to use the order of rows, or use "
            "correlation='exchangeable'."
        )


def _numbers(time: np.ndarray) -> np.ndarray:
    """Times as float64 since the first one, dates in days; whole numbers stay exact."""
    since = time - time.min() if time.dtype.kind in "iMm" else time
    if since.dtype.kind == "m":
        return since / _DAY
    return since.astype(np.float64)
