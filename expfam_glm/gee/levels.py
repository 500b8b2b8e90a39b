"""The working correlation of clusters within clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError
from expfam_glm.gee.base import Correlation, Fetch
from expfam_glm.gee.clusters import arrange
from expfam_glm.gee.nested import Cells
from expfam_glm.gee.structures import Structure
from expfam_glm.gee.whole import Whole


@dataclass(frozen=True, init=False)
class Nested(Correlation):
    """Clusters within clusters: one correlation for each level that two rows share.

    Parameters
    ----------
    *levels : str or array_like (n,)
        Columns that divide the clusters, outer levels first; a label means another cell in
        another outer cell.

    Raises
    ------
    ArgumentError
        If no level is given.

    Notes
    -----
    Rows of a cluster that share no level have the correlation α_0, those that share the first l
    levels but not the next have α_l: the mean of r_i r_j/φ over such pairs. Exchangeable is the
    case without levels.

    References
    ----------
    Stoner, Leroux and Puumala (2010), Statistics in Medicine 29, 2471-2488.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> months = eg.correlation.Nested((seizures["visit"] + 1) // 2)
    >>> gee = model.gee("patient", months)
    >>> gee["fit"]["alpha"].coords["alpha_level"].values.tolist()
    ['groups', 'level 1']
    """

    levels: tuple[str | tuple[Any, ...], ...]
    name: ClassVar[str] = "nested"

    def __init__(self, *levels: str | ArrayLike) -> None:
        if not levels:
            raise ArgumentError(
                "a nested correlation needs the column of at least one level within the clusters; "
                "use 'exchangeable' without levels."
            )
        kept = [v if isinstance(v, str) else tuple(np.asarray(v).tolist()) for v in levels]
        object.__setattr__(self, "levels", tuple(kept))

    def on(
        self,
        groups: np.ndarray,
        time: np.ndarray | None,
        given: bool = True,
        column: Fetch | None = None,
        of: Whole | None = None,
    ) -> Structure:
        assert column is not None
        labels = list(self.columns(column).values())
        names = [
            level if isinstance(level, str) else f"level {number}"
            for number, level in enumerate(self.levels, 1)
        ]
        clusters = arrange(groups, within=labels, of=of)
        return Cells(clusters, [values[clusters.order] for values in labels], ["groups", *names])

    def further(self) -> tuple[Any, ...]:
        return self.levels

    def columns(self, column: Fetch) -> dict[str, np.ndarray]:
        return {
            f"groups_level{number}": column(
                level if isinstance(level, str) else np.array(level), f"level {number}"
            )
            for number, level in enumerate(self.levels, 1)
        }
