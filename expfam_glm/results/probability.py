"""The probability of intervals that nobody was asked for."""

from __future__ import annotations

from numbers import Real

import xarray as xr

from expfam_glm.numerics.wald import default_ci_prob


def interval_prob(ci_prob: float | None, *trees: xr.DataTree) -> float:
    """The probability as given; else that of the fits, where they agree; else ArviZ's setting.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> interval_prob(None, eg.GLM("seizures ~ age", seizures, family="poisson").fit(ci_prob=0.95))
    0.95
    """
    fits = (tree["fit"].attrs.get("ci_prob") for tree in trees if "fit" in tree.children)
    own = {float(prob) for prob in fits if isinstance(prob, Real)}
    return default_ci_prob(own.pop() if ci_prob is None and len(own) == 1 else ci_prob)
