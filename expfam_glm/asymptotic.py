"""Draws of the asymptotic normal distribution of an estimate, made when one is first looked at.

Many results are read for their estimates alone, and with some hundred coefficients the draws would
take as long as the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from expfam_glm.data.later import later
from expfam_glm.numerics.normal_draws import check_count, matched_normals
from expfam_glm.spec.scale import Scale


@dataclass(frozen=True, eq=False)
class NormalDraws:
    """Moment-matched draws of a normal distribution, all of which one look at any of them makes."""

    centre: np.ndarray  # (p,)
    root: np.ndarray  # (p, p), R with RᵀR the covariance
    chains: int
    draws: int
    random_seed: int

    def __post_init__(self) -> None:
        check_count(self.chains * self.draws, self.centre.size)

    @cached_property
    def values(self) -> np.ndarray:
        """The draws (chains, draws, p)."""
        found = matched_normals(self.centre, self.root, self.chains * self.draws, self.random_seed)
        return found.reshape(self.chains, self.draws, -1)

    def vector(self, known: np.ndarray) -> Any:
        """Variables of which the first of the p are those that are `known`; the others are NaN."""
        shape = (self.chains, self.draws, known.size)
        return later(shape, partial(self._vector, known))

    def scalar(self, place: int, estimate: float, se: float, scale: Scale) -> Any:
        """A parameter whose deviation, in standard errors on its working scale, is one of the p."""
        shape = (self.chains, self.draws)
        return later(shape, partial(self._scalar, place, estimate, se, scale))

    def _vector(self, known: np.ndarray) -> np.ndarray:
        values = self.values[..., : np.count_nonzero(known)]
        if known.all():
            return values
        found = np.full((*values.shape[:2], known.size), np.nan)
        found[..., known] = values
        return found

    def _scalar(self, place: int, estimate: float, se: float, scale: Scale) -> np.ndarray:
        return scale.back(scale.to(estimate) + se * self.values[..., place])
