"""Working correlations that the user writes down over times: a matrix, or a pattern of α."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, CorrelationError, DataError
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.structures import Structure
from expfam_glm.gee.table import Table

_ROUNDING = 1e-8  # allowed asymmetry of a given matrix


@dataclass(frozen=True, init=False)
class Fixed(Correlation):
    """A known correlation matrix over times.

    Parameters
    ----------
    matrix : array_like (m, m)
        Symmetric, positive definite, ones on the diagonal.
    times : array_like (m,), optional
        The times of its rows. If not given, they are the distinct times of the data in ascending
        order; without times in the data, the positions 0, 1, 2, … within a cluster.

    Raises
    ------
    CorrelationError
        If the matrix is no positive definite correlation matrix.
    ArgumentError
        If the times are not one for each row, or not distinct.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> near = eg.correlation.Fixed([[1.0, 0.5], [0.5, 1.0]], times=["before", "after"])
    >>> near.times
    ('before', 'after')
    """

    matrix: tuple[tuple[float, ...], ...]
    times: tuple[Any, ...] | None
    name: ClassVar[str] = "fixed"
    needs_time: ClassVar[bool] = True

    def __init__(self, matrix: ArrayLike, times: Iterable[Any] | None = None) -> None:
        R = _correlation_matrix(matrix)
        object.__setattr__(self, "matrix", tuple(map(tuple, R.tolist())))
        object.__setattr__(self, "times", _labels(times, R.shape[0], "a fixed correlation"))

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        R = np.array(self.matrix)
        rows = _rows(clusters, given, self.times, R.shape[0], "Fixed(matrix")
        return Table(clusters, self.name, given=R[np.ix_(rows, rows)])


@dataclass(frozen=True, init=False)
class Pattern(Correlation):
    """A matrix over times that says which pairs of times share a parameter.

    Parameters
    ----------
    labels : array_like (m, m)
        Names or numbers of the parameters, symmetric; equal labels are one α. None, 0 and "" stand
        for no correlation. The diagonal is not read.
    times : array_like (m,), optional
        The times of its rows; as for `Fixed` if not given.

    Raises
    ------
    ArgumentError
        If the labels are no symmetric square, name no parameter, or the times are not one for each
        row or not distinct.

    Notes
    -----
    R_jk = α of the label at (j, k), the mean of r_i r_j/φ over all pairs of rows with that label.

    References
    ----------
    Hardin and Hilbe (2013), Generalized Estimating Equations, 2nd ed., section 3.2.1.6.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> pairs = [["", "near", "far", "far"], ["near", "", "near", "far"],
    ...          ["far", "near", "", "near"], ["far", "far", "near", ""]]
    >>> gee = model.gee("patient", eg.correlation.Pattern(pairs), time="visit")
    >>> gee["fit"]["alpha"].coords["alpha_label"].values.tolist()
    ['far', 'near']
    """

    labels: tuple[tuple[Any, ...], ...]
    times: tuple[Any, ...] | None
    name: ClassVar[str] = "pattern"
    needs_time: ClassVar[bool] = True

    def __init__(self, labels: ArrayLike, times: Iterable[Any] | None = None) -> None:
        square = np.asarray(labels, dtype=object)
        m = square.shape[0] if square.ndim else 0
        if square.shape != (m, m) or m < 2:
            raise ArgumentError(
                f"the labels of a pattern must be a square of at least two rows; got shape "
                f"{square.shape}."
            )
        for j in range(m):
            square[j, j] = None
            for k in range(j):
                if square[j, k] != square[k, j]:
                    raise ArgumentError(
                        f"the labels of a pattern must be symmetric: ({j}, {k}) is "
                        f"{square[j, k]!r}, ({k}, {j}) is {square[k, j]!r}."
                    )
        if not any(map(_names, square.reshape(-1))):
            raise ArgumentError("the labels of a pattern name no parameter; use 'independence'.")
        object.__setattr__(self, "labels", tuple(map(tuple, square.tolist())))
        object.__setattr__(self, "times", _labels(times, m, "a pattern"))

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        rows = _rows(clusters, given, self.times, len(self.labels), "Pattern(labels")
        chosen = [[self.labels[j][k] for k in rows] for j in rows]
        seen = {str(label): label for line in chosen for label in line if _names(label)}
        names = sorted(seen)
        number = {name: at for at, name in enumerate(names)}
        table = np.array([[number[str(v)] if _names(v) else -1 for v in line] for line in chosen])
        return Table(clusters, self.name, numbers=table, labels=names, dim="alpha_label")


def _names(label: Any) -> bool:
    """Whether a label of a pattern names a parameter."""
    return label is not None and label != 0 and label != ""


def _labels(times: Iterable[Any] | None, count: int, of: str) -> tuple[Any, ...] | None:
    """The times of the rows of a matrix."""
    if times is None:
        return None
    labels = tuple(np.asarray(list(times)).tolist())
    if len(labels) != count or len(set(labels)) < len(labels):
        raise ArgumentError(
            f"times of {of} must be {count} distinct values, one for each row of the matrix; got "
            f"{labels}."
        )
    return labels


def _rows(
    clusters: Clusters, given: bool, times: tuple[Any, ...] | None, count: int, call: str
) -> list[int]:
    """The rows of a matrix over times for the distinct times of the data."""
    seen = clusters.planned.tolist()
    what = "fixed correlation" if call.startswith("Fixed") else "pattern"
    if times is not None:
        strange = [time for time in seen if time not in times]
        if strange:
            raise DataError(
                f"time {', '.join(map(str, strange[:5]))} of the data is not among the times "
                f"of the {what}, {times}."
            )
        return [times.index(time) for time in seen]
    if given and len(seen) != count:
        raise DataError(
            f"the data have {len(seen)} distinct times, but the {what} has {count} rows; name "
            f"them with {call}, times=[…])."
        )
    if len(seen) > count:
        raise DataError(
            f"cluster {clusters.example!s} has {len(seen)} rows, but the {what} has {count}; "
            "give a larger matrix."
        )
    return list(range(len(seen)))


def _correlation_matrix(matrix: ArrayLike) -> np.ndarray:
    """The matrix, exactly symmetric, or what is wrong with it."""
    try:
        given = np.asarray(matrix)
        if given.dtype.kind not in "fiubO":
            raise TypeError(given.dtype)
        R = given.astype(float)
    except (TypeError, ValueError):
        raise CorrelationError(
            f"a fixed correlation must be a square matrix of real numbers, not {matrix!r:.100}."
        ) from None
    if R.ndim != 2 or R.shape[0] != R.shape[1] or R.shape[0] == 0:
        raise CorrelationError(f"a fixed correlation must be a square matrix; got shape {R.shape}.")
    if not np.all(np.isfinite(R)):
        raise CorrelationError("the fixed correlation has missing or infinite elements.")
    if np.max(np.abs(R - R.T)) > _ROUNDING:
        j, k = np.unravel_index(np.argmax(np.abs(R - R.T)), R.shape)
        raise CorrelationError(
            f"the fixed correlation is not symmetric: element ({j}, {k}) is {R[j, k]:g}, element "
            f"({k}, {j}) is {R[k, j]:g}."
        )
    if np.max(np.abs(np.diagonal(R) - 1)) > _ROUNDING:
        raise CorrelationError(
            f"the diagonal of a correlation is 1, not {np.diagonal(R).tolist()[:5]}; divide a "
            "covariance by the outer product of its standard deviations."
        )
    R = (R + R.T) / 2
    np.fill_diagonal(R, 1.0)
    smallest = np.linalg.eigvalsh(R)[0]
    if smallest <= _ROUNDING:
        raise CorrelationError(
            f"the fixed correlation ({R.shape[0]} rows) is not positive definite: its smallest "
            f"eigenvalue is {smallest:.3g}. Move it towards the identity."
        )
    return R
