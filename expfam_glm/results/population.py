"""From effects within groups to effects in the population: group effects integrated out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from expfam_glm.errors import ConvergenceError, ResultError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.results.fitted import (
    OF_DRAWS,
    Rows,
    check_tree,
    family_of,
    group_effects,
    link_of,
    need_family,
    rows_of,
)
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

_NODES = 40  # of the Gauss-Hermite rule, exact for polynomials of degree 79 in b
_ENTRIES = 2**20  # draws × rows at a time
_MOST_STEPS = 50
_CLOSE = 1e-10  # a step relative to the coefficients ends the iteration


@dataclass(frozen=True)
class _Cells:
    """Distinct rows of (X, Z, offset) with the sum of their weights."""

    X: np.ndarray
    Z: tuple[np.ndarray, ...]
    offset: np.ndarray
    w: np.ndarray


def population_average(
    tree: xr.DataTree,
    *,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> xr.DataTree:
    """The coefficients in the population of a model with group effects.

    Parameters
    ----------
    tree : xarray.DataTree
        What `sample` returned for a formula with `(… | g)`, also when read back from a file.
    family, link : Family, Link, optional
        The declaration, where the family or link is not a built-in one.

    Returns
    -------
    xarray.DataTree
        The same tree with draws of the population-averaged `beta` in `posterior`, and the draws as
        they were in the group `posterior_within_groups`. The attribute `averaged_over` names the
        groups.

    Raises
    ------
    ResultError
        If the tree has no group effects, or its average mean is no mean of the family.
    ArgumentError
        If a declared family or link is needed and not given.
    ConvergenceError
        If the marginal coefficients of some draw are not found.

    Notes
    -----
    For each draw μ̄ᵢ = E g⁻¹(xᵢᵀβ + zᵢᵀb), b ~ N(0, Σ), by Gauss-Hermite quadrature in the single
    variable zᵢᵀb, and the marginal coefficients solve the score equation of independence with μ̄
    for the response, Σ w (μ̄ᵢ − μᵢ) θ′(ηᵢ) xᵢ = 0. They estimate what estimating equations do. For
    random intercepts: identity, β itself; log, the intercept gains σ²/2; probit, β/√(1 + σ²).

    References
    ----------
    Zeger, Liang and Albert (1988), Models for longitudinal data: a generalized estimating equation
    approach, Biometrics 44, 1049-1060.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> ohio = eg.load_data("ohio")
    >>> model = eg.GLM("wheeze ~ age + smoke", ohio, family="binomial")
    >>> population_average(model.laplace(random_seed=1))
    Traceback (most recent call last):
    expfam_glm.errors.ResultError: the tree has no group effects to average over...
    """
    check_tree(tree, "population_average", rows=True)
    posterior, data = tree["posterior"].to_dataset(), tree["constant_data"].to_dataset()
    if "averaged_over" in tree.attrs:
        raise ResultError(
            f"these coefficients are averages over {tree.attrs['averaged_over']!r} already; "
            "population_average() takes the tree of sample()."
        )
    groups = group_effects(tree)
    if not groups:
        raise ResultError(
            "the tree has no group effects to average over; write them in the formula, such as "
            "y ~ x + (1 | g), or estimate the population's coefficients with gee()."
        )
    declared = need_family(tree, family_of(tree, family), "population_average()")
    g = link_of(tree, declared, link)
    cells = _cells(data, groups, rows_of(tree, g))
    beta = posterior["beta"].transpose("chain", "draw", "coef").values
    flat = beta.reshape(-1, beta.shape[-1])
    roots = [_root(posterior, name) for name in groups]
    moved = np.empty_like(flat)
    size = max(1, _ENTRIES // (cells.w.size * _NODES))
    for first in range(0, len(flat), size):
        rows = slice(first, first + size)
        shapes = [posterior[name].values.ravel()[rows] for name in declared.shape]
        own = [root[rows] for root in roots]
        moved[rows] = _marginal(declared, g, cells, flat[rows], own, shapes)
    result = xr.DataTree(xr.Dataset(attrs=tree.attrs | {"averaged_over": ", ".join(groups)}))
    dims = ("chain", "draw", "coef")
    parts = {
        "posterior": posterior.assign(beta=(dims, moved.reshape(beta.shape))),
        "posterior_within_groups": posterior,
    }
    parts |= {
        key: node.to_dataset()
        for key, node in tree.children.items()
        if key not in parts and key not in OF_DRAWS
    }
    result.children = {key: xr.DataTree(dataset) for key, dataset in parts.items()}
    return result


def _cells(data: xr.Dataset, groups: list[str], rows: Rows) -> _Cells:
    """The rows of the fit, equal ones together."""
    Z = [data[f"Z_{name}"].transpose("obs_id", f"effect_{name}").values for name in groups]
    m = len(rows.X)
    offset = np.zeros(m) if rows.offset is None else rows.offset
    w = (1.0 if rows.w is None else rows.w) * (np.ones(m) if rows.f is None else rows.f)
    cells, where = np.unique(np.column_stack([rows.X, *Z, offset]), axis=0, return_inverse=True)
    ends = np.cumsum([rows.X.shape[1], *(z.shape[1] for z in Z)])
    pieces = np.split(cells, ends, axis=1)
    return _Cells(pieces[0], tuple(pieces[1:-1]), cells[:, -1], np.bincount(where.ravel(), w))


def _root(posterior: xr.Dataset, name: str) -> np.ndarray:
    """A root of the covariance of one group's effects for each draw, (S, q, q)."""
    effect = f"effect_{name}"
    sd = posterior[f"sd_{name}"].transpose("chain", "draw", effect).values
    sd = sd.reshape(-1, sd.shape[-1])
    if f"corr_{name}" not in posterior:
        return sd[:, :, None] * np.eye(sd.shape[1])
    corr = posterior[f"corr_{name}"].transpose("chain", "draw", effect, f"{effect}2").values
    return sd[:, :, None] * np.linalg.cholesky(corr.reshape(-1, *corr.shape[2:]))


def _marginal(
    family: Family,
    link: Link,
    cells: _Cells,
    beta: np.ndarray,
    roots: list[np.ndarray],
    shapes: list[np.ndarray],
) -> np.ndarray:
    """The marginal coefficients of some draws, (s, p)."""
    eta = beta @ cells.X.T + cells.offset
    variance = np.zeros_like(eta)
    for Z, root in zip(cells.Z, roots, strict=True):
        variance += np.sum(np.einsum("mq,sqr->smr", Z, root) ** 2, axis=-1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    spread = eta[..., None] + np.sqrt(variance)[..., None] * nodes
    image = link.image(family.mean_space)
    if not (image.low < spread.min() and spread.max() < image.high):
        raise ResultError(
            f"the group effects carry linear predictors out of {image}, where the link "
            f"{link.name!r} has no mean; there is no average over the population."
        )
    mean = link.inverse(spread) @ (weights / weights.sum())
    spread_shapes = [np.broadcast_to(values[:, None], eta.shape).ravel() for values in shapes]
    kernel = row_kernel(family, link, ("score", "weight"))
    w = np.broadcast_to(cells.w, eta.shape)
    result = _start(link, image, cells, beta, mean)
    for _ in range(_MOST_STEPS):
        now = result @ cells.X.T + cells.offset
        found = kernel(now.ravel(), mean.ravel(), w.ravel(), *spread_shapes)
        u, W = (np.broadcast_to(v, now.size).reshape(now.shape) for v in found)
        information = np.einsum("sm,mi,mj->sij", W, cells.X, cells.X, optimize=True)
        try:
            step = np.linalg.solve(information, (u @ cells.X)[..., None])[..., 0]
        except np.linalg.LinAlgError:
            break
        for k in range(30):  # halved while η leaves the domain of the link
            moved = (result + step * 0.5**k) @ cells.X.T + cells.offset
            if image.low < moved.min() and moved.max() < image.high:
                break
        result = result + step * 0.5**k
        if np.max(np.abs(step) / (np.abs(result) + 1e-3)) < _CLOSE:
            return result
    raise ConvergenceError(
        "the marginal coefficients of some draw were not found; the design may have columns that "
        "are nearly collinear.",
        result,
    )


def _start(
    link: Link, image: Domain, cells: _Cells, beta: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """Least squares on the link scale of the average means; from β itself Newton may overshoot."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        eta = link.link(mean) - cells.offset
        root = np.sqrt(cells.w)
        near = (root * eta) @ np.linalg.pinv(root[:, None] * cells.X).T
        moved = near @ cells.X.T + cells.offset
    inside = ((image.low < moved) & (moved < image.high)).all(axis=1)
    return np.where(inside[:, None], near, beta)
