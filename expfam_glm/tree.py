"""The result tree: its groups, variables, dimensions and attributes, in one place.

A likelihood or estimating-equation road hands over an `Estimate`, and `likelihood_tree` turns it
into the `xarray.DataTree` that ArviZ reads. Text and numbers only are stored as attributes, so
that a tree goes through netCDF and Zarr (`zarr_format=2`) and comes back whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.indexes import PandasIndex

from expfam_glm.asymptotic import NormalDraws
from expfam_glm.data.later import is_later
from expfam_glm.data.stored import DIMENSIONS
from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.numerics.normal_draws import square_root
from expfam_glm.numerics.wald import default_ci_prob, wald_interval, wald_p_value
from expfam_glm.spec.domain import Positive
from expfam_glm.spec.scale import Scale

_VERSIONS_OF = ("numpy", "scipy", "xarray", "arviz-base", "pytensor", "pymc", "nutpie")

LARGEST_DRAWS = 10**9  # of chains × draws, for one coefficient

type Variables = dict[str, tuple[Any, ...]]  # dims, values and, if need be, attributes


@dataclass(frozen=True)
class Estimate:
    """What a likelihood or estimating-equation road hands over to the result tree.

    Parameters
    ----------
    kind : str
        "maximum likelihood" or "GEE".
    labels : tuple of str, length p
        Names of the coefficients.
    beta : ndarray (p,)
        Coefficients on the scale of the linear predictor; NaN where aliased.
    covariances : dict of str to ndarray (p, p)
        Covariance of `beta` by type; rows and columns of aliased coefficients are NaN. The first
        one is used for draws, tests and intervals.
    df : float, ndarray (p,) or None
        Degrees of freedom of the t tests, for all or for each coefficient; None for z tests.
    fit : dict of str to (dims, values)
        Further variables of the group `fit`, such as `phi`, `alpha`, `working_correlation`.
    fit_coords : dict of str to sequence
        Coordinates of the dimensions that `fit` adds.
    positive : dict of str to (float, float)
        Positive parameters estimated by likelihood: estimate, and standard error of its logarithm.
    shapes : dict of str to (float, float, Scale)
        Shape parameters estimated by likelihood: estimate, standard error on the working scale, and
        that scale.
    correlation : ndarray (k, k), optional
        Correlation of the estimates of `positive` and `shapes`, in this order, on their working
        scales; none if not given.
    fit_stats : dict of str to number
        Deviance, log-likelihood and the like; `converged` as 0 or 1.
    observed : dict of str to ndarray (n,)
        The response.
    constant : dict of str to ndarray
        `X` (n, p), and what else is needed to refit and predict, each (n,).
    attrs : dict of str to str, float or int
        Attributes of the whole tree: family, link, formula, design and so on.
    obs_id : sequence of int (n,), optional
        The numbers of the rows in the data as given; 0 to n − 1 if not given.
    """

    kind: str
    labels: tuple[str, ...]
    beta: np.ndarray
    covariances: dict[str, np.ndarray]
    df: float | np.ndarray | None
    fit: dict[str, tuple[tuple[str, ...], np.ndarray | float]]
    fit_coords: dict[str, Sequence]
    positive: dict[str, tuple[float, float]]
    fit_stats: dict[str, float | int]
    observed: dict[str, np.ndarray]
    constant: dict[str, np.ndarray]
    attrs: dict[str, str | float | int]
    shapes: dict[str, tuple[float, float, Scale]] = field(default_factory=dict)
    correlation: np.ndarray | None = None
    obs_id: Sequence[int] | None = None

    @property
    def further(self) -> dict[str, tuple[float, float, Scale]]:
        """The parameters beside β that are estimated by likelihood."""
        positive = {name: (*pair, Scale(Positive)) for name, pair in self.positive.items()}
        return positive | self.shapes


def check_options(ci_prob: float | None, chains: int, draws: int, random_seed: int | None) -> int:
    """Refuse bad options before a fit is spent on them; the seed, a fresh one for None."""
    default_ci_prob(ci_prob)
    for name, count in (("chains", chains), ("draws", draws)):
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ArgumentError(f"{name}={count!r} must be a whole number from 1.")
    if chains * draws > LARGEST_DRAWS:
        raise ArgumentError(
            f"chains={chains} times draws={draws} are more than {LARGEST_DRAWS:.0e} draws, which "
            "no memory holds; take fewer."
        )
    if random_seed is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_seed, bool) or not isinstance(random_seed, Integral) or random_seed < 0:
        raise ArgumentError(f"random_seed={random_seed!r} must be a whole number from 0, or None.")
    return int(random_seed)


def likelihood_tree(
    estimate: Estimate,
    *,
    ci_prob: float | None = None,
    chains: int = 4,
    draws: int = 1000,
    random_seed: int = 0,
) -> xr.DataTree:
    """Lay out an estimate as a result tree with draws of its asymptotic normal distribution.

    Parameters
    ----------
    estimate : Estimate
        Coefficients, covariances and everything else that the fit found.
    ci_prob : float, optional
        Probability of `fit.interval`; ArviZ's setting `stats.ci_prob` by default.
    chains, draws : int
        Shape of the draws. ArviZ draws two models in one plot only if they agree in it.
    random_seed : int
        Seed of the draws, stored as an attribute.

    Returns
    -------
    xarray.DataTree
        Groups `posterior`, `fit`, `fit_stats`, `observed_data`, `constant_data`. In `fit`, `df`
        are the degrees of freedom of the tests, infinite for z tests. The draws of an aliased
        coefficient, or of one without a standard error, are NaN.

    Raises
    ------
    ArgumentError
        If `ci_prob` is not inside (0, 1), or if there are too few draws to match the moments.
    ResultError
        If the covariance is not positive semi-definite, or an attribute is neither text nor number.

    Notes
    -----
    The draws are moment-matched: over all chains their mean is β̂ and their covariance (with
    divisor one less than the number of draws) is V̂, to rounding. Positive parameters are drawn
    log-normally, shape parameters normally on the working scale that the attribute `scale` of their
    standard error names; both uncorrelated with β.

    Examples
    --------
    >>> import numpy as np
    >>> estimate = Estimate(
    ...     kind="maximum likelihood", labels=("Intercept",), beta=np.array([1.0]),
    ...     covariances={"fisher": np.array([[0.25]])}, df=None, fit={}, fit_coords={},
    ...     positive={}, fit_stats={"deviance": 3.2}, observed={"y": np.ones(4)},
    ...     constant={"X": np.ones((4, 1))}, attrs={"family": "poisson"},
    ... )
    >>> tree = likelihood_tree(estimate, ci_prob=0.95)
    >>> tree["fit"]["interval"].values.round(2).tolist()
    [[0.02, 1.98]]
    """
    prob = default_ci_prob(ci_prob)
    kind = f"draws of the asymptotic normal distribution of the {estimate.kind} estimate"
    attrs = common_attrs(
        kind=kind, estimator=estimate.kind, random_seed=random_seed, **estimate.attrs
    )
    posterior = _posterior(estimate, chains, draws, random_seed)
    fit = _fit(estimate, prob)
    fit_stats: Variables = {
        name: ((), _plain(name, value)) for name, value in estimate.fit_stats.items()
    }
    observed = by_row(estimate.observed)
    constant = by_row(estimate.constant)
    dims: dict[str, Sequence] = {
        "chain": range(chains),
        "draw": range(draws),
        "coef": estimate.labels,
        "coef2": estimate.labels,
        "cov_type": list(estimate.covariances),
        "ci_bound": ["lower", "upper"],
        "obs_id": (
            range(next((y.shape[0] for y in estimate.observed.values()), 0))
            if estimate.obs_id is None
            else estimate.obs_id
        ),
    }
    coords = coordinates(dims | estimate.fit_coords)
    groups = {
        "posterior": group(posterior, coords, kind=kind),
        "fit": group(fit, coords, ci_prob=prob),
        "fit_stats": group(fit_stats, coords),
        "observed_data": group(observed, coords),
        "constant_data": group(constant, coords),
    }
    tree = xr.DataTree(xr.Dataset(attrs=attrs))
    # unlike DataTree.from_dict, the setter copies no node: half the time of the whole function
    tree.children = {name: xr.DataTree(group) for name, group in groups.items()}
    return tree


def common_attrs(**attrs: Any) -> dict[str, str | float | int]:
    """Attributes that every result tree carries, and the given ones.

    Parameters
    ----------
    **attrs : str, float or int
        Further attributes. NumPy scalars become plain numbers and booleans 0 or 1.

    Returns
    -------
    dict
        `inference_library`, its version, `versions` (JSON text), `created_at` (ISO, UTC), and
        `attrs`.

    Raises
    ------
    ResultError
        If a value is neither text nor number: it would not survive netCDF.

    Examples
    --------
    >>> common_attrs(family="poisson")["inference_library"]
    'expfam_glm'
    """
    return {
        "inference_library": "expfam_glm",
        "inference_library_version": _version("expfam_glm"),
        "versions": _versions(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    } | {name: _plain(name, value) for name, value in attrs.items()}


def _fit(estimate: Estimate, ci_prob: float) -> Variables:
    """The group `fit`: estimates, their uncertainty and tests."""
    beta = np.array(estimate.beta, dtype=float)
    covariance = np.stack([np.asarray(V, dtype=float) for V in estimate.covariances.values()])
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.sqrt(np.diagonal(covariance[0]))
        statistic = beta / se
    df = np.full(beta.shape, np.inf) if estimate.df is None else estimate.df + np.zeros(beta.shape)
    variables: Variables = {
        "beta": (("coef",), beta),
        "se": (("coef",), se),
        "covariance": (("cov_type", "coef", "coef2"), covariance),
        "statistic": (("coef",), statistic),
        "p_value": (("coef",), wald_p_value(statistic, df)),
        "df": (("coef",), df),
        "interval": (("coef", "ci_bound"), wald_interval(beta, se, df, ci_prob)),
    }
    variables |= estimate.fit
    for name, (value, spread, scale) in estimate.further.items():
        error = "_".join(filter(None, ["se", scale.name, name]))
        variables |= {
            name: ((), value, {"standard_error": error}),
            error: ((), spread, {"scale": scale.written(name)}),
        }
    return variables


def _posterior(estimate: Estimate, chains: int, draws: int, random_seed: int) -> Variables:
    """The group `posterior`: moment-matched draws of N(β̂, V̂) and of the positive parameters."""
    for name, count in (("chains", chains), ("draws", draws)):
        if count < 1:
            raise ArgumentError(f"{name}={count!r} is not a positive number.")
    beta = np.asarray(estimate.beta, dtype=float)
    cov_type, V = next(iter(estimate.covariances.items()))
    known = np.isfinite(beta) & np.isfinite(np.diagonal(V))
    root = square_root(np.asarray(V, dtype=float)[np.ix_(known, known)], cov_type)
    drawn = {name: entry for name, entry in estimate.further.items() if np.isfinite(entry[1])}
    q = len(root)
    onto = np.eye(q + len(drawn))
    onto[:q, :q] = root
    if estimate.correlation is not None and drawn:
        onto[q:, q:] = square_root(estimate.correlation, "correlation of the parameters")
    centre = np.concatenate([beta[known], np.zeros(len(drawn))])
    found = NormalDraws(centre, onto, chains, draws, random_seed)
    variables: Variables = {"beta": (("chain", "draw", "coef"), found.vector(known))}
    for place, (name, entry) in enumerate(drawn.items(), start=q):
        variables[name] = (("chain", "draw"), found.scalar(place, *entry))
    return variables


def by_row(columns: Mapping[str, Any]) -> Variables:
    """Variables with one value for each observation, and those of the design."""
    return {
        name: (DIMENSIONS.get(name, ("obs_id",)), _storable(values))
        for name, values in columns.items()
    }


def coordinates(dims: Mapping[str, Sequence]) -> xr.Coordinates:
    """Labelled dimensions; from plain arrays xarray would first load every array library it knows.

    Parameters
    ----------
    dims : dict of str to sequence
        The labels along each dimension.
    """
    indexes = {}
    for dim, labels in dims.items():
        if isinstance(labels, range):
            indexes[dim] = PandasIndex(pd.RangeIndex(labels.start, labels.stop, labels.step), dim)
            continue
        array = np.asarray(labels)
        kind = object if array.dtype.kind == "U" else None
        indexes[dim] = PandasIndex(pd.Index(array, dtype=kind), dim, coord_dtype=array.dtype)
    variables = {dim: index.create_variables()[dim] for dim, index in indexes.items()}
    return xr.Coordinates(variables, indexes=indexes)


def group(variables: Variables, coords: xr.Coordinates, **attrs: str | float) -> xr.Dataset:
    """A dataset of the variables with those coordinates that they use, indexes shared."""
    used = {dim for dims, *_ in variables.values() for dim in dims}
    indexes = {dim: index for dim, index in coords.xindexes.items() if dim in used}
    chosen = xr.Coordinates({dim: coords.variables[dim] for dim in indexes}, indexes=indexes)
    stored = {name: _stored(*entry) for name, entry in variables.items()}
    return xr.Dataset(stored, coords=chosen, attrs=attrs)


def _stored(dims: tuple[str, ...], values: Any, attrs: Any = None) -> xr.Variable:
    """A variable of the values; numbers and text skip the search for other libraries' arrays."""
    if is_later(values):
        return xr.Variable(dims, values, attrs, fastpath=True)
    array = np.asarray(values)
    return xr.Variable(dims, array, attrs, fastpath=array.dtype.kind in "biufcU")


def _storable(values: Any) -> Any:
    """The values as an array that netCDF and Zarr can hold: mixed objects become text."""
    if is_later(values):
        return values
    array = np.asarray(values)
    return array.astype(str) if array.dtype.kind in "OT" else array


def _plain(name: str, value: Any) -> str | float | int:
    """A plain text or number for an attribute or a statistic."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | float | int):
        return value
    raise ResultError(
        f"attribute {name!r} is {value!r}, a {type(value).__name__}; "
        "only text and numbers can be stored."
    )


@cache
def _version(package: str) -> str:
    """The installed version of a package, or "unknown" where it runs without being installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def _versions() -> str:
    """The versions of Python and of the packages behind a result, as JSON text."""
    found = {package: _version(package) for package in _VERSIONS_OF}
    return json.dumps({"python": sys.version.split()[0]} | found)
