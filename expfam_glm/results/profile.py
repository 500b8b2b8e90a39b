"""Profile-likelihood intervals of coefficients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from expfam_glm.errors import ArgumentError, FitWarning, warn
from expfam_glm.mle.profile import Profile
from expfam_glm.numerics.wald import default_ci_prob
from expfam_glm.results.refit import Refit, refit_of
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

# Points of the stored profile, and how far it goes beyond the interval.
_POINTS = 17
_BEYOND = 1.15
_SIDES = np.array([-1.0, 1.0])


def profile(
    tree: xr.DataTree,
    *,
    coefs: Sequence[str] | None = None,
    ci_prob: float | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> xr.Dataset:
    """Profile-likelihood intervals of coefficients, and the profiles themselves.

    Parameters
    ----------
    tree : DataTree
        What `fit` returned, also when read back from a file.
    coefs : sequence of str, optional
        Coefficients to profile; all that are determined if not given.
    ci_prob : float, optional
        Probability of the intervals; ArviZ's setting `stats.ci_prob` if not given.
    family, link : optional
        The declarations, where they are the user's own.

    Returns
    -------
    xarray.Dataset
        On the scale of the linear predictor: `estimate`, `se` and `interval (coef, ci_bound)`; the
        signed root `root (coef, point)` at the values `value (coef, point)`, NaN where there is no
        admissible fit. Attributes: `ci_prob`, `level` (the quantile that the root is compared
        with), `df`.

    Raises
    ------
    ResultError
        If the tree is not of `fit`, or was fitted with a penalty or sampling weights.
    ArgumentError
        For unknown coefficients, or a declaration that is needed.

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
    prob = default_ci_prob(ci_prob)
    refit = refit_of(tree, "profile", family, link, penalised=True)
    peak, df = refit.peak, refit.df
    level = float(-stdtrit(df, (1 - prob) / 2))
    chosen = _chosen(refit, coefs)
    profiles = [Profile(peak, j) for j in chosen]
    ends = np.array([[p.crossing(-level), p.crossing(level)] for p in profiles])
    labels = [refit.problem.labels[j] for j in chosen]
    _remark(labels, ends)
    values = np.stack([_grid(p, end, level) for p, end in zip(profiles, ends, strict=True)])
    roots = [[p.root(value) for value in grid] for p, grid in zip(profiles, values, strict=True)]
    return xr.Dataset(
        {
            "estimate": ("coef", [p.estimate for p in profiles]),
            "se": ("coef", [p.se for p in profiles]),
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
    asked = [coefs] if isinstance(coefs, str) or not isinstance(coefs, Iterable) else list(coefs)
    unknown = [name for name in asked if name not in labels]
    if unknown or not asked:
        raise ArgumentError(
            f"coefs={asked!r}: {', '.join(map(repr, unknown)) or 'nothing'} is not among the "
            f"determined coefficients {', '.join(labels)}."
        )
    return [labels.index(name) for name in asked]


def _grid(profile: Profile, ends: np.ndarray, level: float) -> np.ndarray:
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
