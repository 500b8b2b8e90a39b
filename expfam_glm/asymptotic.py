"""Draws of the asymptotic normal distribution of an estimate, made when one is first looked at.

Many results are read for their estimates alone, and with some hundred coefficients the draws would
take as long as the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

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
        return _lazily(_Vector(self, known))

    def scalar(self, place: int, estimate: float, se: float, scale: Scale) -> Any:
        """A parameter whose deviation, in standard errors on its working scale, is one of the p."""
        return _lazily(_Scalar(self, place, estimate, se, scale))


class _Drawn(BackendArray):
    """An array that follows from the draws."""

    dtype = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Chains, draws and what else."""
        raise NotImplementedError

    def whole(self) -> np.ndarray:
        """All of it."""
        raise NotImplementedError

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, lambda own: self.whole()[own]
        )


@dataclass(eq=False)
class _Vector(_Drawn):
    draws: NormalDraws
    known: np.ndarray  # (m,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Chains, draws, and the entries of the vector."""
        return self.draws.chains, self.draws.draws, self.known.size

    def whole(self) -> np.ndarray:
        """NaN where nothing is known."""
        values = self.draws.values[..., : np.count_nonzero(self.known)]
        if self.known.all():
            return values
        found = np.full(self.shape, np.nan)
        found[..., self.known] = values
        return found


@dataclass(eq=False)
class _Scalar(_Drawn):
    draws: NormalDraws
    place: int
    estimate: float
    se: float
    scale: Scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Chains and draws."""
        return self.draws.chains, self.draws.draws

    def whole(self) -> np.ndarray:
        """On the parameter's own scale."""
        deviations = self.draws.values[..., self.place]
        return self.scale.back(self.scale.to(self.estimate) + self.se * deviations)


def _lazily(array: _Drawn) -> Any:
    """The array as xarray keeps those of files: read when needed, and then held."""
    lazy: Any = indexing.LazilyIndexedArray(array)
    return indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))


def is_lazy(values: Any) -> bool:
    """Whether an array is one of those."""
    return isinstance(values, indexing.MemoryCachedArray)
