"""One fit as a table and as text, in the manner of R's summary of a glm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError
from expfam_glm.numerics.wald import wald_interval
from expfam_glm.results.comparison_table import comparison_sheet
from expfam_glm.results.coverage_table import coverage_sheet
from expfam_glm.results.door import check_readable
from expfam_glm.results.estimates_table import estimates_sheet, is_estimates
from expfam_glm.results.notes import notes_of
from expfam_glm.results.probability import interval_prob
from expfam_glm.results.sheet import Sheet
from expfam_glm.results.text import decimals, number, percent, rounded_up

if TYPE_CHECKING:
    import pandas as pd

SMALLEST_P = 2e-16  # smaller ones are printed as "<2e-16"

# Statistics with a degree of freedom beside them, then the others: name in the tree -> in print.
DEVIANCES = {
    "null_deviance": ("Null deviance", "df_null"),
    "deviance": ("Residual deviance", "df_residual"),
    "pearson_chi2": ("Pearson chi-squared", "df_residual"),
}
CRITERIA = {
    "loglik": "Log-likelihood",
    "aic": "AIC",
    "bic": "BIC",
    "qic": "QIC",
    "qicu": "QICu",
    "cic": "CIC",
    "rjc": "RJC",
}
COUNTS = {"n_observations": "observations", "n_clusters": "clusters"}
ITERATION = ("n_iterations", "converged", "decrement", "last_step", "max_cluster_size")
# How φ came about: the attribute `dispersion` -> in print.
DISPERSIONS = {
    "known": "fixed by the family",
    "pearson": "Pearson's chi-squared over its degrees of freedom",
    "deviance": "residual deviance over its degrees of freedom",
    "ml": "maximum likelihood",
    "moments": "mean square of standardised residuals",
}


@dataclass(frozen=True)
class Summary:
    """A fit as a table, with what stands above and below it in print.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each coefficient and each further parameter, unrounded.
    above, below, warnings : tuple of str
        Lines of text; what must be known about the fit is among the warnings.
    """

    table: pd.DataFrame
    above: tuple[str, ...]
    below: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self._sheet())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._sheet()._repr_html_()

    def to_html(self) -> str:
        """The summary as HTML, as notebooks show it."""
        return self._sheet().to_html()

    def to_latex(self, caption: str | None = None, label: str = "") -> str:
        """The table as LaTeX, with the rules of booktabs; see `Sheet.to_latex`."""
        return self._sheet().to_latex(caption, label)

    def _sheet(self) -> Sheet:
        """The summary as it is shown."""
        return Sheet(self._cells(), self.above, self.below, self.warnings)

    def _cells(self) -> list[tuple[str, ...]]:
        """The table as text, a header and one line for each row."""
        names = [str(name) for name in self.table.columns]
        spread = self.table["se" if "se" in names else "sd"].to_numpy()
        lines = [("", *names)]
        for label, values, size in zip(
            self.table.index, self.table.to_numpy(), spread, strict=True
        ):
            places = decimals(np.array([size]))
            cells = (_cell(name, value, places) for name, value in zip(names, values, strict=True))
            lines.append((str(label), *cells))
        return lines


def summary(tree: xr.DataTree | xr.Dataset, *, ci_prob: float | None = None) -> Summary | Sheet:
    """Summarise a fit of either road, a comparison, predictions, effects or a simulation.

    Parameters
    ----------
    tree : DataTree or Dataset
        What `fit`, `gee`, `sample`, `compare`, `predict`, `marginal_effects`, `comparisons`,
        `adjusted_predictions`, `profile` or `coverage` returned, also when read back from a file.
    ci_prob : float, optional
        Probability of the intervals; that of the fit, or ArviZ's setting, by default. What is not a
        tree has its own.

    Returns
    -------
    Summary, or Sheet of what is not a tree
        Prints as text, and in notebooks as HTML. The summary's `table` is a pandas.DataFrame on
        the scale of the linear predictor. Likelihood and estimating-equation trees: estimate, se,
        z or t (with df), p_value and interval. Draws: mean, sd, equal-tailed interval, ess_bulk,
        ess_tail and r_hat.

    Raises
    ------
    ResultError
        If it is not a result tree.
    ArgumentError
        If `ci_prob` is not inside (0, 1).

    Examples
    --------
    >>> from expfam_glm.tree import Estimate, likelihood_tree
    >>> estimate = Estimate(
    ...     kind="maximum likelihood", labels=("Intercept",), beta=np.array([1.0]),
    ...     covariances={"fisher": np.array([[0.25]])}, df=None, fit={"phi": ((), 1.0)},
    ...     fit_coords={}, positive={}, fit_stats={"n_observations": 4}, observed={}, constant={},
    ...     attrs={"family": "poisson", "link": "log", "formula": "y ~ 1"},
    ... )
    >>> print(summary(likelihood_tree(estimate), ci_prob=0.95))
    y ~ 1
    family poisson, link log; maximum likelihood, fisher covariance; 4 observations
    <BLANKLINE>
               estimate     se     z  p_value  ci95_lb  ci95_ub
    Intercept     1.000  0.500  2.00   0.0455    0.020    1.980
    <BLANKLINE>
    Dispersion phi: 1
    """
    if isinstance(tree, xr.Dataset) and "reference" in tree.attrs:
        if ci_prob is not None:
            raise ArgumentError("a comparison has its own intervals; give ci_prob= to compare.")
        return comparison_sheet(tree)
    if isinstance(tree, xr.Dataset) and "coverage_mcse" in tree:
        if ci_prob is not None:
            raise ArgumentError("a simulation has its own intervals; give ci_prob= to coverage.")
        return coverage_sheet(tree)
    if isinstance(tree, xr.Dataset) and is_estimates(tree):
        if ci_prob is not None:
            raise ArgumentError("these estimates have their own intervals; give ci_prob= there.")
        return estimates_sheet(tree)
    tree = check_readable(tree, "summary")
    prob = interval_prob(ci_prob, tree)
    if "fit" in tree.children:
        table, below = _table_of_fit(tree, prob), [*_parameters(tree), *_statistics(tree)]
    else:
        table = _table_of_draws(tree, prob)
        below = list(_sampling(tree, table))
    return Summary(table, tuple(_heading(tree)), tuple(below), tuple(notes_of(tree)))


def _table_of_fit(tree: xr.DataTree, prob: float) -> pd.DataFrame:
    """Estimates, tests and intervals of a likelihood or estimating-equation fit."""
    import pandas as pd

    fit = tree["fit"].to_dataset()
    beta, se, df = (fit[name].values for name in ("beta", "se", "df"))
    interval = dict(zip(_bounds("ci", prob), wald_interval(beta, se, df, prob).T, strict=True))
    t_tests = bool(np.isfinite(df).any())
    statistic = fit["statistic"].values
    tests = {"t": statistic, "df": df} if t_tests else {"z": statistic}
    return pd.DataFrame(
        {"estimate": beta, "se": se} | tests | {"p_value": fit["p_value"].values} | interval,
        index=fit["coef"].values.astype(str),
    )


def _table_of_draws(tree: xr.DataTree, prob: float) -> pd.DataFrame:
    """Posterior moments, intervals and diagnostics of the coefficients and scalar parameters."""
    import pandas as pd
    from arviz_stats import summary as arviz_summary

    posterior = tree["posterior"].to_dataset()
    further = _further_parameters(posterior)
    wanted = posterior[["beta"]]
    if further:
        values = xr.concat([v.drop_vars(list(v.coords)) for v in further.values()], "label")
        wanted = wanted.assign(further=values.assign_coords(label=list(further)))
    # a parameter that does not move has no R-hat: NaN, and no warning
    with np.errstate(divide="ignore", invalid="ignore"):
        found = arviz_summary(
            wanted,
            ci_prob=prob,
            ci_kind="eti",
            fmt="xarray",
            round_to="none",
        )
    bounds = [name for name in found["summary"].values if str(name).startswith("eti")]
    kept = ["mean", "sd", *bounds, "ess_bulk", "ess_tail", "r_hat"]
    chosen = found.sel(summary=kept)
    rows = [chosen["beta"].transpose("coef", "summary").values]
    if further:
        rows.append(chosen["further"].transpose("label", "summary").values)
    bounds_here = dict(zip(bounds, _bounds("eti", prob), strict=True))
    return pd.DataFrame(
        np.concatenate(rows),
        index=[*posterior["coef"].values.astype(str), *further],
        columns=[bounds_here.get(name, name) for name in kept],
    )


def _further_parameters(posterior: xr.Dataset) -> dict[str, xr.DataArray]:
    """Draws of what stands beside β: dispersion, shapes, spreads and correlations of groups."""
    found: dict[str, xr.DataArray] = {}
    for key, values in posterior.data_vars.items():
        name, own = str(key), [str(dim) for dim in values.dims if dim not in ("chain", "draw")]
        if not own:
            found[name] = values
        elif name.startswith("sd_") and own == [f"effect_{name[3:]}"]:
            effects = posterior[own[0]].values
            found |= {f"{name}[{e}]": values.sel({own[0]: e}) for e in effects}
        elif name.startswith("corr_") and own == [f"effect_{name[5:]}", f"effect_{name[5:]}2"]:
            pairs = combinations(posterior[own[0]].values, 2)
            found |= {f"{name}[{e}, {f}]": values.sel({own[0]: e, own[1]: f}) for e, f in pairs}
    return found


def _bounds(kind: str, prob: float) -> tuple[str, str]:
    """The columns of an interval's ends, in ArviZ's manner, without its rounding of percents."""
    return f"{kind}{percent(prob)}_lb", f"{kind}{percent(prob)}_ub"


def _heading(tree: xr.DataTree) -> Iterator[str]:
    """The model, and how it was fitted."""
    attrs = tree.attrs
    if attrs.get("formula"):
        yield str(attrs["formula"])
    model = ", ".join(f"{name} {attrs[name]}" for name in ("family", "link") if name in attrs)
    if "fit" in tree.children:
        covariance = str(tree["fit"].to_dataset()["cov_type"].values[0])
        estimator = str(attrs.get("estimator", "likelihood"))
        if "constant_data" in tree.children and "sampling_weights" in tree["constant_data"]:
            estimator = "weighted scores of a sample, no likelihood"
        road = f"{estimator}, {covariance} covariance"
    else:
        sizes = tree["posterior"].sizes
        road = f"{attrs.get('kind', 'draws')}, {sizes['chain']} chains of {sizes['draw']} draws"
    if "correlation" in attrs:
        road += f", {attrs['correlation']} working correlation"
        if "times" in attrs:
            road += f" ({attrs['times']})"
    stats = _fit_stats(tree)
    counts = [f"{_count(stats[name])} {what}" for name, what in COUNTS.items() if name in stats]
    if "max_cluster_size" in stats:
        counts[-1] += f" of at most {_count(stats['max_cluster_size'])}"
    if attrs.get("rows_dropped"):
        counts.append(f"{attrs['rows_dropped']} rows with missing values dropped")
    yield "; ".join([*([model] if model else []), road, *counts])


def _parameters(tree: xr.DataTree) -> Iterator[str]:
    """Further covariances, then dispersion, shapes and correlation parameters, one a line."""
    fit = tree["fit"].to_dataset()
    others = [str(name) for name in fit["cov_type"].values[1:]]
    if others:
        yield f"Further covariances in the tree: {', '.join(others)}"
    for name, values in fit.data_vars.items():
        if {"coef", "ci_bound"} & set(values.dims) or values.ndim > 1:
            continue
        if "scale" in values.attrs:
            continue  # a standard error, named beside its estimate
        text = ", ".join(f"{value:.6g}" for value in np.atleast_1d(values.values))
        how = str(tree.attrs.get("dispersion", "")) if name == "phi" else ""
        notes = [DISPERSIONS.get(how, "given" if _is_number(how) else how)] if how else []
        error = fit.get(values.attrs.get("standard_error"))
        if error is not None and np.isnan(error):
            notes.append("at the edge of its domain, without standard error")
        elif error is not None:
            scale = str(error.attrs["scale"])
            of = "its logarithm" if scale == f"log({name})" else scale
            notes.append(f"standard error of {of} {float(error):.3g}")
        title = "Dispersion phi" if name == "phi" else str(name)
        yield f"{title}: {text}" + (f" ({'; '.join(notes)})" if notes else "")


def _statistics(tree: xr.DataTree) -> Iterator[str]:
    """Deviances with degrees of freedom, criteria, and how the iteration ended."""
    stats = _fit_stats(tree)
    for name, (title, df) in DEVIANCES.items():
        if name in stats:
            on = f" on {_count(stats[df])} degrees of freedom" if df in stats else ""
            yield f"{title}: {_statistic(stats[name])}{on}"
    beside = {*DEVIANCES, *(df for _, df in DEVIANCES.values()), *COUNTS, *ITERATION}
    criteria = [name for name in CRITERIA if name in stats]
    criteria += [name for name in stats if name not in beside and name not in CRITERIA]
    if criteria:
        yield "; ".join(f"{CRITERIA.get(k, k)}: {_statistic(stats[k])}" for k in criteria)
    if "n_iterations" in stats:
        many = stats["n_iterations"]
        count = f"{many:g} iteration{'' if many == 1 else 's'}"
        how_near = ""
        if "decrement" in stats:
            how_near = f", within {stats['decrement']:.1g} standard errors of the maximum"
        elif "last_step" in stats:
            how_near = f", the last step {stats['last_step']:.1g} standard errors long"
        converged = stats.get("converged", 1)
        yield f"Converged after {count}{how_near}." if converged else f"NOT CONVERGED in {count}."


def _fit_stats(tree: xr.DataTree) -> dict[str, float]:
    """The group `fit_stats` as plain numbers."""
    if "fit_stats" not in tree.children:
        return {}
    return {str(k): float(v) for k, v in tree["fit_stats"].data_vars.items()}


def _sampling(tree: xr.DataTree, table: pd.DataFrame) -> Iterator[str]:
    """What the sampler's diagnostics say, in one line."""
    rhat, bulk = float(table["r_hat"].max()), float(table["ess_bulk"].min())
    if "averaged_over" not in tree.attrs:  # of every variable, those not in the table too
        rhat = float(tree.attrs.get("max_rhat", rhat))
        bulk = float(tree.attrs.get("min_ess_bulk", bulk))
    said = [
        f"largest r_hat {number(rhat if math.isnan(rhat) else rounded_up(rhat), 4)}",
        f"smallest ess_bulk {number(bulk, 0)}",
    ]
    if "sample_stats" in tree.children and "diverging" in tree["sample_stats"].data_vars:
        said.insert(0, f"divergences {int(tree['sample_stats']['diverging'].sum())}")
    yield "Sampling: " + ", ".join(said)


def _is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _statistic(value: float) -> str:
    """A statistic to two decimals, or the reason why there is none."""
    return "not defined" if math.isnan(value) else f"{value:.2f}"


def _cell(name: str, value: float, places: int | None) -> str:
    """One number of the table as text."""
    match name:
        case _ if math.isnan(value):
            return number(value)
        case "p_value":
            return f"<{SMALLEST_P:g}" if value < SMALLEST_P else f"{value:.3g}"
        case "df":
            return f"{value:.4g}" if value < 1000 else f"{value:.0f}"
        case "z" | "t" | "r_hat":
            return number(value, 2)
        case "ess_bulk" | "ess_tail":
            return number(value, 0)
    return number(value, places)


def _count(value: float) -> str:
    """A number of rows: whole in full, a sum of frequencies with its digits."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.10g}"
