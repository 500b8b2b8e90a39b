"""Standard errors of what estimating equations estimate beside β."""

from __future__ import annotations

import xarray as xr

from expfam_glm.gee.association import standard_errors
from expfam_glm.gee.base import Correlation
from expfam_glm.results.refit import recalled_from
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link


def association(
    tree: xr.DataTree,
    *,
    correlation: str | Correlation | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> xr.Dataset:
    """The dispersion φ and the association α of a GEE with robust standard errors.

    Parameters
    ----------
    tree : DataTree
        What `gee` returned, also when read back from a file.
    correlation : Correlation, optional
        The working correlation, where it is `Fixed`, `Pattern` or `Custom`.
    family, link : optional
        The declarations, where they are the user's own.

    Returns
    -------
    xarray.Dataset
        `phi`, `se_phi`, `alpha` and `se_alpha` with the dimensions of the tree. What was given has
        no standard error: NaN; nor has an α at an end of its range, or that is not determined.

    Raises
    ------
    ResultError
        If it is not a tree of `gee`.
    ArgumentError
        If the working correlation or a declaration must be given.

    Notes
    -----
    β̂, φ̂ and α̂ solve Σ_k U_k = 0, Σ_k (Σ_i r_i² − n_k φ) = 0 and
    Σ_k Σ_{i<j} ∂R_ij/∂α (r_i r_j/φ − R_ij) = 0 (with the counts of `ddof`). Each cluster's part in
    the last two, its way through β̂ and φ̂ included, is squared and summed; for α the derivative is
    the expected one, Σ ∂R_ij/∂α (∂R_ij/∂α)ᵀ.

    References
    ----------
    Prentice and Zhao (1991), Biometrics 47, 825-839; Yan and Fine (2004), Statistics in Medicine
    23, 859-874.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> found = eg.association(model.gee("patient"))
    >>> round(float(found["alpha"]), 2), round(float(found["se_alpha"]), 2)
    (0.34, 0.06)
    """
    errors = standard_errors(recalled_from(tree, "association", family, link, correlation))
    fit = tree["fit"].to_dataset()
    found = {"phi": fit["phi"], "se_phi": ((), errors.phi)}
    if errors.alpha is not None:
        found |= {"alpha": fit["alpha"], "se_alpha": (fit["alpha"].dims, errors.alpha)}
    return xr.Dataset(found)
