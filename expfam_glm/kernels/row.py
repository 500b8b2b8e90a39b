"""Row kernels: what a row contributes, compiled from the declaration to NumPy calls on blocks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from expfam_glm.kernels.scratch import scratch
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link
from expfam_glm.spec.program import Program, recalled

RowKernel = Any  # what `recalled` returns: (η, y, r, *shapes) → tuple of arrays


# Rows for which arrays are lent: those of fewer are had at once, those of more are not to be kept.
_LENT = (1 << 11, 1 << 17)


def lent(count: int, rows: int) -> list[np.ndarray] | list[None]:
    """Arrays (rows,) of this thread for a kernel to write to, which its next call writes over."""
    if not _LENT[0] <= rows <= _LENT[1]:
        return [None] * count
    return list(scratch("rows", (count, rows)))


@lru_cache(maxsize=512)
def row_kernel(
    family: Family, link: Link, outputs: tuple[str, ...], unit: bool = False
) -> RowKernel:
    """A function (η, y, r, *shapes) → the named quantities of each row.

    Parameters
    ----------
    family : Family
    link : Link
    outputs : tuple of str
        Names of expressions of `expfam_glm.spec.likelihood.RowModel`.
    unit : bool
        Whether r is 1 for every row: it is not looked at then.

    Returns
    -------
    callable
        Takes η and y as (n,) float64 arrays and r = w/a(φ) as an array or a number; never writes
        to them. A result that does not depend on a row may come back as a number.
    """

    def write() -> Program:
        from expfam_glm.spec.likelihood import row_program

        return row_program(family, link, outputs, unit)

    fact = f"rows of {', '.join(outputs)}" + (" at r = 1" if unit else "")
    return recalled(family.home_under(link), fact, write)
