"""Standard errors of α and φ, from the moment equations of all clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.recall import Recalled
from expfam_glm.mle.dispersion import invert_dispersion

_STEP = 1e-6  # relative, for the slope of φ as a function of a(φ)


class Errors(NamedTuple):
    """Robust standard errors; NaN for what was given, or is at an end, or not determined."""

    phi: float
    alpha: np.ndarray | None  # None where the working correlation has no parameter


def standard_errors(recalled: Recalled) -> Errors:
    """Of φ̂ and α̂, by what each cluster adds to their moment equations."""
    equations, state = recalled.equations, recalled.state
    fit = recalled.tree["fit"].to_dataset()
    free = recalled.dispersion is None
    slopes = equations.residual_slopes(state.beta)
    X = equations.sorted[1]
    onto = state.bread.solve(state.scores.T)  # (p, K) what each cluster adds to β̂
    phi_parts = _phi_parts(equations, state, slopes, onto) if free else np.zeros(onto.shape[1])
    of_phi, a = np.nan, state.dispersion
    if free:
        ends = [invert_dispersion(equations.family, a * (1 + s)) for s in (-_STEP, _STEP)]
        of_phi = (ends[1] - ends[0]) / (2 * _STEP * a) * float(np.sqrt(phi_parts @ phi_parts))
    if "alpha" not in fit:
        return Errors(of_phi, None)
    structure = equations.structure
    if recalled.parameter is not None or not structure.smooth(state.parameter):
        return Errors(of_phi, np.full(fit["alpha"].shape, np.nan))
    own = structure.products(state.parameter, equations.at(state.beta).r)  # (K, q)
    gain = structure.gain(equations.lost)
    turned = np.stack([_derivative(equations, state, slopes * column) for column in X], axis=1)
    parts = gain * own / a - structure.expected(state.parameter)
    parts += (gain[:, None] * turned / a @ onto).T
    parts -= np.outer(phi_parts, gain * own.sum(axis=0) / a**2)
    curvature = structure.curvature(state.parameter)
    of_alpha = np.linalg.norm(np.linalg.solve(curvature, parts.T), axis=1)
    return Errors(of_phi, of_alpha.reshape(fit["alpha"].shape))


def _phi_parts(
    equations: Equations, state: State, slopes: np.ndarray, onto: np.ndarray
) -> np.ndarray:
    """What each cluster adds to a(φ̂) (K,)."""
    clusters, r = equations.structure.clusters, equations.at(state.beta).r
    n = equations.X.shape[0]
    count = n if equations.ddof == "geepack" else n - equations.X.shape[1]
    own = clusters.sums(r * r) - clusters.sizes * state.dispersion * count / n
    through_beta = 2 * (equations.sorted[1] @ (r * slopes))
    parts: np.ndarray = (own + through_beta @ onto) / count
    return parts


def _derivative(equations: Equations, state: State, direction: np.ndarray) -> np.ndarray:
    """The derivative of the summed products: quadratic, so that central differences are exact."""
    r, products = equations.at(state.beta).r, equations.structure.products
    h = np.linalg.norm(r) / max(float(np.linalg.norm(direction)), 1e-300)
    ends = [products(state.parameter, r + s * h * direction).sum(axis=0) for s in (1, -1)]
    difference: np.ndarray = (ends[0] - ends[1]) / (2 * h)
    return difference
