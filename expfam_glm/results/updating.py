"""Prior, likelihood and posterior of each coefficient as curves."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import PchipInterpolator

from expfam_glm.bayes.prior import recorded_density
from expfam_glm.errors import ArgumentError, ExpfamError, FitWarning, ResultError
from expfam_glm.results.door import check_readable
from expfam_glm.results.marginals import Curve, density_of_draws, wald_density
from expfam_glm.results.profile import profile
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

POINTS = 241
LEAST = 2e-3  # of its height, where a curve ends
REACH = 0.9995  # probability of the interval that the profile covers


def prior_to_posterior(
    tree: xr.DataTree,
    likelihood: xr.DataTree | None,
    coefs: Sequence[str] | None,
    family: str | Family | None,
    link: str | Link | None,
) -> xr.Dataset:
    """The densities of prior and posterior, and the likelihood of area one, of each coefficient.

    Parameters
    ----------
    tree : DataTree
        Draws of a posterior.
    likelihood : DataTree, optional
        Of `fit` or `gee`.
    coefs : sequence of str, optional
    family, link : optional
        The declarations, where they are the user's own.

    Returns
    -------
    xarray.Dataset
        `value`, `prior`, `likelihood` and `posterior` (coef, point), NaN where there is none.
        Attributes `priors` (JSON: in words by coefficient) and `likelihood` (how it was had).
    """
    check_readable(tree, "plot_prior_posterior")
    if "fit" in tree.children:
        raise ResultError(
            "plot_prior_posterior draws what sample() or laplace() returned, a tree with draws of "
            "a posterior. Give the likelihood fit as likelihood=."
        )
    posterior = tree["posterior"].to_dataset()["beta"]
    labels = [str(label) for label in posterior["coef"].values]
    unknown = [str(coef) for coef in coefs or () if coef not in labels]
    if unknown or (coefs is not None and not len(coefs)):
        raise ArgumentError(
            f"coefs={coefs!r}: {', '.join(map(repr, unknown)) or 'nothing'} is not among the "
            f"coefficients {', '.join(labels)}."
        )
    chosen = labels if coefs is None else list(coefs)
    draws = {
        label: posterior.sel(coef=label).values.ravel()
        for label in chosen
    }  # fmt: skip
    applied = _applied(tree)
    curves, how = _likelihood(likelihood, chosen, family, link)
    value = np.empty((len(chosen), POINTS))
    found = {name: np.full(value.shape, np.nan) for name in ("prior", "likelihood", "posterior")}
    for j, label in enumerate(chosen):
        own = {"posterior": density_of_draws(draws[label])}
        if label in curves:
            own["likelihood"] = curves[label]
        record = applied.get(label, applied.get("beta"))
        value[j] = _range(own.values(), record)
        for name, curve in own.items():
            found[name][j] = np.interp(value[j], *curve, left=0.0, right=0.0)
        density = recorded_density(record, value[j])
        if density is not None:
            found["prior"][j] = density
    words = {label: _words(applied.get(label, applied.get("beta"))) for label in chosen}
    return xr.Dataset(
        {"value": (("coef", "point"), value)}
        | {name: (("coef", "point"), values) for name, values in found.items()},
        coords={"coef": chosen},
        attrs={"priors": json.dumps(words, ensure_ascii=False), "likelihood": how},
    )


def _applied(tree: xr.DataTree) -> dict[str, Any]:
    """The priors of a tree by coefficient, as it records them."""
    try:
        applied = json.loads(str(tree.attrs.get("priors", "{}"))).get("applied", {})
    except (ValueError, AttributeError):
        applied = None
    if not isinstance(applied, dict):
        raise ResultError(
            "the attribute 'priors' of the tree is not the record of priors; pass the tree as "
            "sample() or laplace() returned it."
        )
    return applied


def _likelihood(
    tree: xr.DataTree | None,
    coefs: Sequence[str],
    family: str | Family | None,
    link: str | Link | None,
) -> tuple[dict[str, Curve], str]:
    """The likelihood of each coefficient, and what it is called."""
    if tree is None:
        return {}, ""
    tree = check_readable(tree, "plot_prior_posterior (likelihood=)")
    if "fit" not in tree.children:
        raise ResultError("likelihood= takes what fit() or gee() returned.")
    fit = tree["fit"].to_dataset()
    known = [label for label in coefs if label in fit["coef"].values]
    known = [label for label in known if np.isfinite(fit["beta"].sel(coef=label))]
    if not known:
        raise ResultError("likelihood= has none of the coefficients that are drawn.")
    try:
        if "penalty" in tree.attrs:
            raise ResultError("its profile is that of likelihood and penalty together.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            profiles = profile(tree, coefs=known, ci_prob=REACH, family=family, link=link)
    except ExpfamError:  # no likelihood: the distribution of the estimate stands for it
        one = fit.sel(coef=known)
        triples = zip(one["beta"].values, one["se"].values, one["df"].values, strict=True)
        curves = [wald_density(*map(float, triple)) for triple in triples]
        return dict(zip(known, curves, strict=True)), f"{tree.attrs.get('estimator')} estimate"
    return {label: _profile_curve(profiles.sel(coef=label)) for label in known}, "likelihood"


def _profile_curve(one: xr.Dataset) -> Curve:
    """exp(−τ²/2) of area one; the root τ is nearly straight and so well interpolated."""
    value, root = one["value"].values, one["root"].values
    keep = np.isfinite(root)
    places = np.linspace(value[keep][0], value[keep][-1], POINTS)
    curve = np.exp(-0.5 * PchipInterpolator(value[keep], root[keep])(places) ** 2)
    return places, curve / np.trapezoid(curve, places)


def _range(curves: Any, record: Any) -> np.ndarray:
    """Places where any of the curves is worth drawing, a narrow prior among them."""
    ends = []
    for places, density in curves:
        if np.isfinite(density).all():
            high = places[density > LEAST * density.max()]
            ends += [high[0], high[-1]]
    if not ends:
        raise ResultError("a coefficient does not vary over its draws; leave it out by coefs=.")
    low, top = min(ends), max(ends)
    if isinstance(record, dict) and 0 < record.get("sigma", 0) < top - low:
        centre, spread = record.get("mu", 0.0), record["sigma"]
        low, top = min(low, centre - 3 * spread), max(top, centre + 3 * spread)
    return np.linspace(low - 0.05 * (top - low), top + 0.05 * (top - low), POINTS)


def _words(record: Any) -> str:
    """A prior in words."""
    if isinstance(record, dict):
        numbers = ", ".join(f"{v:.3g}" for k, v in record.items() if k != "name")
        return f"{record['name']}({numbers})" if numbers else str(record["name"])
    return str(record or "not recorded")
