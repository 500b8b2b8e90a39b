"""Several models of the same coefficients side by side, whichever road they came by."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from expfam_glm.errors import ResultError
from expfam_glm.numerics.wald import default_ci_prob, wald_interval
from expfam_glm.results.sheet import Sheet
from expfam_glm.results.text import decimals, number, percent

INNER_PROB = 0.5


@dataclass(frozen=True)
class Marginals:
    """What one tree says about each coefficient by itself."""

    kind: str
    labels: list[str]
    estimate: np.ndarray
    se: np.ndarray
    interval: Callable[[float], np.ndarray]  # probability -> (p, 2)
    parameters: dict[str, float]  # phi and shapes


def compare(trees: Mapping[str, xr.DataTree], *, ci_prob: float | None = None) -> xr.Dataset:
    """Compare coefficients, dispersion and shapes of several fits with the first of them.

    Parameters
    ----------
    trees : mapping of str to DataTree
        Result trees by model name, of either road; the first is the reference.
    ci_prob : float, optional
        Probability of the intervals; ArviZ's setting `stats.ci_prob` by default.

    Returns
    -------
    xarray.Dataset
        On the scale of the linear predictor, for each model and coefficient: `estimate`
        (posterior mean after sampling), `se` (posterior standard deviation after sampling),
        `interval` and `inner_interval` (probability 0.5, or half of a `ci_prob` below that),
        `pull`, `spread_ratio`; for each model `phi` and the shape parameters. What a model does
        not have is NaN. Attributes: `reference`, `ci_prob`, `inner_prob`, and `kind` (JSON text,
        by model).

    Raises
    ------
    ResultError
        If there is nothing to compare, or a value is not a result tree.
    ArgumentError
        If `ci_prob` is not inside (0, 1).

    Notes
    -----
    With the reference model 0, pull = (β̂ − β̂₀)/se₀ and spread_ratio = se/se₀. Likelihood and
    estimating-equation trees give exact Wald intervals (normal or t, as fitted); draws give
    equal-tailed intervals. Coefficients are aligned by name, in order of first appearance.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 1))
    >>> posterior = xr.Dataset({"beta": (("chain", "draw", "coef"), draws)}, {"coef": ["x"]})
    >>> tree = xr.DataTree.from_dict({"posterior": posterior})
    >>> compare({"prior A": tree, "prior B": tree}).pull.values.tolist()
    [[0.0], [0.0]]
    """
    prob = default_ci_prob(ci_prob)
    inner_prob = INNER_PROB if prob > INNER_PROB else prob / 2
    if isinstance(trees, xr.DataTree) or not isinstance(trees, Mapping):
        raise ResultError(
            f"compare takes a mapping of model names to trees, not a {type(trees).__name__}; "
            'write compare({"MLE": tree, ...}).'
        )
    if not trees:
        raise ResultError("compare was given no trees; pass at least one, by name.")
    _same_data(trees)
    models = {str(name): _marginals(tree, str(name)) for name, tree in trees.items()}
    coefs = list(dict.fromkeys(label for m in models.values() for label in m.labels))
    names = dict.fromkeys(["phi", *(name for m in models.values() for name in m.parameters)])

    def aligned(values: Callable[[Marginals], np.ndarray]) -> np.ndarray:
        return np.stack([_align(values(m), m.labels, coefs) for m in models.values()])

    estimate, se = aligned(lambda m: m.estimate), aligned(lambda m: m.se)
    with np.errstate(divide="ignore", invalid="ignore"):
        pull, spread_ratio = (estimate - estimate[0]) / se[0], se / se[0]
    by_coef, by_bound = ("model", "coef"), ("model", "coef", "ci_bound")
    return xr.Dataset(
        {
            "estimate": (by_coef, estimate),
            "se": (by_coef, se),
            "interval": (by_bound, aligned(lambda m: m.interval(prob))),
            "inner_interval": (by_bound, aligned(lambda m: m.interval(inner_prob))),
            "pull": (by_coef, pull),
            "spread_ratio": (by_coef, spread_ratio),
        }
        | {
            name: ("model", [m.parameters.get(name, np.nan) for m in models.values()])
            for name in names
        },
        coords={"model": list(models), "coef": coefs, "ci_bound": ["lower", "upper"]},
        attrs={
            "reference": next(iter(models)),
            "ci_prob": prob,
            "inner_prob": inner_prob,
            "kind": json.dumps({name: m.kind for name, m in models.items()}, ensure_ascii=False),
        },
    )


def _marginals(tree: xr.DataTree, name: str) -> Marginals:
    """What a tree says about each coefficient: exactly from `fit`, else from draws."""
    if not isinstance(tree, xr.DataTree):
        raise ResultError(
            f"model {name!r} is a {type(tree).__name__}, not a DataTree; "
            "pass what fit(), gee() or sample() returned."
        )
    for group, read in (("fit", _from_fit), ("posterior", _from_draws)):
        if group in tree.children:
            found = read(tree)
            break
    else:
        raise ResultError(
            f"model {name!r} has neither a group 'fit' nor 'posterior'; "
            f"it has {', '.join(tree.children) or 'no groups'}."
        )
    if found is None:
        raise ResultError(
            f"model {name!r} has no coefficients: group {group!r} holds "
            f"{', '.join(map(str, tree[group].data_vars)) or 'nothing'}, "
            "and 'beta' with the dimension 'coef' is needed."
        )
    if len(set(found.labels)) < len(found.labels):
        twice = sorted({label for label in found.labels if found.labels.count(label) > 1})
        raise ResultError(f"model {name!r} has coefficients of the same name: {', '.join(twice)}.")
    return found


def _from_fit(tree: xr.DataTree) -> Marginals | None:
    """Estimates and exact intervals of a likelihood or estimating-equation tree."""
    fit = tree["fit"].to_dataset()
    if not {"beta", "se", "df"} <= set(fit.data_vars):
        return None
    beta, se, df = (fit[name].values for name in ("beta", "se", "df"))
    covariance = str(fit["cov_type"].values[0])
    parameters = [n for n, v in fit.data_vars.items() if n == "phi" or "standard_error" in v.attrs]
    return Marginals(
        kind=f"{tree.attrs.get('estimator', 'likelihood')}, {covariance} covariance",
        labels=[str(label) for label in fit["coef"].values],
        estimate=beta,
        se=se,
        interval=lambda prob: wald_interval(beta, se, df, prob),
        parameters={str(name): float(fit[name]) for name in parameters if not fit[name].dims},
    )


def _from_draws(tree: xr.DataTree) -> Marginals | None:
    """Posterior means, standard deviations and equal-tailed intervals of a sampled tree."""
    posterior = tree["posterior"].to_dataset()
    if set(getattr(posterior.get("beta"), "dims", ())) != {"chain", "draw", "coef"}:
        return None
    beta = posterior["beta"].transpose("chain", "draw", "coef")
    draws = beta.values.reshape(-1, beta.sizes["coef"])
    return Marginals(
        kind=str(tree.attrs.get("kind", "posterior draws")),
        labels=[str(label) for label in beta["coef"].values],
        estimate=draws.mean(axis=0),
        se=draws.std(axis=0, ddof=1),
        interval=lambda prob: np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2], axis=0).T,
        parameters={
            str(name): float(values.mean())
            for name, values in posterior.data_vars.items()
            if set(values.dims) == {"chain", "draw"}
        },
    )


def _align(values: np.ndarray, labels: list[str], coefs: list[str]) -> np.ndarray:
    """The rows of `values` in the order of `coefs`, NaN for those that are not there."""
    result = np.full((len(coefs), *values.shape[1:]), np.nan)
    result[[coefs.index(label) for label in labels]] = values
    return result


def format_comparison(table: xr.Dataset) -> str:
    """Write a comparison as a text table, one block of lines for each coefficient.

    Parameters
    ----------
    table : xarray.Dataset
        What `compare` returned.

    Returns
    -------
    str

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 1))
    >>> posterior = xr.Dataset({"beta": (("chain", "draw", "coef"), draws)}, {"coef": ["x"]})
    >>> table = compare({"A": xr.DataTree.from_dict({"posterior": posterior})}, ci_prob=0.9)
    >>> print(format_comparison(table))
       model  estimate    se   90% interval  pull  spread
    x  A         -0.03  1.00  [-1.64, 1.60]  0.00    1.00
    <BLANKLINE>
    A: posterior draws
    pull: difference from A in standard errors of A; spread: standard error over that of A.
    """
    return str(comparison_sheet(table))


def comparison_sheet(table: xr.Dataset) -> Sheet:
    """A comparison as it is shown, one block of lines for each coefficient."""
    reference = table.attrs["reference"]
    header = ("", "model", "estimate", "se", f"{percent(table.attrs['ci_prob'])}% interval")
    lines: list[tuple[str, ...]] = [(*header, "pull", "spread")]
    for coef in table["coef"].values:
        row = table.sel(coef=coef)
        places = decimals(row["se"].values)
        for i, model in enumerate(table["model"].values):
            one = row.isel(model=i)
            lower, upper = (number(float(end), places) for end in one["interval"])
            lines.append(
                (
                    str(coef) if i == 0 else "",
                    str(model),
                    number(float(one["estimate"]), places),
                    number(float(one["se"]), places),
                    f"[{lower}, {upper}]" if math.isfinite(one["interval"][0]) else number(np.nan),
                    number(float(one["pull"])),
                    number(float(one["spread_ratio"])),
                )
            )
    for name, values in table.data_vars.items():
        if values.dims != ("model",) or not values.notnull().any():
            continue
        places = decimals(values.values, figures=4)
        for i, model in enumerate(table["model"].values):
            value = number(float(values[i]), places)
            lines.append((str(name) if i == 0 else "", str(model), value, "", "", "", ""))
    kinds = [f"{model}: {kind}" for model, kind in json.loads(table.attrs["kind"]).items()]
    legend = (
        f"pull: difference from {reference} in standard errors of {reference}; "
        f"spread: standard error over that of {reference}."
    )
    return Sheet(lines, below=[*kinds, legend], left=2)


def _same_data(trees: Mapping[str, xr.DataTree]) -> None:
    """Refuse trees whose coefficients do not mean the same: other responses, or another link."""
    seen: tuple[str, np.ndarray | None, str] | None = None
    for name, tree in trees.items():
        if not isinstance(tree, xr.DataTree):
            continue  # refused with its own message
        y = np.asarray(tree["observed_data"]["y"]) if "observed_data" in tree.children else None
        link = str(tree.attrs.get("link", ""))
        if seen is None:
            seen = (str(name), y, link)
            continue
        first, y0, link0 = seen
        if link and link0 and link != link0:
            raise ResultError(
                f"{first!r} has the link {link0} and {name!r} the link {link}: their coefficients "
                "are on different scales and cannot be compared."
            )
        if y is not None and y0 is not None and not (y.shape == y0.shape and np.array_equal(y, y0)):
            raise ResultError(
                f"{first!r} and {name!r} are fitted to different responses ({y0.size} and {y.size} "
                "rows, or other values); compare models of the same data."
            )
