"""The default priors: weakly informative, on a scale taken from the data.

Nothing here looks at how y depends on X. The scales are equivariant: a change of the units of a
covariate or of a response with a unit changes the coefficients and their priors alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expfam_glm.data.response import Problem
from expfam_glm.errors import DataError
from expfam_glm.mle.dispersion import invert_dispersion
from expfam_glm.mle.irls import start_space
from expfam_glm.spec.domain import inner_point

_CONSTANT = 1e-12  # standard deviation of a column that is constant, relative to its values
WIDTH = 2.5  # standard deviations of η in one of a covariate: wide, but not absurd


@dataclass(frozen=True)
class Scales:
    """What the data give to the default priors.

    beta: mean and standard deviation of the normal prior of each coefficient. phi: the scale of φ,
    or φ where it is known. eta: the level g(ȳ) less the mean offset. unit: the unit of η. noise:
    the standard deviation |g′(ȳ)|·√{a(φ) V(ȳ)} of one response on the scale of η.
    """

    beta: tuple[tuple[float, float], ...]
    phi: float
    eta: float
    unit: float = 1.0
    noise: float = 1.0


def weakly_informative(problem: Problem) -> Scales:
    """Scales of the default priors.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Scales

    Raises
    ------
    DataError
        If the mean response is not a mean that family and link can have.

    Notes
    -----
    With ȳ the mean response, the unit of η is s = |g′(ȳ)|·m(ȳ), where m is the natural scale of a
    mean: ȳ − low on a half-line, (ȳ − low)(high − ȳ)/(high − low) on an interval, the standard
    deviation of y on the real line. So s = 1 for the log and the logit link, sd(y) for the normal
    family with the identity link, ȳ⁻¹ for the inverse link.

    - A covariate: Normal(0, 2.5 s/sd(x)).
    - The intercept (the first constant column, 1): Normal(g(ȳ) − mean offset, √{(2.5 s)² +
      Σ (x̄ⱼ σⱼ)²}), the spread that it has at x = 0 when the other priors refer to centred
      covariates.
    - Without an intercept s is replaced by √(s² + (g(ȳ) − mean offset)²), because the covariates
      must carry the level too.
    - φ: √φ is exponential with mean √φ₀, a(φ₀) = Σ w (y − ȳ)²/V(ȳ)/(n − 1): φ ~ Weibull(½, φ₀);
      where V has free shape parameters, at the middle of their domains.

    References
    ----------
    Gabry and Goodrich, Prior distributions for rstanarm models (vignette of rstanarm).
    """
    counts = np.ones(problem.row_count) if problem.f is None else problem.f
    level, eta, unit = _centre(problem, counts)
    X = problem.X
    mean = np.average(X, axis=0, weights=counts)
    sd = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=counts))
    constant = sd <= _CONSTANT * np.max(np.abs(X), axis=0)
    ones = np.flatnonzero(constant & (mean != 0))
    if ones.size == 0:
        unit = float(np.hypot(unit, eta))
    scale = np.where(constant, np.where(mean == 0, 1.0, np.abs(mean)), sd)
    centre, sigma = np.zeros(X.shape[1]), WIDTH * unit / scale
    if ones.size:
        first = ones[0]
        others = np.delete(mean * sigma, ones)
        centre[first] = eta / mean[first]
        sigma[first] = np.sqrt((WIDTH * unit) ** 2 + np.sum(others**2)) / abs(mean[first])
    pairs = tuple((float(m), float(s)) for m, s in zip(centre, sigma, strict=True))
    phi = _dispersion(problem, counts, level)
    return Scales(pairs, phi, eta, unit, _noise(problem, level, phi))


def _noise(problem: Problem, level: float, phi: float) -> float:
    """The standard deviation of one response on the scale of η."""
    family = problem.family
    middle = {name: inner_point(domain) for name, domain in family.shape.items()}
    variance = float(family.a(phi)) * float(family.variance(level, **middle))
    return abs(float(problem.link.link.derivative("mu")(level))) * float(np.sqrt(variance))


def intercepts(X: np.ndarray) -> np.ndarray:
    """The columns that are constant and not zero."""
    spread, size = np.ptp(X, axis=0), np.max(np.abs(X), axis=0)
    return np.flatnonzero((spread <= _CONSTANT * size) & (size > 0))


def _centre(problem: Problem, counts: np.ndarray) -> tuple[float, float, float]:
    """ȳ, g(ȳ) less the mean offset, and the unit of η."""
    link = problem.link
    low, high = start_space(problem)
    weights = counts if problem.w is None else counts * problem.w
    level, total = problem.mean, float(weights.sum())
    if not low < level < high:  # half an observation inside the mean space
        middle = 0.5 * (low + high) if np.isfinite(low + high) else (
            low + 1.0 if np.isfinite(low) else high - 1.0
        )  # fmt: skip
        level = (total * level + 0.5 * middle) / (total + 0.5)
    if not low < level < high:
        raise DataError(
            f"the mean response {level:g} is not a mean that {problem.family.name!r} with the "
            f"link {link.name!r} can have, ({low:g}, {high:g}); choose another link."
        )
    spread = float(np.sqrt(_scatter(problem, counts, level, weighted=False) / counts.sum()))
    natural = spread if spread > 0 else 1.0
    if np.isfinite(low) and np.isfinite(high):
        natural = (level - low) * (high - level) / (high - low)
    elif np.isfinite(low):
        natural = level - low
    elif np.isfinite(high):
        natural = high - level
    slope = abs(float(link.link.derivative("mu")(level)))
    shift = 0.0 if problem.offset is None else float(np.average(problem.offset, weights=counts))
    return level, float(link(level)) - shift, slope * natural


def _scatter(problem: Problem, counts: np.ndarray, level: float, weighted: bool = True) -> float:
    """Σ f w (y − level)², or without w, of all the responses that the rows stand for."""
    w = 1.0 if problem.w is None else problem.w
    within = 0.0 if problem.scatter is None else problem.scatter / w
    return float(np.sum((counts * (problem.y - level) ** 2 + within) * (w if weighted else 1.0)))


def _dispersion(problem: Problem, counts: np.ndarray, level: float) -> float:
    """φ₀ from the scatter of y around ȳ; 1 where y is constant."""
    if problem.family.phi is not None:
        return problem.family.phi
    scatter = _scatter(problem, counts, level)
    middle = {name: inner_point(domain) for name, domain in problem.family.shape.items()}
    variance = float(problem.family.variance(level, **middle))
    a = scatter / variance / max(problem.n - 1, 1.0)
    return invert_dispersion(problem.family, a) if a > 0 else 1.0
