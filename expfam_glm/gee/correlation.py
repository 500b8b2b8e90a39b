"""Working correlations, declared as values: what `GLM.gee(correlation=…)` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from expfam_glm.errors import ArgumentError, CorrelationError, one_of
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.decay import Decay
from expfam_glm.gee.lagged import Lagged, refuse_distant
from expfam_glm.gee.structures import Common, Identity, Structure
from expfam_glm.gee.table import Table
from expfam_glm.gee.times import numbers

_MOST_TIMES = 2000  # of an unstructured correlation: two million parameters


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
        times, K = clusters.planned.shape[0], clusters.totals.clusters
        if times > _MOST_TIMES:
            raise CorrelationError(
                f"an unstructured correlation of {times} distinct times has "
                f"{times * (times - 1) // 2} parameters, for {K} clusters to tell (at "
                f"most {_MOST_TIMES} times are taken). Give planned occasions as time=, or use "
                "correlation='ar1' or 'exchangeable'."
            )
        return of_pairs(clusters, self.name, times - 1)


@dataclass(frozen=True)
class Toeplitz(Correlation):
    """A correlation of its own for every distance in time.

    Notes
    -----
    R_ij = α_d with d = abs(t_i − t_j); α_d is the mean of r_i r_j/φ over the pairs at distance d.
    Times are numbers or dates (in days) on a grid, gaps allowed.

    References
    ----------
    Hardin and Hilbe (2013), Generalized Estimating Equations, 2nd ed., section 3.2.1.5.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> gee = model.gee("patient", "toeplitz", time="visit")
    >>> gee["fit"]["alpha"].coords["alpha_lag"].values.tolist()
    ['1', '2', '3']
    """

    name: ClassVar[str] = "toeplitz"
    needs_time: ClassVar[bool] = True
    metric: ClassVar[bool] = True

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        return Lagged(clusters, self.name, None)


@dataclass(frozen=True)
class MDependent(Correlation):
    """Correlation between rows at most m apart in time, none beyond.

    Parameters
    ----------
    m : int
        The largest distance at which rows are correlated, from 1.
    stationary : bool
        Whether α depends on the distance only, or on both times.

    Raises
    ------
    ArgumentError
        If m is not a whole number from 1.

    Notes
    -----
    Times are whole numbers or dates (in days). Stationary: R_ij = α_d, the mean of r_i r_j/φ over
    all pairs d = 1, …, m apart. Not stationary: R_ij = α_jk, the mean over the pairs at the times j
    and k.

    References
    ----------
    Liang and Zeger (1986), Biometrika 73, 13-22, example 3.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> gee = model.gee("patient", eg.correlation.MDependent(1), time="visit")
    >>> gee["fit"]["working_correlation"].sel(time=1, time2=[2, 3]).values.round(3).tolist()
    [0.456, 0.0]
    """

    m: int
    stationary: bool = True
    name: ClassVar[str] = "m-dependent"
    needs_time: ClassVar[bool] = True
    metric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.m, bool) or not isinstance(self.m, int | np.integer) or self.m < 1:
            raise ArgumentError(f"m={self.m!r} must be a whole number from 1: a distance in time.")
        if not isinstance(self.stationary, bool | np.bool_):
            raise ArgumentError(f"stationary={self.stationary!r} must be True or False.")
        object.__setattr__(self, "m", int(self.m))
        object.__setattr__(self, "stationary", bool(self.stationary))

    def attrs(self) -> dict[str, str | float | int]:
        return {"correlation_m": self.m, "correlation_stationary": int(self.stationary)}

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        structure = Lagged(clusters, self.name, self.m)
        if self.stationary:
            return structure
        refuse_distant(clusters, self.name, self.m)
        return of_pairs(clusters, self.name, self.m)


def of_pairs(clusters: Clusters, name: str, most: int) -> Structure:
    """An α for every pair of times that are at most so far apart; labels count as 0, 1, 2, …"""
    levels = clusters.planned
    at = numbers(levels) if name == MDependent.name else np.arange(levels.shape[0])
    rows, columns = np.triu_indices(at.shape[0], 1)
    near = at[columns] - at[rows] <= most
    rows, columns = rows[near], columns[near]
    table = np.full((at.shape[0],) * 2, -1)
    table[rows, columns] = table[columns, rows] = np.arange(rows.shape[0])
    labels = [f"{levels[j]!s}, {levels[k]!s}" for j, k in zip(rows, columns, strict=True)]
    return Table(clusters, name, numbers=table, labels=labels)


PLAIN: dict[str, Correlation] = {
    value.name: value
    for value in (Independence(), Exchangeable(), AR1(), Toeplitz(), Unstructured())
}


def named(correlation: str | Correlation) -> Correlation:
    """The working correlation of a name, or the value itself."""
    if isinstance(correlation, Correlation):
        return correlation
    if isinstance(correlation, type) and issubclass(correlation, Correlation):
        raise ArgumentError(
            f"correlation={correlation.__name__} is a class; write {correlation.__name__}(…)."
        )
    if not isinstance(correlation, str) or correlation not in PLAIN:
        raise one_of("correlation", correlation, list(PLAIN))
    return PLAIN[correlation]
