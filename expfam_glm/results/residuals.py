"""Residuals of a fitted model, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, ResultError, check_flag, one_of
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.mle.linear import Factor, factor_gram
from expfam_glm.mle.penalty import recalled_penalty
from expfam_glm.numerics.anscombe import anscombe
from expfam_glm.numerics.scores import quantile_residuals
from expfam_glm.results.fitted import (
    Coefficients,
    Rows,
    at_estimate,
    by_likelihood,
    check_tree,
    coefficients_of,
    family_of,
    link_of,
    need_family,
    need_scale,
    no_density,
    problem_of,
    refuse_group_effects,
    response_of,
    roles_of,
    rows_of,
)
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link
from expfam_glm.tree import check_options

KINDS = ("response", "working", "pearson", "deviance", "anscombe", "quantile")
# A row is fitted by itself where its hat value is that near to one.
ALONE = 1e-10
STANDARDISED = ("pearson", "deviance", "anscombe")


@dataclass(frozen=True)
class RowFit:
    """A fit at each of its rows: what residuals and measures of influence are made of."""

    tree: xr.DataTree
    family: Family
    link: Link
    found: Coefficients
    rows: Rows
    y: np.ndarray  # (n,)
    eta: np.ndarray
    mu: np.ndarray
    slope: np.ndarray  # dμ/dη
    W: np.ndarray  # w (dμ/dη)²/V(μ), the weight at a(φ) = 1 of one observation
    pearson: np.ndarray  # (y − μ) √(w/V(μ))
    deviance: np.ndarray  # its square is w d(y, μ)
    a: float  # a(φ̂)

    @property
    def X(self) -> np.ndarray:
        """The columns of the coefficients that are determined."""
        return self.rows.X[:, self.found.kept]

    @property
    def w(self) -> np.ndarray | float:
        """Prior weights."""
        return 1.0 if self.rows.w is None else self.rows.w


def row_fit(
    tree: xr.DataTree, function: str, family: str | Family | None, link: str | Link | None
) -> RowFit:
    """A tree at each of its rows; draws at their posterior mean."""
    check_tree(tree, function, rows=True)
    refuse_group_effects(tree, function)
    declared = need_family(tree, family_of(tree, family), function)
    g = link_of(tree, declared, link)
    declared = at_estimate(tree, declared)
    a = float(declared.a(dispersion_of(tree, declared)))
    return at_rows(tree, declared, g, coefficients_of(tree), rows_of(tree, g), response_of(tree), a)


def at_rows(
    tree: xr.DataTree,
    family: Family,
    link: Link,
    found: Coefficients,
    rows: Rows,
    y: np.ndarray,
    a: float,
) -> RowFit:
    """Coefficients at rows with these responses."""
    kernel = row_kernel(family, link, ("mu", "slope", "weight", "pearson", "weighted_deviance"))
    eta = rows.eta(found.beta, found.kept)
    w = np.ones(y.size) if rows.w is None else rows.w
    with np.errstate(all="ignore"):
        mu, slope, W, pearson, deviance = (
            np.broadcast_to(values, y.shape) for values in kernel(eta, y, w)
        )
    side = np.sign(y - mu)
    return RowFit(
        tree=tree,
        family=family,
        link=link,
        found=found,
        rows=rows,
        y=y,
        eta=eta,
        mu=mu,
        slope=slope,
        W=W,
        pearson=side * np.sqrt(w * pearson),
        deviance=side * np.sqrt(np.maximum(deviance, 0.0)),
        a=a,
    )


def dispersion_of(tree: xr.DataTree, family: Family) -> float:
    """φ̂ of a fit, or its posterior mean."""
    if "fit" in tree.children and "phi" in tree["fit"].data_vars:
        return float(tree["fit"]["phi"])
    if "posterior" in tree.children and "phi" in tree["posterior"].data_vars:
        return float(tree["posterior"]["phi"].mean())
    if family.phi is None:
        raise ResultError("the tree holds no dispersion phi.")
    return family.phi


def is_likelihood(tree: xr.DataTree) -> bool:
    """Whether a tree is one of a fit whose weights are those of a variance."""
    return by_likelihood(tree) and "sampling_weights" not in roles_of(tree)


def need_likelihood(tree: xr.DataTree, what: str) -> None:
    """Refuse what only a likelihood fit without a penalty has."""
    if "penalty" in tree.attrs:
        raise ArgumentError(f"{what} is defined for a fit without a penalty.")
    need_variance(tree, what)


def need_variance(tree: xr.DataTree, what: str) -> None:
    """Refuse a tree that is not of a fit whose weights are those of a variance."""
    if is_likelihood(tree) or "penalty" in tree.attrs:
        return
    if "sampling_weights" not in roles_of(tree):
        other = (
            "for draws az.loo finds the rows that matter"
            if "fit" not in tree.children
            else "the weights of estimating equations go through clusters, not through single rows"
        )
        raise ArgumentError(f"{what} is defined for a tree of fit(); {other}.")
    raise ArgumentError(f"{what} is not defined with sampling weights, which leave no variance.")


def information_factor(rows: RowFit) -> Factor:
    """The factor of XᵀWX, at a(φ) = 1 and with frequency weights, and of what a penalty adds."""
    f = rows.rows.f
    information = weighted_gram(rows.X, rows.W if f is None else rows.W * f)
    penalty = recalled_penalty(rows.tree.attrs)
    if penalty is not None:
        whole = problem_of(rows.rows, rows.found, rows.family, rows.link, rows.y)
        information = information + penalty.information(whole, rows.W, rows.a)
    factor = factor_gram(information)
    if factor is None:
        raise ResultError("the information matrix of the fit is not positive definite.")
    return factor


def hat_values(rows: RowFit) -> np.ndarray:
    """h_i = W_i x_iᵀ I⁻¹ x_i, with frequency weights of one of the rows that it stands for."""
    factor = information_factor(rows)
    half = (rows.X / factor.scale) @ factor.unscaled_root
    return rows.W * np.einsum("ij,ij->i", half, half)


def residuals(
    tree: xr.DataTree,
    kind: str = "deviance",
    *,
    standardised: bool = False,
    random_seed: int | None = 0,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> xr.DataArray:
    """Residuals of a fit of either road.

    Parameters
    ----------
    tree : DataTree
        What `fit`, `gee` or `sample` returned, also when read back from a file. Draws are taken at
        their posterior mean.
    kind : {"response", "working", "pearson", "deviance", "anscombe", "quantile"}
    standardised : bool
        Divide Pearson, deviance or Anscombe residuals by √(a(φ̂)(1 − h)), with the hat value h; for
        trees of `fit` alone. Under a penalty h = W xᵀI⁻¹x with the information I that it adds to.
    random_seed : int, optional
        Seed of the randomised quantile residuals; a fresh one for None.
    family, link : Family, Link, optional
        The declaration, where they are not built in.

    Returns
    -------
    xarray.DataArray
        (obs_id), on the scale of the mean for "response", of the linear predictor for "working".

    Raises
    ------
    ArgumentError
        For an unknown kind, if a declared family is not given or another one is, for standardised
        residuals that do not exist, or for quantile residuals where there is no density.
    ResultError
        If it is not a result tree.

    Notes
    -----
    With the prior weight w and the unit deviance d:

    - response y − μ, working (y − μ)/(dμ/dη),
    - Pearson (y − μ)√(w/V(μ)), deviance sign(y − μ)√(w d(y, μ)),
    - Anscombe √w ∫ V^(−1/3) dμ / V(μ)^(1/6), the integral from μ to y: nearly normal.
      It is taken numerically, so it is there for every family.
    - quantile Φ⁻¹(u), with u uniform between P(Y < y) and P(Y ≤ y) at μ̂ and φ̂: standard normal
      under the model, up to the estimation, for discrete families too.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed., section 2.4 and 12.5. Dunn
    and Smyth (1996), Randomized quantile residuals, JCGS 5, 236-244.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> eg.residuals(model.fit(), "pearson").values[:3].round(3).tolist()
    [-0.686, 1.382, -0.577]
    """
    if kind not in KINDS:
        raise one_of("kind", kind, KINDS)
    standardised = check_flag("standardised", standardised)
    if standardised and kind not in STANDARDISED:
        raise ArgumentError(
            f"standardised=True goes with {', '.join(STANDARDISED)} residuals, not {kind!r}."
        )
    rows = row_fit(tree, "residuals", family, link)
    if kind == "quantile":
        values = quantile(rows, check_options(None, 1, 1, random_seed))
    elif standardised:
        need_variance(tree, "a standardised residual")
        values = standardise(rows, of_kind(rows, kind))
    else:
        values = of_kind(rows, kind)
    obs_id = tree["constant_data"].to_dataset()["obs_id"].values
    return xr.DataArray(
        values,
        coords={"obs_id": obs_id},
        dims="obs_id",
        name=kind,
        attrs={"kind": kind, "standardised": int(standardised)},
    )


def quantile(rows: RowFit, seed: int) -> np.ndarray:
    """Randomised quantile residuals; refused without a distribution."""
    reason = no_density(rows.tree, rows.family)
    if reason:
        raise ArgumentError(f"quantile residuals need a distribution: {reason}.")
    phi = dispersion_of(rows.tree, rows.family)
    rng = np.random.default_rng(seed)
    return quantile_residuals(rows.family, rows.y, rows.mu, phi, rows.w, rng)


def standardise(rows: RowFit, values: np.ndarray) -> np.ndarray:
    """Residuals over √(a(φ̂)(1 − h)); NaN for a row that is fitted by itself."""
    h = hat_values(rows)
    rest = np.where(h > 1 - ALONE, np.nan, 1 - h)
    return values / np.sqrt(need_scale(rows.a) * rest)


def of_kind(rows: RowFit, kind: str) -> np.ndarray:
    """The residuals of one kind."""
    match kind:
        case "pearson":
            return rows.pearson
        case "deviance":
            return rows.deviance
        case "anscombe":
            return np.sqrt(rows.w) * anscombe(rows.family, rows.y, rows.mu)
        case "working":
            return (rows.y - rows.mu) / rows.slope
    return rows.y - rows.mu
