"""Whether a result tree is whole: nothing lost, cut, reordered or changed since its fit."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.data.frames import all_finite
from expfam_glm.data.rows import ROLES, one_by_one
from expfam_glm.data.stored import DIMENSIONS, is_stored
from expfam_glm.errors import ResultError, show_rows

# What every fit has in its groups, and how its variables lie.
_OF_FIT = {
    "beta": ("coef",),
    "se": ("coef",),
    "df": ("coef",),
    "statistic": ("coef",),
    "p_value": ("coef",),
    "covariance": ("cov_type", "coef", "coef2"),
    "phi": (),
}
_OF_STATS = ("deviance", "pearson_chi2", "df_residual")
_OF_LIKELIHOOD = ("loglik", "null_deviance")
_OF_FORMULA = ("response", "names", "variables", "transforms", "factors", "offset_transforms")
_OF_GEE = ("correlation", "ddof", "dispersion", "association")
# Either says that a tree is one of ours.
_MARKS = ("design", "family_digest")
# Attributes that are numbers, where they are there at all.
_NUMBERS = ("max_rhat", "min_ess_bulk", "rows_used", "rows_dropped", "penalty_scale")
_AGAIN = "pass the tree as fit(), gee() or sample() returned it"


def check_whole(tree: Any, function: str, *, rows: bool = False) -> None:
    """Refuse what is not a result tree, or no longer the one that was fitted.

    Parameters
    ----------
    tree : object
    function : str
        Who asks.
    rows : bool
        Whether the rows of the fit are needed, and not the coefficients alone.

    Raises
    ------
    ResultError
        If a group, variable or attribute is missing or of another kind; if the labels of the
        coefficients or the rows are not those of the fit.
    """
    if not isinstance(tree, xr.DataTree):
        raise ResultError(
            f"{function} takes a DataTree, not a {type(tree).__name__}; "
            "pass what fit(), gee() or sample() returned."
        )
    lacking = [name for name in ("family", "link", "design") if name not in tree.attrs]
    if lacking or not ({"fit", "posterior"} & set(tree.children)):
        raise ResultError(
            f"{function} needs a tree of fit(), gee() or sample(); this one lacks "
            f"{', '.join([*lacking, *([] if lacking else ['the groups fit and posterior'])])}."
        )
    for name, value in tree.attrs.items():
        shape = str(name).startswith("family_") and name != "family_digest"
        if (shape or name in _NUMBERS) and not isinstance(value, Real):
            raise ResultError(f"the attribute {name!r} of the tree is no number; {_AGAIN}.")
    labels = _labels(tree)
    if "fit" in tree.children:
        _check_fit(tree, labels)
        _check_stats(tree)
    if "posterior" in tree.children:
        _check_draws(tree, labels)
    if rows:
        need_rows(tree, function, "constant_data", "observed_data")
    if "constant_data" in tree.children:
        _check_rows(tree, labels, rows)
    if "observed_data" in tree.children and "data_source" not in tree.attrs:
        _check_response(tree)
    if rows and tree.attrs.get("estimator") == "GEE":
        _present(_OF_GEE, tree.attrs, "the attributes")
        _present(("groups",), tree["constant_data"].data_vars, "the group constant_data")


def check_readable(tree: Any, function: str) -> xr.DataTree:
    """The same for what reads estimates or draws alone, also of a tree of another program.

    A tree that bears the marks of a fit must be whole; of another one the coefficients are read.

    Returns
    -------
    DataTree
        The tree.

    Raises
    ------
    ResultError
        If it is not a tree with coefficients, or one of ours that was changed.
    """
    if not isinstance(tree, xr.DataTree):
        raise ResultError(
            f"{function} takes a DataTree, not a {type(tree).__name__}; "
            "pass what fit(), gee() or sample() returned."
        )
    if set(_MARKS) & set(tree.attrs):
        check_whole(tree, function)
        return tree
    if not {"fit", "posterior"} & set(tree.children):
        raise ResultError(
            f"{function} needs a tree with a group 'fit' or 'posterior'; it has "
            f"{', '.join(tree.children) or 'no groups'}."
        )
    if "fit" in tree.children:
        for name in ("beta", "se", "df", "statistic", "p_value", "covariance"):
            _numbers(tree["fit"], name, _OF_FIT[name], "fit")
    else:
        _numbers(tree["posterior"], "beta", ("chain", "draw", "coef"), "posterior")
        if "coef" not in tree["posterior"].coords:
            raise ResultError(
                f"{function} needs labels along the dimension 'coef' of posterior['beta']."
            )
    return tree


def need_rows(tree: xr.DataTree, function: str, *groups: str) -> None:
    """Refuse a tree without the rows of the fit, or without one of these groups of them."""
    if "data_source" in tree.attrs:
        raise ResultError(
            f"{function} needs the rows of the fit, which stayed in {tree.attrs['data_source']!r}; "
            "fit the data in memory."
        )
    for name in groups or ("constant_data",):
        if name not in tree.children:
            raise ResultError(
                f"{function} needs the rows of the fit, and the tree has lost the group {name!r}; "
                f"{_AGAIN}."
            )


def _present(names: Iterable[str], among: Collection[Any], where: str) -> None:
    """Refuse what lacks some names."""
    lost = [name for name in names if name not in among]
    if lost:
        raise ResultError(f"{where} of the tree lack {', '.join(lost)}; {_AGAIN}.")


def _labels(tree: xr.DataTree) -> list[str]:
    """The labels of the coefficients by the design, which is as it was stored."""
    try:
        design = json.loads(str(tree.attrs["design"]))
    except ValueError:
        design = None
    if not isinstance(design, dict) or not isinstance(design.get("labels"), list):
        raise ResultError(
            f"the attribute 'design' of the tree is not the description of a design; {_AGAIN}."
        )
    if not isinstance(design.get("roles", {}), dict):
        raise ResultError(f"the attribute 'design' of the tree has roles of no use; {_AGAIN}.")
    if design.get("formula") is not None:
        _present(_OF_FORMULA, design, "the attribute 'design'")
    return [str(label) for label in design["labels"]]


def _check_labels(group: Any, name: str, labels: list[str], dim: str = "coef") -> None:
    """Refuse coefficients that are not those of the design, in its order."""
    found = [str(label) for label in group.coords[dim].values] if dim in group.coords else None
    if found == labels or (found is None and group.sizes.get(dim) == len(labels)):
        return
    listed = "no labels" if found is None else ", ".join(found) or "none"
    raise ResultError(
        f"the coefficients along {dim!r} of the group {name!r} ({listed}) are not those of the "
        f"design ({', '.join(labels)}): the tree is cut or reordered. Pass the whole one, and "
        "choose coefficients from the result."
    )


def _numbers(group: Any, name: str, dims: tuple[str, ...], where: str) -> np.ndarray:
    """The values of a variable, which are numbers along these dimensions."""
    _present((name,), group.data_vars, f"the group {where}")
    found = group[name]
    if set(found.dims) != set(dims):
        raise ResultError(
            f"{where}[{name!r}] lies along ({', '.join(map(str, found.dims))}), not "
            f"({', '.join(dims)}); {_AGAIN}."
        )
    if found.dtype.kind not in "fiub":
        raise ResultError(f"{where}[{name!r}] holds no numbers, but {found.dtype}; {_AGAIN}.")
    return found.transpose(*dims).values


def _check_fit(tree: xr.DataTree, labels: list[str]) -> None:
    """The estimates: numbers, NaN only where the covariance says aliased."""
    fit = tree["fit"]
    values = {name: _numbers(fit, name, dims, "fit") for name, dims in _OF_FIT.items()}
    for dim in ("coef", "coef2"):
        _check_labels(fit, "fit", labels, dim)
    beta, covariance = values["beta"], values["covariance"]
    if not len(covariance):
        raise ResultError(f"the group fit has no covariance; {_AGAIN}.")
    known = np.isfinite(np.diagonal(covariance, axis1=1, axis2=2)).any(axis=0)
    bad = np.isinf(beta) | (np.isnan(beta) & known)
    if bad.any() or np.isnan(beta).all():
        shown = ", ".join(np.array(labels)[bad if bad.any() else np.isnan(beta)])
        raise ResultError(
            f"fit['beta'] has no finite number for {shown}, which the fit had; {_AGAIN}."
        )
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    if np.any(variances < 0):
        raise ResultError(f"a covariance of the tree has negative variances; {_AGAIN}.")
    if not np.allclose(values["se"] ** 2, variances[0], rtol=1e-6, equal_nan=True) or np.any(
        values["se"] < 0
    ):
        raise ResultError(
            f"fit['se'] is not the root of the diagonal of the first covariance; {_AGAIN}."
        )
    for name in map(str, fit.data_vars):
        if fit[name].dtype.kind not in "fiub":
            raise ResultError(f"fit[{name!r}] holds no numbers, but {fit[name].dtype}; {_AGAIN}.")


def _check_stats(tree: xr.DataTree) -> None:
    """The statistics of the fit: numbers, deviances not negative."""
    _present(["fit_stats"], tree.children, "the groups")
    stats = tree["fit_stats"]
    likelihood = () if tree.attrs.get("estimator") == "GEE" else _OF_LIKELIHOOD
    _present([*_OF_STATS, *likelihood], stats.data_vars, "the group fit_stats")
    for name in map(str, stats.data_vars):
        value = _numbers(stats, name, (), "fit_stats")
        if name in ("deviance", "pearson_chi2") and not value >= 0:
            raise ResultError(f"fit_stats[{name!r}] is {value}, which no fit has; {_AGAIN}.")


def _check_draws(tree: xr.DataTree, labels: list[str]) -> None:
    """The draws: of these coefficients, and finite where nothing else says what they are."""
    beta = _numbers(tree["posterior"], "beta", ("chain", "draw", "coef"), "posterior")
    _check_labels(tree["posterior"], "posterior", labels)
    if "log_likelihood" in tree.children:
        _numbers(tree["log_likelihood"], "y", ("chain", "draw", "obs_id"), "log_likelihood")
    if "fit" not in tree.children and not (beta.size and all_finite(beta)):
        raise ResultError(f"posterior['beta'] holds no draws, or NaN among them; {_AGAIN}.")


def _check_rows(tree: xr.DataTree, labels: list[str], rows: bool) -> None:
    """The rows of the fit: as many as it had, the same ones in every group, numbers."""
    data = tree["constant_data"]
    if not is_stored(data.data_vars) and not rows:
        return
    coded = "X_levels" in data.data_vars
    count = 0
    for name in [n for n in DIMENSIONS if n in data.data_vars] if coded else ["X"]:
        values = _numbers(data, name, DIMENSIONS[name], "constant_data")
        count = len(values) if DIMENSIONS[name][0] == "obs_id" else count
        if not all_finite(values):
            raise ResultError(f"constant_data[{name!r}] has values that are not finite; {_AGAIN}.")
    if coded:
        _check_levels(data)
    _check_labels(data, "constant_data", labels)
    named = json.loads(str(tree.attrs["design"])).get("roles", {})
    _present([*named, *str(tree.attrs.get("row_columns", "")).split()], data.data_vars,
             "the group constant_data")  # fmt: skip
    for role in (role for role in ROLES if role in data.data_vars):
        values = _numbers(data, role, ("obs_id",), "constant_data")
        bad = ~np.isfinite(values) | ((values < 0) & (role != "offset"))
        if bad.any():
            raise ResultError(
                f"constant_data[{role!r}] has values that no fit takes ({show_rows(values, bad)}); "
                f"{_AGAIN}."
            )
    for name, then in _counts(tree):
        if not np.isclose(then, count, rtol=1e-9):
            raise ResultError(
                f"the tree holds {count} rows, but {name} {then:g}: rows were cut out of it. Pass "
                "the whole tree, and choose rows from the result."
            )
    rows_there = data.coords["obs_id"].values if "obs_id" in data.coords else np.arange(count)
    for name in ("observed_data", "log_likelihood", "posterior_predictive"):
        if name not in tree.children or "obs_id" not in tree[name].dims:
            continue
        group, own = tree[name], rows_there
        if name == "log_likelihood" and "freq_weights" in data.data_vars:
            own = one_by_one(own, np.asarray(data["freq_weights"]))
        other = group.coords["obs_id"].values if "obs_id" in group.coords else np.arange(own.size)
        if group.sizes["obs_id"] != own.size or not np.array_equal(own, other):
            raise ResultError(
                f"the rows of the groups 'constant_data' and {name!r} are not the same; {_AGAIN}."
            )


def _check_levels(data: Any) -> None:
    """A coded design: the parts that belong together, and levels that there are."""
    both = {"X_numeric", "X_places"}
    needed = {"X_of_level"} | (both if both & set(data.data_vars) else set())
    _present(sorted(needed), data.data_vars, "the group constant_data")
    levels = data["X_levels"].values
    if levels.size and not 0 <= levels.min() <= levels.max() < data.sizes["X_level"]:
        raise ResultError(f"constant_data['X_levels'] has levels that there are not; {_AGAIN}.")


def _counts(tree: xr.DataTree) -> Iterable[tuple[str, float]]:
    """How many rows the fit had, by what it says of itself."""
    if "rows_used" in tree.attrs:
        yield "it was made from", float(tree.attrs["rows_used"])
    elif "fit_stats" in tree.children and "n_observations" in tree["fit_stats"].data_vars:
        if "freq_weights" not in tree["constant_data"].data_vars:
            yield "its n_observations is", float(tree["fit_stats"]["n_observations"])


def _check_response(tree: xr.DataTree) -> None:
    """The response: finite numbers."""
    y = _numbers(tree["observed_data"], "y", ("obs_id",), "observed_data")
    if not np.isfinite(y).all():
        raise ResultError(f"observed_data['y'] has values that are not finite; {_AGAIN}.")
