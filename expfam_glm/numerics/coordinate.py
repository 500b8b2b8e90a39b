"""A coordinate on the whole real line for the open support of a continuous family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expfam_glm.spec.domain import Domain


@dataclass(frozen=True)
class Coordinate:
    """z in (−∞, ∞) for y in an open interval: y itself, its logarithm or its log-odds."""

    support: Domain

    @property
    def bounded(self) -> bool:
        """Whether the support ends somewhere, so that z is logarithmic there."""
        return bool(np.isfinite([self.support.low, self.support.high]).any())

    def y(self, z: np.ndarray) -> np.ndarray:
        """y(z), increasing, with full precision near both ends."""
        low, high = self.support.low, self.support.high
        with np.errstate(all="ignore"):
            if np.isfinite(low) and np.isfinite(high):
                near = (high - low) / (1 + np.exp(np.abs(z)))
                return np.where(z < 0, low + near, high - near)
            if np.isfinite(low):
                return low + np.exp(z)
            return high - np.exp(-z) if np.isfinite(high) else z

    def log_slope(self, z: np.ndarray) -> np.ndarray | float:
        """log dy/dz."""
        low, high = self.support.low, self.support.high
        if np.isfinite(low) and np.isfinite(high):
            return np.log(high - low) - np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z)))
        if np.isfinite(low):
            return z
        return -z if np.isfinite(high) else 0.0

    def z(self, y: np.ndarray) -> np.ndarray:
        """The inverse of y(z); infinite at and beyond the ends."""
        low, high = self.support.low, self.support.high
        if not self.bounded:
            return y
        with np.errstate(all="ignore"):
            if np.isfinite(low) and np.isfinite(high):
                z = np.log((y - low) / (high - y))
            else:
                z = np.log(y - low) if np.isfinite(low) else -np.log(high - y)
        return np.where(y <= low, -np.inf, np.where(y >= high, np.inf, z))

    def inside(self, y: np.ndarray) -> np.ndarray:
        """y rounded to the nearest number inside the open support."""
        low, high = self.support.low, self.support.high
        return np.clip(y, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))
