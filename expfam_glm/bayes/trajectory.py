"""Which steps NUTS takes: leapfrog, or rotations where a posterior is nearly normal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from expfam_glm.bayes.mode import Density

# Steps that are exact for N(0, I): rotations of position and momentum, between which only what is
# not normal is a force. A step of π would do no more than reflect.
ROTATIONS: dict[str, Any] = {"exact_normal_trajectory": True, "max_step_size": 1.3}
# Where nearly every rotation is accepted, one is a draw: no tree is grown. From draw to draw the
# correlation is cos 2.2 = -0.6 for means and its square for variances, so that after one gradient
# both are known at least as well as after the three of a tree.
ONE_ROTATION = ROTATIONS | {"max_step_size": 2.2, "maxdepth": 1}
_ACCEPTED, _ACCEPTED_FAR = 0.9, 0.5
_NO_STEPS = {"draws", "tune", "chains", "seed", "progressbar", "cores"}  # settings of other things
# With group effects the ratio varies with the number of levels, and on the axis of a log sd with
# the volume that is left to them: neither made a chain diverge.
_NEAR_OF_GROUPS = {"spread": 1.4, "lighter": 4.0, "heavier": 4.0}
_PAIRS = 32  # of opposite points, where a density is held against the normal one
_SPREAD = 1.0  # of the logarithm of the ratio of the two
_FAR = 3.0
_LIGHTER, _HEAVIER = 1.7, 1.0  # of the same logarithm: in heavy tails rotations are turned down
_LEAPS = 64  # from draws of N(0, I), by which the acceptance of a step is judged
_WORST, _LEAPS_OF_END = 4, 16  # far points from which it is judged too, and leaps from each


def steps_of(
    density: Density, dimension: int, settings: Mapping[str, Any], groups: bool, corners: bool
) -> dict[str, Any]:
    """Settings of nutpie for a density of unit coordinates, beside those given."""
    if settings.get("exact_normal_trajectory"):
        return ROTATIONS
    if corners or not nearly_normal(density, dimension, **(_NEAR_OF_GROUPS if groups else {})):
        return {}
    single = settings.keys() <= _NO_STEPS and accepts_rotations(
        density, dimension, ONE_ROTATION["max_step_size"]
    )
    return ONE_ROTATION if single else ROTATIONS


def nearly_normal(
    density: Density,
    dimension: int,
    spread: float = _SPREAD,
    lighter: float = _LIGHTER,
    heavier: float = _HEAVIER,
) -> bool:
    """Whether a density of unit coordinates is close to N(0, I): where that has its mass, and far.

    The logarithm of the ratio of the two must not vary by more than `spread` over draws of N(0, I),
    nor, on an axis `_FAR` away, be less than its value at the centre by `lighter` or more by
    `heavier`.
    """
    half = np.random.default_rng(0).normal(size=(_PAIRS, dimension))
    near = _excess(density, np.concatenate([half, -half]))
    if not (np.isfinite(near).all() and near.std() < spread):
        return False
    far = _excess(density, _ends(dimension)) - _excess(density, np.zeros((1, dimension)))
    return bool(np.all((far > -lighter) & (far < heavier)))


def accepts_rotations(density: Density, dimension: int, angle: float) -> bool:
    """Whether nearly every rotation is accepted, and half of those from the worst far points."""
    rng = np.random.default_rng(1)
    if not acceptance(density, rng.normal(size=(_LEAPS, dimension)), angle) > _ACCEPTED:
        return False
    ends = _ends(dimension)
    off = np.abs(_excess(density, ends) - _excess(density, np.zeros((1, dimension))))
    for end in ends[np.argsort(off)[-_WORST:]]:
        points = np.where(end == 0.0, rng.normal(size=(_LEAPS_OF_END, dimension)), end)
        if not acceptance(density, points, angle) > _ACCEPTED_FAR:
            return False
    return True


def acceptance(density: Density, points: np.ndarray, angle: float) -> float:
    """The mean acceptance of one rotation of position and momentum from some points (m, d).

    Half of the force that is not that of N(0, I) acts before the rotation, half after it; under
    N(0, I) itself every rotation is accepted.
    """
    momenta = np.random.default_rng(2).normal(size=points.shape)
    accepted = []
    for u, momentum in zip(points, momenta, strict=True):
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


def _excess(density: Density, points: np.ndarray) -> np.ndarray:
    """The logarithm of the ratio of a density to N(0, I), up to a constant."""
    return np.array([density(u)[0] + 0.5 * float(u @ u) for u in points])


def _ends(dimension: int) -> np.ndarray:
    """The points `_FAR` away on the axes."""
    axes = _FAR * np.eye(dimension)
    return np.concatenate([axes, -axes])
