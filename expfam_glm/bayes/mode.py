"""The mode of a log-posterior and its curvature there, by gradients; is it nearly normal?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

type Density = Callable[[np.ndarray], tuple[float, np.ndarray]]

_MOST_STEPS = 50
_CLOSE = 1e-8  # of a last step, in posterior standard deviations
_CLOSE_ENOUGH = 1e-4  # where rounding lets no step go uphill any more
_DIFFERENCE = 1e-4  # of the gradient's arguments, in the same unit
_PAIRS = 32  # of opposite points, where a density is held against the normal one
_SPREAD = 1.0  # of the logarithm of the ratio of the two
_FAR = 3.0
_FAR_OFF = 1.7  # of the same logarithm
_LEAPS = 64  # from draws of N(0, I), by which the acceptance of a step is judged


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


def nearly_normal(
    density: Density, dimension: int, spread: float = _SPREAD, far_off: float = _FAR_OFF
) -> bool:
    """Whether a density of unit coordinates is close to N(0, I): where that has its mass, and far.

    The logarithm of the ratio of the two must not vary by more than `spread` over draws of N(0, I),
    nor differ by more than `far_off` from its value at the centre on an axis `_FAR` away.
    """

    def excess(points: np.ndarray) -> np.ndarray:
        return np.array([density(u)[0] + 0.5 * float(u @ u) for u in points])

    half = np.random.default_rng(0).normal(size=(_PAIRS, dimension))
    near = excess(np.concatenate([half, -half]))
    if not (np.isfinite(near).all() and near.std() < spread):
        return False
    axes = _FAR * np.eye(dimension)
    far = excess(np.concatenate([axes, -axes])) - excess(np.zeros((1, dimension)))
    return bool(np.all(np.abs(far) < far_off))


def acceptance(density: Density, dimension: int, angle: float) -> float:
    """The mean acceptance of one rotation of position and momentum, from draws of N(0, I).

    Half of the force that is not that of N(0, I) acts before the rotation, half after it; under
    N(0, I) itself every rotation is accepted.
    """
    rng = np.random.default_rng(1)
    accepted = []
    for u, momentum in rng.normal(size=(_LEAPS, 2, dimension)):
        before, gradient = density(u)
        energy = 0.5 * float(momentum @ momentum) - before
        momentum = momentum + 0.5 * angle * (gradient + u)
        u, momentum = (
            math.cos(angle) * u + math.sin(angle) * momentum,
            math.cos(angle) * momentum - math.sin(angle) * u,
        )
        after, gradient = density(u)
        momentum = momentum + 0.5 * angle * (gradient + u)
        gain = energy - 0.5 * float(momentum @ momentum) + after
        accepted.append(math.exp(min(gain, 0.0)) if math.isfinite(gain) else 0.0)
    return float(np.mean(accepted))
