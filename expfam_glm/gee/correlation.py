"""Working correlations, declared as values: what `GLM.gee(correlation=…)` takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, CorrelationError, DataError, one_of
from expfam_glm.gee.clusters import Clusters, arrange
from expfam_glm.gee.structures import Common, Decay, Identity, Structure
from expfam_glm.gee.table import Table

_ROUNDING = 1e-8  # allowed asymmetry of a given matrix


class Correlation(ABC):
    """A working correlation R(α) of the rows of a cluster."""

    name: ClassVar[str]
    needs_time: ClassVar[bool] = False
    metric: ClassVar[bool] = False  # whether distances in time matter

    def on(self, groups: np.ndarray, time: np.ndarray | None, given: bool = True) -> Structure:
        """The structure on the clusters of a data set.

        Parameters
        ----------
        groups : ndarray (n,)
        time : ndarray (n,) or None
            Not used by structures in which the order of rows has no meaning.
        given : bool
            Whether the times are the user's; if not, they are positions within clusters.
        """
        clusters = arrange(groups, time if self.needs_time else None, metric=self.metric)
        return self._on(clusters, given)

    @abstractmethod
    def _on(self, clusters: Clusters, given: bool) -> Structure: ...


@dataclass(frozen=True)
class Independence(Correlation):
    """No correlation: R = I, so that β solves the equations of the GLM itself.

    References
    ----------
    Liang and Zeger (1986), Biometrika 73, 13-22, section 2.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> eg.correlation.Independence() == eg.correlation.Independence()
    True
    """

    name: ClassVar[str] = "independence"

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        return Identity(clusters)


@dataclass(frozen=True)
class Exchangeable(Correlation):
    """The same correlation α between all rows of a cluster.

    Notes
    -----
    R_ij = α with −1/(n_max − 1) < α < 1, where n_max is the size of the largest cluster.

    References
    ----------
    Liang and Zeger (1986), Biometrika 73, 13-22, example 4.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> gee = model.gee(groups="patient", correlation=eg.correlation.Exchangeable())
    >>> round(float(gee["fit"]["alpha"]), 3)
    0.345
    """

    name: ClassVar[str] = "exchangeable"

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        return Common(clusters)


@dataclass(frozen=True)
class AR1(Correlation):
    """A correlation that fades with the distance in time: α to the power of abs(t_i − t_j).

    Notes
    -----
    Times are numbers, equally spaced or not, or dates (in days). 0 ≤ α < 1, or −1 < α < 1 where
    all distances are integers. α minimises Σ (r_i r_j/φ − α^d)² over the pairs of rows of a
    cluster, and so solves Σ d α^(d−1) (r_i r_j/φ − α^d) = 0, d = abs(t_i − t_j).

    References
    ----------
    Liang and Zeger (1986), Biometrika 73, 13-22, example 5.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> gee = model.gee(groups="patient", correlation=eg.correlation.AR1(), time="visit")
    >>> gee["fit"]["working_correlation"].sel(time=1, time2=[1, 2, 3]).values.round(3).tolist()
    [1.0, 0.492, 0.242]
    """

    name: ClassVar[str] = "ar1"
    needs_time: ClassVar[bool] = True
    metric: ClassVar[bool] = True

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        return Decay(clusters)


@dataclass(frozen=True)
class Unstructured(Correlation):
    """A correlation of its own for every pair of distinct times.

    Notes
    -----
    Times may be labels of occasions. Clusters may lack some of them; α_jk is estimated from the
    clusters that have both j and k.

    References
    ----------
    Liang and Zeger (1986), Biometrika 73, 13-22, example 6.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> gee = model.gee("patient", eg.correlation.Unstructured(), time="visit")
    >>> gee["fit"]["alpha"].coords["alpha_pair"].values.tolist()
    ['1, 2', '1, 3', '1, 4', '2, 3', '2, 4', '3, 4']
    """

    name: ClassVar[str] = "unstructured"
    needs_time: ClassVar[bool] = True

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        return Table(clusters, self.name, None)


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
        labels = None if times is None else tuple(np.asarray(list(times)).tolist())
        if labels is not None and (len(labels) != R.shape[0] or len(set(labels)) < len(labels)):
            raise ArgumentError(
                f"times of a fixed correlation must be {R.shape[0]} distinct values, one for each "
                f"row of the matrix; got {labels}."
            )
        object.__setattr__(self, "matrix", tuple(map(tuple, R.tolist())))
        object.__setattr__(self, "times", labels)

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        assert clusters.waves is not None
        seen = clusters.waves.levels.tolist()
        R = np.array(self.matrix)
        if self.times is not None:
            strange = [time for time in seen if time not in self.times]
            if strange:
                raise DataError(
                    f"time {', '.join(map(str, strange[:5]))} of the data is not among the times "
                    f"of the fixed correlation, {self.times}."
                )
            rows = [self.times.index(time) for time in seen]
        elif given and len(seen) != R.shape[0]:
            raise DataError(
                f"the data have {len(seen)} distinct times, but the fixed correlation has "
                f"{R.shape[0]} rows; name them with Fixed(matrix, times=[…])."
            )
        elif len(seen) > R.shape[0]:
            raise DataError(
                f"cluster {clusters.labels[0]!s} has {len(seen)} rows, but the fixed correlation "
                f"has {R.shape[0]}; give a larger matrix."
            )
        else:
            rows = list(range(len(seen)))
        return Table(clusters, self.name, R[np.ix_(rows, rows)])


def _correlation_matrix(matrix: ArrayLike) -> np.ndarray:
    """The matrix, exactly symmetric, or what is wrong with it."""
    R = np.asarray(matrix, dtype=float)
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


_NAMED: dict[str, Correlation] = {
    value.name: value for value in (Independence(), Exchangeable(), AR1(), Unstructured())
}


def named(correlation: str | Correlation) -> Correlation:
    """The working correlation of a name, or the value itself."""
    if isinstance(correlation, Correlation):
        return correlation
    if isinstance(correlation, type) and issubclass(correlation, Correlation):
        raise ArgumentError(
            f"correlation={correlation.__name__} is a class; write {correlation.__name__}(…)."
        )
    if not isinstance(correlation, str) or correlation not in _NAMED:
        raise one_of("correlation", correlation, list(_NAMED))
    return _NAMED[correlation]
