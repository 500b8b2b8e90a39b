"""Rows sorted into clusters once, so that every sum over clusters is one NumPy call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from expfam_glm.data.codes import Coded, code
from expfam_glm.errors import DataError, show_rows
from expfam_glm.gee.pieces import Piece
from expfam_glm.gee.times import numbers
from expfam_glm.gee.unusable import refuse_extremes, refuse_missing, refuse_one, refuse_twice
from expfam_glm.gee.whole import Totals, Whole, refuse_many_times


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
    of: Whole | None = None  # what these clusters are a part of, where they are read in batches

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

    @property
    def totals(self) -> Totals:
        """Of all clusters, of which these may be a part."""
        return self.own_totals if self.of is None else self.of.totals

    @property
    def own_totals(self) -> Totals:
        """Of these clusters."""
        return Totals(self.count, self.order.shape[0], self.pairs, self.largest)

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
        return numbers(self.time, None if self.of is None else self.of.first)

    @cached_property
    def gaps(self) -> np.ndarray:
        """(n,) time since the previous row of the cluster; infinite on its first row."""
        gaps = np.empty(self.order.shape[0])
        gaps[1:] = np.diff(self.instants)
        gaps[self.starts] = np.inf
        return gaps

    @property
    def example(self) -> Any:
        """The label of the largest cluster."""
        known = None if self.of is None else self.of.example
        return self.labels[0] if known is None else known.label

    @property
    def planned(self) -> np.ndarray:
        """The distinct times of all clusters, each of which has a place in a matrix."""
        assert self.waves is not None
        if self.of is not None and self.of.times.values is None:
            refuse_many_times()
        return self.waves.levels

    @property
    def steps(self) -> np.ndarray:
        """Times between neighbours of all clusters; in batches, the distinct ones."""
        return self.own_steps if self.of is None else self.of.steps

    @property
    def own_steps(self) -> np.ndarray:
        """Times between neighbours of these clusters."""
        return self.gaps[np.isfinite(self.gaps)]

    @cached_property
    def whole(self) -> Piece:
        """All rows as one piece."""
        return self._piece(0, self.count)

    def pieces(self, most: int, *, equal: bool = False, clusters: int | None = None) -> list[Piece]:
        """Runs of whole clusters with at most so many rows, unless one cluster has more.

        Parameters
        ----------
        most : int
        equal : bool
            Whether all clusters of a piece must have the same size.
        clusters : int, optional
            The most clusters of a piece.
        """
        ends = np.append(self.starts, self.order.shape[0])
        stops = [self.count]
        if equal:
            stops = np.flatnonzero(np.diff(self.sizes, append=0)).tolist()
            stops = [stop + 1 for stop in stops]
        pieces, first = [], 0
        for stop in stops:
            while first < stop:
                last = int(np.searchsorted(ends, ends[first] + most, side="right")) - 1
                last = min(max(last, first + 1), stop, first + (clusters or stop))
                pieces.append(self._piece(first, last))
                first = last
        return pieces

    def _piece(self, first: int, last: int) -> Piece:
        sizes = self.sizes[first:last]
        low = int(self.starts[first])
        return Piece(
            slice(low, low + int(sizes.sum())),
            slice(first, last),
            int(sizes[0]) if sizes[0] == sizes[-1] else 0,
            self.starts[first:last] - low,
            sizes,
        )

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows (the last axis) of each cluster."""
        return self.whole.sums(values)

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
    groups: np.ndarray,
    time: np.ndarray | None = None,
    *,
    metric: bool = False,
    within: Sequence[np.ndarray] = (),
    of: Whole | None = None,
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
    within : sequence of ndarray (n,)
        Labels by which the rows of a cluster are sorted, if there is no time; the first counts
        most.
    of : Whole, optional
        What these clusters are a part of; one of them is then enough.

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
    refuse_missing(groups, "groups")
    levels, codes = code(groups)
    if levels.shape[0] < 2 and of is None:
        refuse_one(levels[0], codes.shape[0])
    sizes = np.bincount(codes)
    ranking = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(ranking)
    rank[ranking] = np.arange(ranking.shape[0])
    cluster = rank[codes]
    waves = None
    if time is None:
        keys = [code(np.asarray(labels)).codes for labels in within]
        order = _sorted((cluster, *keys))
    else:
        time = np.asarray(time)
        refuse_missing(time, "time")
        if metric and time.dtype.kind not in "fiubMm":
            raise DataError(
                f"time must hold numbers or dates, because the correlation depends on distances "
                f"in time; found {show_rows(time, np.arange(time.shape[0]) < 3)}. Use "
                "correlation='unstructured' for named occasions."
            )
        moments = code(time) if of is None else of.coded(time)
        order = _sorted((cluster, moments.codes))
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
        of=of,
    )
    refuse_twice(arranged)
    if metric:
        refuse_extremes(arranged)
    return arranged


def _sorted(keys: tuple[np.ndarray, ...]) -> np.ndarray:
    """The order of rows by the keys, the first of which counts most."""
    rising = np.zeros(keys[0].shape[0] - 1, bool)
    equal = np.ones_like(rising)
    for key in keys:  # data are often sorted already
        rising |= equal & (key[1:] > key[:-1])
        equal &= key[1:] == key[:-1]
    if np.all(rising | equal):
        return np.arange(keys[0].shape[0])
    return np.lexsort(keys[::-1])
