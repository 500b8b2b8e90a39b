"""What every working correlation is: a value that finds its structure on given clusters."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from expfam_glm.gee.clusters import Clusters, arrange
from expfam_glm.gee.structures import Structure
from expfam_glm.gee.whole import Whole

Fetch = Callable[[Any, str], np.ndarray]


class Correlation(ABC):
    """A working correlation R(α) of the rows of a cluster."""

    name: ClassVar[str]
    needs_time: ClassVar[bool] = False
    metric: ClassVar[bool] = False  # whether distances in time matter
    additive: ClassVar[bool] = True  # whether α is made of sums over clusters

    def on(
        self,
        groups: np.ndarray,
        time: np.ndarray | None,
        given: bool = True,
        column: Fetch | None = None,
        of: Whole | None = None,
    ) -> Structure:
        """The structure on the clusters of a data set.

        Parameters
        ----------
        groups : ndarray (n,)
        time : ndarray (n,) or None
            Not used by structures in which the order of rows has no meaning.
        given : bool
            Whether the times are the user's; if not, they are positions within clusters.
        column : callable, optional
            (source, role) → ndarray (n,), where a structure needs further columns.
        of : Whole, optional
            What these clusters are a part of, where the rows are read in batches.
        """
        clusters = arrange(groups, time if self.needs_time else None, metric=self.metric, of=of)
        return self._on(clusters, given)

    def attrs(self) -> dict[str, str | float | int]:
        """What a result tree holds of its arguments."""
        return {}

    def columns(self, column: Fetch) -> dict[str, np.ndarray]:
        """What a result tree holds of further columns of the data, (n,) by name."""
        return {}

    def further(self) -> tuple[Any, ...]:
        """The further columns, as they were given."""
        return ()

    def _on(self, clusters: Clusters, given: bool) -> Structure:
        raise AssertionError(f"{self.name} builds its structure in `on`")
