"""Clusters and times that cannot be used, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from expfam_glm.errors import DataError, show_rows

if TYPE_CHECKING:
    from expfam_glm.gee.clusters import Clusters

_LONGEST = 1e150  # beyond, products of distances are no longer numbers


def refuse_one(label: Any, rows: int) -> NoReturn:
    """One cluster only."""
    raise DataError(
        f"groups has one cluster only ({label!s}, {rows} rows); generalised estimating equations "
        "need several. Name the column that tells the clusters apart, or use fit()."
    )


def refuse_missing(values: np.ndarray, role: str) -> None:
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


def refuse_twice(clusters: Clusters) -> None:
    """A time that occurs twice in a cluster has no place in a correlation over times."""
    if clusters.waves is None:
        return
    codes, cluster = clusters.waves.codes, clusters.cluster
    twice = np.flatnonzero((codes[1:] == codes[:-1]) & (cluster[1:] == cluster[:-1]))
    if twice.size:
        first = twice[0]
        rows = sorted(clusters.order[[first, first + 1]].tolist())
        # the rows of a batch are not numbered as those of the data
        where = "" if clusters.of is not None else f" (rows {rows[0]} and {rows[1]})"
        assert clusters.time is not None
        raise DataError(
            f"time {clusters.time[first]!s} occurs more than once in cluster "
            f"{clusters.labels[cluster[first]]!s}{where}, and so do "
            f"{twice.size - 1} other(s); the correlation needs distinct times within a cluster. "
            "Correct the times, leave time= out to use the order of rows, or use "
            "correlation='exchangeable'."
        )


def refuse_extremes(clusters: Clusters) -> None:
    """Distances in time must be numbers with which one can calculate."""
    with np.errstate(over="ignore"):
        gaps = clusters.gaps
        reach = clusters.instants.max() - clusters.instants.min()
    bad = (gaps <= 1 / _LONGEST) | (np.isinf(gaps) & (clusters.position > 0))
    assert clusters.time is not None
    if bad.any() or not reach < _LONGEST:
        first = int(np.argmax(bad)) if bad.any() else int(np.argmax(clusters.instants))
        raise DataError(
            f"distances in time cannot be calculated with: {clusters.time[first]!s} in cluster "
            f"{clusters.labels[clusters.cluster[first]]!s}"
            f"{'' if clusters.of is not None else f' (row {clusters.order[first]})'} is too near "
            "to the time before it, or too far from the other times, for floating-point numbers. "
            "Give times in another unit, or since a later origin."
        )
