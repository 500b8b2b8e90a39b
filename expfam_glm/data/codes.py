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
