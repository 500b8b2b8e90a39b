"""What one tree says about each coefficient by itself, whichever road it came by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import gammaln

from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.numerics.wald import wald_interval
from expfam_glm.results.fitted import MODEL_BASED, coefficients_of, need_df
from expfam_glm.spec.scale import Scale

NAIVE = (*MODEL_BASED, "naive")  # covariances that rest on the model's own variance
POINTS = 512  # of a density from draws
# Where a normal or t density is looked at, in standard errors: closely in the middle, far out in
# the tails that t has.
_TAIL = np.geomspace(8.0, 1e4, 200)
STANDARD = np.concatenate([-_TAIL[:0:-1], np.linspace(-8.0, 8.0, 1601), _TAIL[1:]])

type Interval = Callable[[float], np.ndarray]  # probability -> (…, 2)
type Curve = tuple[np.ndarray, np.ndarray]  # places and densities there


@dataclass(frozen=True)
class Parameter:
    """A dispersion or a shape: estimate, spread (NaN where not known) and interval."""

    estimate: float
    se: float
    interval: Interval


@dataclass(frozen=True)
class Marginals:
    """Coefficients with their spread, intervals and densities, and the parameters beside them.

    `robust_ratio` (p,) is the robust standard error over that of the model, NaN where the tree
    does not hold both; `density` gives the curve of a coefficient by its place.
    """

    kind: str
    labels: list[str]
    estimate: np.ndarray
    se: np.ndarray
    interval: Interval
    robust_ratio: np.ndarray
    density: Callable[[int], Curve]
    parameters: dict[str, Parameter]
    sampled: bool


def marginals(tree: xr.DataTree, name: str, cov_type: str | None = None) -> Marginals:
    """What a tree says about each coefficient: exactly from `fit`, else from draws.

    Parameters
    ----------
    tree : DataTree
    name : str
        What the model is called in messages.
    cov_type : str, optional
        One of the covariances of a likelihood or estimating-equation tree; the first if not given.

    Raises
    ------
    ResultError
        If it is not a result tree with coefficients of different names.
    ArgumentError
        If the tree does not have that covariance.
    """
    if "fit" in tree.children:
        found = _from_fit(tree, cov_type)
    elif cov_type is not None:
        raise ArgumentError(
            f"model {name!r} has draws, which have their own spread; cov_type {cov_type!r} is for "
            "likelihood and estimating-equation fits."
        )
    else:
        found = _from_draws(tree)
    if len(set(found.labels)) < len(found.labels):
        twice = sorted({label for label in found.labels if found.labels.count(label) > 1})
        raise ResultError(f"model {name!r} has coefficients of the same name: {', '.join(twice)}.")
    return found


def _from_fit(tree: xr.DataTree, cov_type: str | None) -> Marginals:
    """Estimates and exact intervals of a likelihood or estimating-equation tree."""
    fit = tree["fit"].to_dataset()
    types = [str(one) for one in fit["cov_type"].values]
    beta, se, df = (fit[name].values for name in ("beta", "se", "df"))
    chosen = types[0] if cov_type is None else cov_type
    errors = _standard_errors(fit)
    if chosen != types[0]:
        df = _degrees_of_freedom(tree, chosen)
        se = errors[chosen]
    robust = chosen if chosen not in NAIVE else next((t for t in types if t not in NAIVE), None)
    model = next((t for t in types if t in NAIVE), None)
    ratio = np.full(beta.shape, np.nan)
    if robust is not None and model is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = errors[robust] / errors[model]
    names = [str(n) for n, v in fit.data_vars.items() if n == "phi" or "standard_error" in v.attrs]
    return Marginals(
        kind=f"{tree.attrs.get('estimator', 'likelihood')}, {chosen} covariance",
        labels=[str(label) for label in fit["coef"].values],
        estimate=beta,
        se=se,
        interval=lambda prob: wald_interval(beta, se, df, prob),
        robust_ratio=ratio,
        density=lambda j: wald_density(beta[j], se[j], df[j]),
        parameters={name: _fitted_parameter(fit, name) for name in names if not fit[name].dims},
        sampled=False,
    )


def _standard_errors(fit: xr.Dataset) -> dict[str, np.ndarray]:
    """The standard errors by each covariance of a fit."""
    covariance = fit["covariance"].transpose("cov_type", "coef", "coef2").values
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return dict(zip(map(str, fit["cov_type"].values), errors, strict=True))


def _degrees_of_freedom(tree: xr.DataTree, chosen: str) -> np.ndarray:
    """Degrees of freedom of the coefficients by a covariance that is not the first."""
    found = coefficients_of(tree, chosen)
    fit = tree["fit"].to_dataset()
    if f"df_{chosen}" in fit:
        return fit[f"df_{chosen}"].values
    need_df(found)
    return np.full(found.kept.shape, found.df)


def wald_density(centre: float, se: float, df: float) -> Curve:
    """The density that belongs to a Wald interval: normal, or t moved and scaled."""
    if not (np.isfinite(centre) and np.isfinite(se) and se > 0):
        return np.full(2, np.nan), np.full(2, np.nan)
    return centre + se * STANDARD, standard_density(STANDARD, df) / se


def standard_density(z: np.ndarray, df: float) -> np.ndarray:
    """The density of the normal distribution, or of t with finite degrees of freedom."""
    if np.isinf(df):
        return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    constant = gammaln(0.5 * (df + 1)) - gammaln(0.5 * df) - 0.5 * np.log(df * np.pi)
    return np.exp(constant - 0.5 * (df + 1) * np.log1p(z**2 / df))


def _fitted_parameter(fit: xr.Dataset, name: str) -> Parameter:
    """φ or a shape of a fit; its interval is that of its working scale, taken back."""
    value = float(fit[name])
    error = fit.get(fit[name].attrs.get("standard_error"))
    if error is None:
        return Parameter(value, np.nan, lambda prob: np.full(2, np.nan))
    scale, spread = Scale.read(str(error.attrs["scale"]), name), float(error)
    u = scale.to(value) if np.isfinite(spread) else np.nan

    def interval(prob: float) -> np.ndarray:
        ends = wald_interval(np.array(u), np.array(spread), np.inf, prob)
        return np.sort(scale.back(ends))

    return Parameter(value, spread * abs(scale.slopes(u)[0]), interval)


def _from_draws(tree: xr.DataTree) -> Marginals:
    """Posterior means, standard deviations, equal-tailed intervals and densities of draws."""
    posterior = tree["posterior"].to_dataset()
    beta = posterior["beta"].transpose("chain", "draw", "coef")
    draws = beta.values.reshape(-1, beta.sizes["coef"])
    se = draws.std(axis=0, ddof=1)
    kind = str(tree.attrs.get("kind", "posterior draws"))
    ratio = np.full(se.shape, np.nan)
    if "posterior_uncalibrated" in tree.children:
        before = tree["posterior_uncalibrated"].to_dataset()["beta"]
        ratio = se / before.std(("chain", "draw"), ddof=1).values
        kind += f", recalibrated to the {tree.attrs.get('calibrated', 'given covariance')}"
    return Marginals(
        kind=kind,
        labels=[str(label) for label in beta["coef"].values],
        estimate=draws.mean(axis=0),
        se=se,
        interval=lambda prob: _equal_tails(draws, prob),
        robust_ratio=ratio,
        density=lambda j: density_of_draws(draws[:, j]),
        parameters={
            str(name): _drawn_parameter(values.values.ravel())
            for name, values in posterior.data_vars.items()
            if set(values.dims) == {"chain", "draw"}
        },
        sampled=True,
    )


def _equal_tails(draws: np.ndarray, prob: float) -> np.ndarray:
    """Equal-tailed intervals of draws along the first axis."""
    return np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2], axis=0).T


def _drawn_parameter(draws: np.ndarray) -> Parameter:
    """φ or a shape by its draws."""
    return Parameter(
        float(draws.mean()), float(draws.std(ddof=1)), lambda prob: _equal_tails(draws, prob)
    )


def density_of_draws(draws: np.ndarray) -> Curve:
    """A kernel estimate of the density of draws."""
    if not np.isfinite(draws).all() or np.ptp(draws) == 0:
        return np.full(2, np.nan), np.full(2, np.nan)
    from arviz_stats.base import array_stats

    # standardised: the estimate of ArviZ does not see differences below 1e-8 or so
    centre, spread = draws.mean(), draws.std()
    places, density, _ = array_stats.kde((draws - centre) / spread, grid_len=POINTS)
    density /= np.trapezoid(density, places)  # the grid ends at the outermost draws
    return centre + spread * places, density / spread


def overlap(one: Curve, other: Curve) -> float:
    """The mass that two densities share, ∫ min(f, g)."""
    if np.isnan(one[0][0]) or np.isnan(other[0][0]):
        return np.nan
    places = np.union1d(one[0], other[0])
    f, g = (np.interp(places, *curve, left=0.0, right=0.0) for curve in (one, other))
    return min(1.0, float(np.trapezoid(np.minimum(f, g), places)))
