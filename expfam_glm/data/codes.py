"""Distinct values of a column numbered, whatever their type."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Coded(NamedTuple):
    """Distinct values, and for each row the position of its value among them."""

    levels: np.ndarray  # (m,)
    codes: np.ndarray  # (n,)


def code(values: np.ndarray) -> Coded:
    """Number the distinct values; ascending where they can be sorted, else as they appear."""
    if values.dtype.kind in "iu" and values.size:
        found_codes = _code_integers(values)
        if found_codes is not None:
            return found_codes
    if values.dtype.kind != "O":
        levels, codes = np.unique(values, return_inverse=True)
        return Coded(levels, codes.reshape(-1))
    listed = values.tolist()
    found: dict[Any, int] = dict.fromkeys(listed, 0)
    try:
        ordered = sorted(found)
    except TypeError:
        ordered = list(found)
    found = {value: number for number, value in enumerate(ordered)}
    levels = np.empty(len(ordered), dtype=object)
    levels[:] = ordered
    codes = np.fromiter((found[value] for value in listed), np.intp, len(listed))
    return Coded(levels, codes)


def _code_integers(values: np.ndarray) -> Coded | None:
    """Integers within a range that can be tabulated; None if it is too wide."""
    low, high = int(values.min()), int(values.max())
    if high - low >= 4 * values.size + 1024:
        return None
    steps = (values - values.dtype.type(low)).astype(np.intp, copy=False)
    seen = np.zeros(high - low + 1, np.intp)
    seen[steps] = 1
    levels = (np.flatnonzero(seen) + low).astype(values.dtype)
    if levels.shape[0] == seen.shape[0]:
        return Coded(levels, steps)
    return Coded(levels, (np.cumsum(seen) - 1)[steps])
