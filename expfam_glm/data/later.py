"""Arrays of results that are made when one first looks at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from xarray.backends import BackendArray
from xarray.core import indexing


class _Later(BackendArray):
    """An array that is not there yet: its shape and type, and what makes it."""

    def __init__(
        self, shape: tuple[int, ...], make: Callable[[], np.ndarray], dtype: DTypeLike
    ) -> None:
        self.shape, self.make, self.dtype = shape, make, np.dtype(dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, lambda own: self.make()[own]
        )


def later(
    shape: tuple[int, ...], make: Callable[[], np.ndarray], dtype: DTypeLike = np.float64
) -> Any:
    """What `make` returns, as xarray keeps the arrays of files: read when needed, and then held."""
    lazy: Any = indexing.LazilyIndexedArray(_Later(shape, make, dtype))
    return indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))


def is_later(values: Any) -> bool:
    """Whether an array is one of those."""
    return isinstance(values, indexing.MemoryCachedArray)
