"""The mode of a log-posterior and its curvature there, by gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

type Density = Callable[[np.ndarray], tuple[float, np.ndarray]]

_MOST_STEPS = 50
_CLOSE = 1e-8  # of a last step, in posterior standard deviations
_CLOSE_ENOUGH = 1e-4  # where rounding lets no step go uphill any more
_DIFFERENCE = 1e-4  # of the gradient's arguments, in the same unit


@dataclass(frozen=True)
class Search:
    """Where a search for a mode ended.

    step: the length of the last one, in posterior standard deviations, below `close` at a mode.
    root: L with LLᵀ the inverse of minus the Hessian, None where that is not positive definite.
    """

    z: np.ndarray
    root: np.ndarray | None
    step: float
    close: float

    @property
    def found(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The mode and L; None where the density does not bend down, or the search is not over."""
        if self.root is None or not self.step < self.close:
            return None
        return self.z, self.root


def at_mode(
    density: Density, centre: np.ndarray, root: np.ndarray, close: float = _CLOSE
) -> tuple[np.ndarray, np.ndarray] | None:
    """The mode, and L with LLᵀ the inverse of minus the Hessian there; None where none is found."""
    return seek_mode(density, centre, root, close).found


def seek_mode(
    density: Density, centre: np.ndarray, root: np.ndarray, close: float = _CLOSE
) -> Search:
    """Search for the mode by Newton's steps, uphill wherever the density is not concave.

    Parameters
    ----------
    density : callable
        z (d,) → value and gradient.
    centre, root : ndarray (d,), (d, d)
        A point nearby and the root of a covariance there.
    close : float
        Length of the last step, in posterior standard deviations.

    Returns
    -------
    Search
    """
    z = centre
    for _ in range(_MOST_STEPS):
        value, gradient = density(z)
        values, vectors = np.linalg.eigh(_curvature(density, z, root))
        bent = np.maximum(np.abs(values), 1e-6)  # uphill wherever the density is not concave yet
        step = vectors @ ((vectors.T @ (root.T @ gradient)) / bent)
        if np.linalg.norm(step) < close and values[0] > 0:
            break
        for k in range(40):
            moved = z + root @ step * 0.5**k
            if density(moved)[0] >= value - 1e-10 * abs(value):
                z = moved
                break
        else:
            close = max(close, _CLOSE_ENOUGH)
            break
    else:
        close = max(close, _CLOSE_ENOUGH)
    curved = None
    if values[0] > 0:  # triangular: the last axis moves the last parameter alone
        half = root @ (vectors / np.sqrt(values))
        curved = np.linalg.qr(half.T, mode="r").T
    return Search(z, curved, float(np.linalg.norm(step)), close)


def _curvature(density: Density, z: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Minus the Hessian in u, z + Lu, by central differences of the gradient."""
    columns = []
    for direction in root.T:
        up, down = (density(z + sign * _DIFFERENCE * direction)[1] for sign in (1.0, -1.0))
        columns.append(root.T @ (down - up) / (2 * _DIFFERENCE))
    matrix = np.array(columns)
    return 0.5 * (matrix + matrix.T)
