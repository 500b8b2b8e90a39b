"""Profile-likelihood intervals of coefficients, shape parameters and the dispersion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.errors import ArgumentError, FitWarning, ResultError, warn
from expfam_glm.mle.fitness import fitness
from expfam_glm.mle.irls import Scoring
from expfam_glm.mle.parameter_profile import (
    ParameterProfile,
    dispersion_profile,
    shape_profile,
)
from expfam_glm.mle.profile import Profile
from expfam_glm.results.fitted import estimated_dispersion
from expfam_glm.results.probability import interval_prob
from expfam_glm.results.refit import Refit, refit_of
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

# Points of the stored profile, and how far it goes beyond the interval.
_POINTS = 17
_BEYOND = 1.15
_SIDES = np.array([-1.0, 1.0])
_OF_PEAK = ("estimate", "se")


def profile(
    tree: xr.DataTree,
    *,
    coefs: Sequence[str] | None = None,
    parameters: Sequence[str] | None = None,
    ci_prob: float | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> xr.Dataset:
    """Profile-likelihood intervals of coefficients or other parameters, and the profiles.

    Parameters
    ----------
    tree : DataTree
        What `fit` returned, also when read back from a file.
    coefs : sequence of str, optional
        Coefficients to profile; all that are determined if not given.
    parameters : sequence of str, optional
        Parameters to profile in the place of coefficients: shapes that were estimated, by name,
        and "phi" where it is free.
    ci_prob : float, optional
        Probability of the intervals; that of the fit, or ArviZ's `stats.ci_prob`, if not given.
    family, link : optional
        The declarations, where they are the user's own.

    Returns
    -------
    xarray.Dataset
        On the scale of the linear predictor, or of the parameter: `estimate`, `se` and `interval
        (coef, ci_bound)`, of which `parameters` are maximum-likelihood estimates; the
        signed root `root (coef, point)` at the values `value (coef, point)`, NaN where there is no
        admissible fit. Attributes: `ci_prob`, `level` (the quantile that the root is compared
        with), `df`.

    Raises
    ------
    ResultError
        If the tree is not of `fit`, or was fitted with sampling weights; for `parameters`, also
        after a fit with a penalty, or at an edge of a shape's domain.
    ArgumentError
        For unknown coefficients or parameters, or a declaration that is needed.

    Warns
    -----
    FitWarning
        If an end does not exist: the domain of the link ends before (NaN), or the likelihood levels
        off (infinite).

    Notes
    -----
    The interval holds the values at which abs(τ) is at most the normal quantile, or t(n − p)'s
    where φ is estimated: τ(b) = sign(b − β̂ⱼ) √{[D(b) − D(β̂)]/a(φ̂)}, D(b) being the smallest
    deviance with βⱼ = b, and φ̂ Pearson's. It is the likelihood-ratio test inverted.

    Where the fit estimated a shape, τ² is 2{ℓ̂ − ℓ(b)}, with shapes and a free φ estimated again for
    every b, against the normal quantile. R's `confint` of a `glm.nb` holds θ instead: for that,
    fit with the shape given.

    Under a penalty τ² is 2{ℓ* − ℓ*(b)} with ℓ* = ℓ + log prior at φ̂, the interval of R's `logistf`;
    Firth's has an ℓ* under the canonical link alone, where it is Jeffreys'.

    For `parameters` τ² is 2{ℓ̂ − ℓ(ψ)}, ℓ(ψ) being the highest log-likelihood over all else,
    against the normal quantile; φ̂ is the maximum-likelihood estimate, whatever the fit took. An
    end at an edge of a shape's domain (α = 0) says that the likelihood stays high up to there.

    References
    ----------
    Venables and Ripley (2002), Modern Applied Statistics with S, 4th ed., section 8.4.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> found = profile(model.fit(), ci_prob=0.95)
    >>> found["interval"].sel(coef="temperature").values.round(4).tolist()
    [-0.2122, -0.0245]
    """
    refit = refit_of(tree, "profile", family, link, penalised=parameters is None)
    prob = interval_prob(ci_prob, tree)
    profiles: list[Profile | ParameterProfile]
    if parameters is None:
        df, chosen = refit.df, _chosen(refit, coefs)
        labels = [refit.problem.labels[j] for j in chosen]
        profiles = [Profile(refit.peak, j) for j in chosen]
    elif coefs is not None:
        raise ArgumentError("give coefs= or parameters=, each in a call of its own.")
    else:
        df, labels = np.inf, _names(parameters, "parameters", _parameters(refit))
        profiles = [_of_parameter(refit, name) for name in labels]
    level = float(-stdtrit(df, (1 - prob) / 2))
    ends = np.array([[p.crossing(-level), p.crossing(level)] for p in profiles])
    values = np.stack([_grid(p, end, level) for p, end in zip(profiles, ends, strict=True)])
    roots = np.array(
        [[p.root(value) for value in grid] for p, grid in zip(profiles, values, strict=True)]
    )
    estimates, errors = (np.array([getattr(p, name) for p in profiles]) for name in _OF_PEAK)
    for k, p in enumerate(profiles):
        if isinstance(p, ParameterProfile):
            errors[k] *= abs(p.slope)
            estimates[k] = p.back(estimates[k])
            order = 1 if p.slope > 0 else -1
            ends[k] = [p.back(end) for end in ends[k, ::order]]
            values[k] = [p.back(value) for value in values[k, ::order]]
            roots[k] = order * roots[k, ::order]
    _remark(labels, ends)
    return xr.Dataset(
        {
            "estimate": ("coef", estimates),
            "se": ("coef", errors),
            "interval": (("coef", "ci_bound"), ends),
            "value": (("coef", "point"), values),
            "root": (("coef", "point"), roots),
        },
        coords={"coef": labels, "ci_bound": ["lower", "upper"], "point": np.arange(_POINTS)},
        attrs={"ci_prob": prob, "level": level, "df": df},
    )


def _chosen(refit: Refit, coefs: Sequence[str] | None) -> list[int]:
    """Positions of the coefficients asked for."""
    labels = list(refit.problem.labels)
    if coefs is None:
        return list(range(len(labels)))
    return [labels.index(name) for name in _names(coefs, "coefs", labels)]


def _names(given: Any, argument: str, known: list[str]) -> list[str]:
    """The names asked for, all of which are known."""
    asked = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        of = "determined coefficients" if argument == "coefs" else "estimated parameters"
        raise ArgumentError(
            f"{argument}={asked!r}: {', '.join(map(repr, unknown)) or 'nothing'} is not among the "
            f"{of} {', '.join(known)}."
        )
    return asked


def _parameters(refit: Refit) -> list[str]:
    """What was estimated beside the coefficients, by likelihood or so that it could be."""
    family = (refit.free or refit.problem).family
    if "limit_family" in refit.tree.attrs:
        raise ResultError(
            "the shape parameter is at the edge of its domain, where the likelihood has no slope "
            f"of its own: the fit is that of {refit.tree.attrs['limit_family']!r}."
        )
    if family.is_quasi:
        raise ResultError(
            f"the quasi family {family.name!r} has no likelihood of its dispersion; profile "
            "coefficients, or fit a family with a density."
        )
    phi = ["phi"] if family.phi is None and estimated_dispersion(refit.tree) else []
    found = [*family.shape, *phi]
    if not found:
        raise ArgumentError(f"no parameter of {family.name!r} was estimated but coefficients.")
    return found


def _of_parameter(refit: Refit, name: str) -> ParameterProfile:
    """The profile of a shape or of φ."""
    if refit.free is not None:
        fit, family = refit.tree["fit"], refit.free.family
        near = {shape: float(fit[shape]) for shape in family.shape}
        given = family.phi is None and not estimated_dispersion(refit.tree)
        return shape_profile(refit.free, name, near, float(fit["phi"]) if given else None)
    problem, blocks = refit.problem, MemoryBlocks(refit.problem)
    objective = Scoring(problem, blocks, 1e-8, 1).sums(refit.beta).objective
    return dispersion_profile(problem, fitness(problem, blocks, refit.beta, objective))


def _grid(profile: Profile | ParameterProfile, ends: np.ndarray, level: float) -> np.ndarray:
    """Values a little beyond both ends; the Wald interval stands for an end that is missing."""
    reach = np.where(np.isfinite(ends), ends, profile.estimate + level * profile.se * _SIDES)
    low, high = profile.estimate + _BEYOND * (reach - profile.estimate)
    half = _POINTS // 2
    left, right = (np.linspace(end, profile.estimate, half, endpoint=False) for end in (low, high))
    return np.concatenate([left, [profile.estimate], right[::-1]])


def _remark(labels: list[str], ends: np.ndarray) -> None:
    """Warn of ends that do not exist."""
    missing = [
        f"{'lower' if side == 0 else 'upper'} end of {label}"
        for label, row in zip(labels, ends, strict=True)
        for side in (0, 1)
        if not np.isfinite(row[side])
    ]
    if missing:
        warn(
            f"the profile does not reach the level at the {', '.join(missing)}: the domain of the "
            "link ends before (NaN), or the likelihood levels off (infinite).",
            FitWarning,
        )
