"""Estimates of φ, and the log-likelihood at its maximum."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np

from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, ConvergenceError, is_number, one_of
from expfam_glm.mle.fitness import Fitness
from expfam_glm.mle.saturated import Saturated
from expfam_glm.spec.family import Family

METHODS = ("pearson", "deviance", "ml")
_MOST_STEPS = 100


def invert_dispersion(family: Family, value: float) -> float:
    """φ with a(φ) = value."""
    if family.a.is_identity:
        return value
    from expfam_glm.spec.domain import Positive
    from expfam_glm.spec.inverse import Inverse

    return float(Inverse(family.a, Positive).evaluate(value))


def elasticity(family: Family, phi: float) -> float:
    """d log a/d log φ."""
    return phi * float(family.a.derivative("phi")(phi)) / float(family.a(phi))


def given_number(method: str | float) -> float | None:
    """The dispersion where it is given as a number that can be one."""
    return float(method) if is_number(method) and 0 < method < np.inf else None  # type: ignore[operator]


def estimate(
    problem: Problem, method: str | float, fit: Fitness, saturated: Saturated
) -> tuple[float, bool, float]:
    """φ̂, whether it was estimated, and the standard error of log φ̂ (NaN unless "ml").

    Parameters
    ----------
    problem : Problem
    method : {"pearson", "deviance", "ml"} or float
        A number is used as given and not counted as a parameter.
    fit : Fitness
        At β̂.
    saturated : Saturated

    Raises
    ------
    ArgumentError
        If the method is unknown, or the family's dispersion is known.
    """
    family = problem.family
    if not isinstance(method, str | Real):
        raise one_of("dispersion", method, METHODS)
    if family.phi is not None:
        if not (isinstance(method, str) and method == "pearson"):
            raise ArgumentError(
                f"dispersion={method!r}: the dispersion of {family.name!r} is known to be "
                f"{family.phi:g}; use the quasi family to estimate it."
            )
        return family.phi, False, np.nan
    if not isinstance(method, str) and is_number(method):
        if not (np.isfinite(method) and method > 0):
            raise ArgumentError(f"dispersion={method!r} must be a positive number.")
        return float(method), False, np.nan
    df = problem.n - problem.matrix.shape[1]
    if method == "pearson":
        value = fit.pearson / df if df > 0 else np.nan
        return invert_dispersion(family, value), True, np.nan
    if method == "deviance":
        value = fit.deviance / df if df > 0 else np.nan
        return invert_dispersion(family, value), True, np.nan
    if method == "ml":
        phi, curvature = maximum_likelihood(problem, fit, saturated)
        return phi, True, 1 / np.sqrt(curvature) / elasticity(family, phi)
    raise one_of("dispersion", method, METHODS)


def log_likelihood(problem: Problem, fit: Fitness, phi: float, saturated: Saturated) -> float:
    """Σ f log f(y) at β̂ and φ: −D/(2a) + Σ f {b*(y)w/a + c(y, a/w)}."""
    family = problem.family
    a = float(family.a(phi))
    if family.phi is not None:
        return fit.saturated - fit.deviance / (2 * a)
    return float(saturated.slopes(a)[0]) - fit.deviance / (2 * a)


def likeliest(
    problem: Problem, fit: Fitness, phi: float | None, saturated: Saturated
) -> tuple[float, float]:
    """The log-likelihood at φ, known, given or where it is highest; and a(φ)."""
    phi = problem.family.phi if phi is None else phi
    if phi is None:
        phi, _ = maximum_likelihood(problem, fit, saturated)
    return log_likelihood(problem, fit, phi, saturated), float(problem.family.a(phi))


def maximum_likelihood(problem: Problem, fit: Fitness, saturated: Saturated) -> tuple[float, float]:
    """φ̂ by maximum likelihood at β̂, and the observed information of log a(φ̂).

    Notes
    -----
    Newton's method in τ = log a from D/n, where the answer lies for the normal and the inverse
    Gaussian; steps are halved until the likelihood rises.
    """
    family = problem.family
    slopes = log_scale_slopes(saturated, fit.deviance)
    tau = float(np.log(fit.deviance / problem.n))
    here = slopes(tau)
    for _ in range(_MOST_STEPS):
        if abs(here[1]) <= 1e-11 * problem.n:
            break
        step = -here[1] / here[2] if here[2] < 0 else np.sign(here[1])
        step = float(np.clip(step, -2.0, 2.0))
        new = slopes(tau + step)
        while not new[0] >= here[0] - 1e-12 * abs(here[0]) and abs(step) > 1e-14:
            step /= 2
            new = slopes(tau + step)
        tau, here = tau + step, new
        if abs(step) < 1e-13:
            break
    else:
        raise ConvergenceError(
            f"the maximum-likelihood dispersion of {family.name!r} was not found; use "
            "dispersion='pearson'."
        )
    return invert_dispersion(family, float(np.exp(tau))), float(-here[2])


def log_scale_slopes(saturated: Saturated, deviance: float) -> Callable[[float], np.ndarray]:
    """τ = log a → ℓ, ∂ℓ/∂τ, ∂²ℓ/∂τ² at a β of this deviance."""

    def slopes(tau: float) -> np.ndarray:
        a = np.exp(tau)
        half = deviance / (2 * a)
        return saturated.slopes(a) + np.array([-half, half, -half])

    return slopes
