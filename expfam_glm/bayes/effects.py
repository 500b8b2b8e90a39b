"""Draws of group effects, row by row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from expfam_glm.data.response import Problem


def shift(problem: Problem, draws: Mapping[str, np.ndarray], rows: slice) -> np.ndarray | float:
    """What group effects b_<g> (S, G, q) add to η for some draws, (s, n)."""
    total: np.ndarray | float = 0.0
    for part in problem.frame.effects:
        b, codes, Z = draws[f"b_{part.name}"][rows], problem.restrict(part.codes), part.Z
        for j, column in enumerate(problem.restrict(Z).T):
            total = total + b[:, codes, j] * column
    return total
