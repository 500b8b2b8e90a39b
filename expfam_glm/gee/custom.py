"""The working correlation that the user writes down as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.clusters import Clusters
from expfam_glm.gee.formula import Formula
from expfam_glm.gee.structures import Structure


@dataclass(frozen=True, init=False)
class Custom(Correlation):
    """A working correlation R(α, t) of one's own, α estimated.

    Parameters
    ----------
    function : callable
        (alpha (q,), times (m,)) → R (m, m): the correlation matrix of a cluster whose rows were
        observed at these times, in ascending order. Dates are days since the first one of the data,
        times that are not given the positions 0, 1, 2, …
    start : float or array_like (q,)
        Where the search for α begins.
    bounds : (array_like, array_like), optional
        The lowest and the highest α.
    names : sequence of str, length q, optional
        Names of the parameters; 0, 1, 2, … if not given.

    Raises
    ------
    ArgumentError
        If the function cannot be called, or start, bounds and names do not fit together.

    Notes
    -----
    α minimises Σ (r_i r_j/φ − R_ij(α, t))² over the pairs of rows of a cluster, as for AR(1). The
    function is called once for each distinct set of times and value of α.

    References
    ----------
    Liang and Zeger (1986), Biometrika 73, 13-22, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import expfam_glm as eg
    >>> def damped(alpha, times):  # never below a floor
    ...     apart = np.abs(np.subtract.outer(times, times))
    ...     return np.where(apart > 0, alpha[0] + (1 - alpha[0]) * alpha[1] ** apart, 1.0)
    >>> floor = eg.correlation.Custom(damped, start=[0.1, 0.3], bounds=(0, 0.99))
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> model.gee("patient", floor, time="visit")["fit"]["alpha"].values.round(2).tolist()
    [0.12, 0.4]
    """

    function: Callable[[np.ndarray, np.ndarray], Any]
    start: tuple[float, ...]
    bounds: tuple[tuple[float, ...], tuple[float, ...]]
    names: tuple[str, ...]
    name: ClassVar[str] = "custom"
    needs_time: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    def __init__(
        self,
        function: Callable[[np.ndarray, np.ndarray], Any],
        start: ArrayLike,
        *,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        if not callable(function):
            raise ArgumentError(f"function={function!r} must be a function (alpha, times) → R.")
        try:
            first = np.atleast_1d(np.asarray(start, dtype=float))
            low, high = (-np.inf, np.inf) if bounds is None else bounds
            ends = [np.broadcast_to(np.asarray(v, dtype=float), first.shape) for v in (low, high)]
        except (TypeError, ValueError):
            raise ArgumentError(
                f"start={start!r} must be a number for each parameter, and bounds={bounds!r} a "
                "pair (low, high) of such."
            ) from None
        if first.ndim != 1 or not first.size or not np.all((ends[0] < first) & (first < ends[1])):
            raise ArgumentError(
                f"start={start!r} must be a number for each parameter, inside bounds={bounds!r}."
            )
        labels = tuple(map(str, range(first.size) if names is None else names))
        if len(labels) != first.size or len(set(labels)) < len(labels):
            raise ArgumentError(f"names={names!r} must be {first.size} distinct names.")
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "start", tuple(first.tolist()))
        object.__setattr__(self, "bounds", tuple(tuple(end.tolist()) for end in ends))
        object.__setattr__(self, "names", labels)

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        low, high = (np.array(end) for end in self.bounds)
        return Formula(clusters, self.function, np.array(self.start), (low, high), list(self.names))
