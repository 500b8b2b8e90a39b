"""A posterior whose spread is that of a robust covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.linalg import cholesky, solve_triangular

from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.results.comparable import check_comparable
from expfam_glm.results.door import check_readable
from expfam_glm.results.fitted import OF_DRAWS, refuse_group_effects


def calibrate(
    tree: xr.DataTree, cov: xr.DataTree | xr.DataArray | np.ndarray, *, cov_type: str | None = None
) -> xr.DataTree:
    """Recalibrate the posterior of the coefficients to a robust covariance.

    Parameters
    ----------
    tree : xarray.DataTree
        What `sample` or `laplace` returned.
    cov : xarray.DataTree, xarray.DataArray or ndarray, shape (p, p)
        What `fit` (with a robust `cov=`) or `gee` returned for the same coefficients, or the
        covariance itself, link scale.
    cov_type : str, optional
        Which covariance of that tree; the first, which its standard errors come from, if not given.

    Returns
    -------
    xarray.DataTree
        The same tree with recalibrated draws of `beta` in `posterior`, and the draws as they were
        in the group `posterior_uncalibrated`. The groups log_likelihood, log_prior and
        posterior_predictive belong to the old draws and are left out. The attribute `calibrated`
        says to which covariance.

    Raises
    ------
    ResultError
        If the tree has no draws of a posterior, or coefficients within groups, or if the covariance
        is that of other coefficients or another family, link or response.
    ArgumentError
        If the covariance is not one: wrong shape, not finite, not positive definite.

    Notes
    -----
    β* = β̄ + Ω(β − β̄), Ω = (V_robust V⁻¹)^½ the principal square root, β̄ and V mean and covariance
    of the draws. The mean stays, the covariance becomes V_robust, and the result does not depend on
    the parametrisation: it commutes with β → Aβ. Intervals then have the coverage of the robust
    ones, even where the variance or the independence of the model is wrong; the centre, and so the
    model of the mean, must be right.

    References
    ----------
    Müller (2013), Risk of Bayesian inference in misspecified models, and the sandwich covariance
    matrix, Econometrica 81, 1805-1849.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase + age", seizures, family="poisson")
    >>> gee = model.gee(groups="patient", correlation="exchangeable")
    >>> bayes = model.sample(random_seed=1, progressbar=False)
    >>> wide = calibrate(bayes, gee)
    >>> (wide["posterior"]["beta"].std(("chain", "draw")) / gee["fit"]["se"]).values.round(2)
    array([1., 1., 1.])
    """
    check_readable(tree, "calibrate")
    if "posterior" not in tree.children:
        raise ResultError("calibrate() needs a result tree with draws, from sample or laplace.")
    if tree.attrs.get("estimator") != "posterior":
        raise ResultError(
            f"calibrate() recalibrates a posterior; this tree is {tree.attrs.get('kind')!r}. Its "
            "own robust covariance comes from fit(cov=…)."
        )
    refuse_group_effects(tree, "calibrate", averaged=True)
    posterior = tree["posterior"].to_dataset()
    V, name = _covariance(cov, cov_type, posterior["coef"].values.tolist())
    check_comparable(
        {"the posterior": tree, "the covariance": cov},
        mixed_families=False,
        advice="Take the covariance of the model that was sampled.",
    )
    beta = posterior["beta"].transpose("chain", "draw", "coef").values
    moved = _recalibrated(beta.reshape(-1, beta.shape[-1]), V).reshape(beta.shape)
    groups = {
        "posterior": posterior.assign(beta=(("chain", "draw", "coef"), moved)),
        "posterior_uncalibrated": posterior,
    }
    groups |= {
        key: node.to_dataset()
        for key, node in tree.children.items()
        if key not in groups and key not in OF_DRAWS
    }
    result = xr.DataTree(xr.Dataset(attrs=tree.attrs | {"calibrated": name}))
    result.children = {key: xr.DataTree(dataset) for key, dataset in groups.items()}
    return result


def _recalibrated(beta: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Draws (S, p) with the same mean and the covariance V."""
    centre = beta.mean(axis=0)
    own = np.atleast_2d(np.cov(beta, rowvar=False))
    if beta.shape[0] <= beta.shape[1] or np.linalg.matrix_rank(own) < len(own):
        raise ResultError(
            f"{beta.shape[0]} draws do not give a covariance of {beta.shape[1]} coefficients; "
            "draw more."
        )
    # Ω = A (A⁻¹ V A⁻ᵀ)^½ A⁻¹ for any A with AAᵀ the covariance of the draws
    A = cholesky(own, lower=True)
    half = solve_triangular(A, V, lower=True)
    middle = solve_triangular(A, half.T, lower=True)
    values, vectors = np.linalg.eigh(0.5 * (middle + middle.T))
    root = (vectors * np.sqrt(values)) @ vectors.T
    standard = solve_triangular(A, (beta - centre).T, lower=True)
    return centre + (A @ root @ standard).T


def _covariance(cov: Any, cov_type: str | None, labels: list[str]) -> tuple[np.ndarray, str]:
    """The covariance asked for and its name."""
    name = "a given covariance"
    if isinstance(cov, xr.DataTree):
        check_readable(cov, "calibrate (cov=)")
        if "fit" not in cov.children:
            raise ResultError("cov= is a tree without a covariance; give one of fit() or gee().")
        found = cov["fit"].to_dataset()["covariance"]
        types = found["cov_type"].values.tolist()
        chosen = types[0] if cov_type is None else cov_type
        if chosen not in types:
            raise ArgumentError(f"cov_type={cov_type!r} is not in the tree; it has {types}.")
        others = found["coef"].values.tolist()
        if others != labels:
            raise ResultError(
                f"the coefficients differ: the posterior has {labels}, the covariance {others}."
            )
        name = f"{chosen} covariance of the {cov.attrs.get('estimator')} fit"
        cov = found.sel(cov_type=chosen)
    elif cov_type is not None:
        raise ArgumentError("cov_type= goes with a tree; the covariance given is an array.")
    try:
        V = np.asarray(cov, dtype=float)
    except (TypeError, ValueError):
        raise ArgumentError(f"cov={cov!r} is neither a result tree nor a matrix.") from None
    p = len(labels)
    if V.shape != (p, p):
        raise ArgumentError(f"cov= has shape {V.shape}; {p} coefficients need ({p}, {p}).")
    gone = [label for label, v in zip(labels, np.diagonal(V), strict=True) if not np.isfinite(v)]
    if gone or not np.isfinite(V).all():
        raise ArgumentError(f"cov= is not finite (coefficients {', '.join(gone)}).")
    spread = np.sqrt(np.maximum(np.diagonal(V), 1e-300))
    if not np.allclose(V, V.T, atol=1e-8 * np.outer(spread, spread).max()) or np.any(
        np.linalg.eigvalsh(V / np.outer(spread, spread)) <= 0
    ):
        raise ArgumentError("cov= is not a covariance: it must be symmetric and positive definite.")
    return V, name
