"""Covariances of β̂ from the whitened equations: bread, and meat between slices of it."""

from __future__ import annotations

import numpy as np

from expfam_glm.mle.linear import Factor

TYPES = ("robust", "naive")


def naive(bread: Factor, dispersion: float) -> np.ndarray:
    """B⁻¹ = φ (WᵀW)⁻¹, right if the working covariance is."""
    return bread.inverse() * dispersion


def robust(bread: Factor, scores: np.ndarray) -> np.ndarray:
    """B⁻¹ C B⁻¹ with C the sum of squares of the cluster scores (K, p); φ cancels."""
    slices = bread.solve(scores.T)
    return slices @ slices.T
