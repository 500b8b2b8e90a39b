"""Normal draws whose sample mean and covariance are the wanted ones, not only in expectation."""

from __future__ import annotations

import numpy as np

from expfam_glm.errors import ArgumentError, ResultError

# An eigenvalue of a covariance in correlation form below -NEGATIVE is not rounding.
NEGATIVE = 1e-8
# Draws of each parameter from which their sample covariance is far from singular.
_MANY = 4


def square_root(V: np.ndarray, name: str) -> np.ndarray:
    """A matrix R with RᵀR = V, for a positive semi-definite V of any rank."""
    spread = np.sqrt(np.maximum(np.diagonal(V), 0))
    unit = np.where(spread > 0, spread, 1)
    roots, vectors = np.linalg.eigh(V / np.outer(unit, unit))
    if V.size and (roots[0] < -NEGATIVE or np.any(np.diagonal(V) < 0)):
        raise ResultError(
            f"covariance {name!r} is not positive semi-definite: its smallest variance is "
            f"{np.diagonal(V).min():.3g}, and the smallest eigenvalue of its correlation form "
            f"{roots[0]:.3g}. Use another covariance type."
        )
    return (vectors * np.sqrt(np.maximum(roots, 0))) @ vectors.T * unit


def matched_normals(n: int, p: int, random_seed: int, onto: np.ndarray) -> np.ndarray:
    """Draws z·onto (n, q), z (n, p) with sample mean 0 and sample covariance I, to rounding."""
    if n <= p:
        raise ArgumentError(
            f"chains × draws = {n} is too few for {p} parameters: at least {p + 1} draws are "
            "needed to match their mean and covariance."
        )
    z = np.random.default_rng(random_seed).standard_normal((n, p))
    # a second round takes the rounding error of the first, where the covariance is nearly singular
    for left in range(2 if n < _MANY * p else 1, 0, -1):
        z -= z.mean(axis=0)
        whitening = np.linalg.inv(np.linalg.cholesky(z.T @ z / (n - 1))).T
        z = z @ (whitening if left > 1 else whitening @ onto)
    return z
