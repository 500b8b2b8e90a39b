"""Numbers and tables as text: as many figures as their standard errors deserve."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def decimals(values: np.ndarray, figures: int = 3) -> int | None:
    """Decimals that show the smallest value to so many figures; None asks for powers of ten."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not sizes.size:
        return figures
    needed = figures - 1 - math.floor(math.log10(sizes.min()))
    return max(needed, 0) if needed <= 8 and sizes.max() < 1e7 else None


def number(value: float, places: int | None = 2, none: str = "–") -> str:
    """A number with so many decimals, or a dash for what does not exist."""
    if math.isnan(value):
        return none
    text = f"{value:.3e}" if places is None else f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def percent(prob: float) -> str:
    """A probability in percent, without the sign."""
    return f"{100 * prob:g}"


def columns(lines: Iterable[tuple[str, ...]], *, left: int) -> list[str]:
    """Lines of cells as text: so many columns flush left, the others right."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
