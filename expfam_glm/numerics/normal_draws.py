"""Normal draws whose sample mean and covariance are the wanted ones, not only in expectation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.kernels.threads import in_order

# An eigenvalue of a covariance in correlation form below -NEGATIVE is not rounding.
NEGATIVE = 1e-8
# Draws that one generator makes, and columns beyond which products take longer than draws.
_PART, _PART_COLUMNS = 1 << 9, 16
# Draws of each parameter from which their sample covariance is far from singular.
_MANY = 4


def square_root(V: np.ndarray, name: str) -> np.ndarray:
    """A matrix R with RᵀR = V, for a positive semi-definite V of any rank."""
    spread = np.sqrt(np.maximum(np.diagonal(V), 0))
    unit = np.where(spread > 0, spread, 1)
    unscaled = V / np.outer(unit, unit)
    try:
        return np.linalg.cholesky(unscaled).T * unit
    except np.linalg.LinAlgError:  # of a lower rank, or not a covariance
        roots, vectors = np.linalg.eigh(unscaled)
    if V.size and (roots[0] < -NEGATIVE or np.any(np.diagonal(V) < 0)):
        raise ResultError(
            f"covariance {name!r} is not positive semi-definite: its smallest variance is "
            f"{np.diagonal(V).min():.3g}, and the smallest eigenvalue of its correlation form "
            f"{roots[0]:.3g}. Use another covariance type."
        )
    return (vectors * np.sqrt(np.maximum(roots, 0))) @ vectors.T * unit


def check_count(n: int, p: int) -> None:
    """Refuse so few draws of p parameters that they cannot have the wanted covariance."""
    if n <= p:
        raise ArgumentError(
            f"chains × draws = {n} is too few for {p} parameters: at least {p + 1} draws are "
            "needed to match their mean and covariance."
        )


def _sum(parts: Sequence[np.ndarray]) -> np.ndarray:
    return reduce(np.add, parts)


def matched_normals(centre: np.ndarray, root: np.ndarray, n: int, random_seed: int) -> np.ndarray:
    """Draws (n, p) whose sample mean and covariance are `centre` (p,) and RᵀR, to rounding.

    R is `root` (p, p).
    """
    p = centre.size
    check_count(n, p)
    parts = [slice(start, min(start + _PART, n)) for start in range(0, n, _PART)]
    seeds = np.random.SeedSequence(random_seed).spawn(len(parts))
    z = np.empty((n, p))
    work = z.size * max(1, p // _PART_COLUMNS)

    def draw(k: int) -> None:
        np.random.default_rng(seeds[k]).standard_normal(out=z[parts[k]])

    def sums(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        return z[rows].sum(axis=0), np.dot(z[rows].T, z[rows])

    in_order(draw, range(len(parts)), work)
    # a second round takes the rounding error of the first, where the covariance is nearly singular
    for left in range(2 if n < _MANY * p else 1, 0, -1):
        total, squares = map(_sum, zip(*in_order(sums, parts, work), strict=True))
        covariance = (squares - np.outer(total, total / n)) / (n - 1)
        onto = np.linalg.inv(np.linalg.cholesky(covariance)).T
        wanted = np.zeros(p)
        if left == 1:
            onto, wanted = onto @ root, centre
        shift = wanted - (total / n) @ onto

        def transform(rows: slice, onto: np.ndarray = onto, shift: np.ndarray = shift) -> None:
            z[rows] = np.dot(z[rows], onto) + shift

        in_order(transform, parts, work)
    return z
