"""Coefficients with the intervals and the shape of their profile likelihoods."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import xarray as xr
from scipy.interpolate import PchipInterpolator

from expfam_glm.errors import FitWarning
from expfam_glm.results.marginals import POINTS, Curve, Marginals, marginals, standard_density
from expfam_glm.results.profile import profile
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

WIDE = 0.9995  # probability of the interval over which a profile is drawn
FEWEST = 5  # points of it that make a curve


def profiled(
    tree: xr.DataTree, name: str, family: str | Family | None, link: str | Link | None
) -> Marginals:
    """What a likelihood tree says about each coefficient by its profile.

    Parameters
    ----------
    tree : DataTree
    name : str
        What the model is called in messages.
    family, link : optional
        The declarations, where they are the user's own.

    Raises
    ------
    ResultError
        If the tree is not of `fit`, or has no profiles.
    ArgumentError
        If a declaration is needed.
    """
    likelihood = marginals(tree, name)

    def of(variable: str, prob: float) -> np.ndarray:
        found = profile(tree, ci_prob=prob, family=family, link=link)
        return found[variable].reindex(coef=likelihood.labels).values

    @cache
    def wide() -> tuple[np.ndarray, np.ndarray, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # ends so far out may not exist
            found = profile(tree, ci_prob=WIDE, family=family, link=link)
        df = float(found.attrs["df"])
        found = found.reindex(coef=likelihood.labels)
        return found["value"].values, found["root"].values, df

    def density(j: int) -> Curve:
        """Of the signed root, normal or t, taken back to the coefficient."""
        values, roots, df = wide()
        value, root = values[j], roots[j]
        known = np.isfinite(value) & np.isfinite(root)
        if known.sum() < FEWEST:
            return np.full(2, np.nan), np.full(2, np.nan)
        value, root = value[known], root[known]
        places, curve = np.linspace(value[0], value[-1], POINTS), PchipInterpolator(value, root)
        return places, standard_density(curve(places), df) * curve.derivative()(places)

    return Marginals(
        kind=f"{tree.attrs.get('estimator', 'likelihood')}, profile likelihood",
        labels=likelihood.labels,
        estimate=likelihood.estimate,
        se=likelihood.se,
        interval=lambda prob: of("interval", prob),
        robust_ratio=np.full(likelihood.se.shape, np.nan),
        density=density,
        parameters=likelihood.parameters,
        sampled=False,
    )
