"""Quasi-Newton steps from the scores of the points that were passed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Secants:
    """Steps to the root of a score, with an inverse information that learns from them.

    The update is that of Broyden, Fletcher, Goldfarb and Shanno, by its two loops (Nocedal 1980).

    Parameters
    ----------
    first : callable
        v (p,) → A v, for a first guess A of the inverse information.
    """

    def __init__(self, first: Callable[[np.ndarray], np.ndarray]) -> None:
        self.first = first
        self.pairs: list[tuple[np.ndarray, np.ndarray, float]] = []
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def step(self, beta: np.ndarray, score: np.ndarray) -> np.ndarray:
        """The step from β, after what its score tells of the way since the last call."""
        if self.last is not None:
            moved, lost = beta - self.last[0], self.last[1] - score
            curvature = float(moved @ lost)
            if curvature > 0:
                self.pairs.append((moved, lost, curvature))
        self.last = beta, score
        parts = []
        rest = score
        for moved, lost, curvature in reversed(self.pairs):
            parts.append(float(moved @ rest) / curvature)
            rest = rest - parts[-1] * lost
        step = self.first(rest)
        for (moved, lost, curvature), part in zip(self.pairs, reversed(parts), strict=True):
            step = step + moved * (part - float(lost @ step) / curvature)
        return step
