"""Plots of comparisons, thin on arviz-plots, and of residuals."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, ResultError, one_of
from expfam_glm.results.text import percent

if TYPE_CHECKING:
    from arviz_plots import PlotCollection
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from expfam_glm.spec.family import Family
    from expfam_glm.spec.link import Link

# Okabe and Ito (2008), told apart under the common kinds of colour blindness; black and yellow
# come last.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
    "#F0E442",
)

BACKENDS = ("matplotlib", "bokeh", "plotly", "none")
FOREST_WIDTH = 6.0  # inches
FEWEST = 20  # points for a running mean
PER_LETTER = 0.075  # inches


def plot_comparison(
    table: xr.Dataset,
    *,
    coefs: Sequence[str] | None = None,
    title: str | None = None,
    backend: str = "matplotlib",
    **figure_kwargs: Any,
) -> PlotCollection:
    """Draw the exact intervals of every model in a comparison, coefficient by coefficient.

    Parameters
    ----------
    table : xarray.Dataset
        What `compare` returned. Intervals are drawn as they stand in it: Wald intervals (normal or
        t) of likelihood and estimating-equation fits, equal-tailed ones of draws.
    coefs : sequence of str, optional
        Coefficients to draw, in this order; all by default.
    title : str, optional
        By default the probabilities of the thick and the thin interval.
    backend : {"matplotlib", "bokeh", "plotly", "none"}
        A backend of arviz-plots.
    **figure_kwargs
        Passed to the backend's figure, such as `figsize` (inches for matplotlib, else dots).

    Returns
    -------
    arviz_plots.PlotCollection
        With a method `savefig`.

    Raises
    ------
    ResultError
        If `table` is not a comparison or lacks a coefficient that is asked for.
    ArgumentError
        If the backend is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from expfam_glm.results.compare import compare
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 1))
    >>> posterior = xr.Dataset({"beta": (("chain", "draw", "coef"), draws)}, {"coef": ["x"]})
    >>> table = compare({"A": xr.DataTree.from_dict({"posterior": posterior})})
    >>> plot_comparison(table, backend="none").backend
    'none'
    """
    import arviz_plots

    if backend not in BACKENDS:
        raise one_of("backend", backend, BACKENDS)
    chosen = _choose(table, coefs)
    draw = import_module(f"arviz_plots.backend.{backend}")
    label_width, legend_width = (
        PER_LETTER * max(len(str(name)) for name in chosen[dim].values) for dim in ("coef", "model")
    )
    width = label_width + FOREST_WIDTH + legend_width + 1
    height = chosen.sizes["coef"] * (0.22 + 0.15 * chosen.sizes["model"]) + 1
    if backend == "matplotlib":
        size: dict[str, Any] = {"figsize": (width, height), "layout": "constrained"}
    else:
        size = {"figsize": (100 * width, 100 * height), "figsize_units": "dots"}
    collection = arviz_plots.plot_forest(
        # one draw, the estimate: plot_forest takes labels and places from it, and the rest below
        xr.DataTree.from_dict({"posterior": chosen[["estimate"]].expand_dims("draw")}),
        sample_dims=["draw"],
        combined=True,
        labels=["coef"],
        stats={
            "point_estimate": chosen[["estimate"]],
            "trunk": chosen[["inner_interval"]].rename(inner_interval="estimate"),
            "twig": chosen[["interval"]].rename(interval="estimate"),
        },
        visuals={
            "labels": {"horizontal_align": "right"},
            "trunk": {"width": 3.5},
            "twig": {"width": 1.2},
            "ticklabels": False,
        },
        color=[PALETTE[i % len(PALETTE)] for i in range(chosen.sizes["model"])],
        figure_kwargs={"width_ratios": [label_width, FOREST_WIDTH]} | size | figure_kwargs,
        backend=cast(Any, backend),  # its annotation leaves two of them out
    )
    forest = collection.get_target("estimate", {"column": "forest"})
    labels = collection.get_target("estimate", {"column": "labels"})
    draw.remove_axis(labels, axis="both")
    draw.xlim((-1, 0), labels)  # the labels end at 0, beside the forest
    y = collection.get_aes_as_dataset("y")["estimate"]
    draw.ylim((float(y.min()) - 0.5, float(y.max()) + 0.5), forest)
    draw.vline(0, forest, color="gray", width=0.8, linestyle="C1")
    draw.xlabel("coefficient (link scale)", forest)
    inner, outer = (percent(table.attrs[name]) for name in ("inner_prob", "ci_prob"))
    draw.title(title or f"{inner}% (thick) and {outer}% (thin) intervals", forest)
    collection.add_legend("model")
    return collection


def _choose(table: xr.Dataset, coefs: Sequence[str] | None) -> xr.Dataset:
    """The part of a comparison that is to be drawn."""
    needed = ("estimate", "interval", "inner_interval")
    if not isinstance(table, xr.Dataset) or any(name not in table for name in needed):
        raise ResultError(
            "plot_comparison takes the table that compare returned, "
            f"not this {type(table).__name__}; write plot_comparison(compare({{...}}))."
        )
    known = [str(label) for label in table["coef"].values]
    unknown = [str(coef) for coef in coefs or () if coef not in known]
    if unknown:
        raise ResultError(
            f"coefs names {', '.join(map(repr, unknown))}, which the comparison does not have; "
            f"it has {', '.join(map(repr, known))}."
        )
    chosen = known if coefs is None else list(coefs)
    if not chosen:
        raise ResultError("plot_comparison was given no coefficients to draw; name one in coefs.")
    return table[list(needed)].sel(coef=chosen)


def plot_diagnostics(
    tree: xr.DataTree,
    kind: str = "deviance",
    *,
    simulations: int = 19,
    random_seed: int = 0,
    title: str | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
    **figure_kwargs: Any,
) -> Figure:
    """Draw residuals and influence of a fit.

    Parameters
    ----------
    tree : DataTree
        What `fit`, `gee` or `sample` returned, also when read back from a file.
    kind : {"deviance", "pearson", "anscombe"}
        Residuals to draw: standardised after a likelihood fit, else divided by √a(φ̂).
    simulations : int
        How many responses to simulate and fit for the envelope of the half-normal plot; after a
        likelihood fit of a family with a density. 0 leaves it out.
    random_seed : int
        Seed of the simulations.
    title : str, optional
        By default the formula, family and link.
    family, link : Family, Link, optional
        The declaration, where they are not built in.
    **figure_kwargs
        Passed to `matplotlib.pyplot.figure`, such as `figsize`.

    Returns
    -------
    matplotlib.figure.Figure
        Residuals and the square root of their size against the linear predictor with a running
        mean; the half-normal plot, its line and its envelope; and, after a likelihood fit, Cook's
        distance of each row. The rows that stand out carry their number.

    Raises
    ------
    ArgumentError
        For an unknown kind, a negative number of simulations, or a declared family that is not
        given.
    ResultError
        If it is not a result tree.

    Notes
    -----
    In the half-normal plot the points of a right model lie inside the envelope, whatever the
    distribution of the residuals; the straight line is right for normal ones.

    References
    ----------
    Atkinson (1985), Plots, Transformations and Regression, section 4.2.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> mle = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson").fit()
    >>> figure = plot_diagnostics(mle, simulations=0)
    >>> len(figure.axes)
    4
    """
    from matplotlib import pyplot

    from expfam_glm.results.envelope import half_normal
    from expfam_glm.results.residuals import (
        STANDARDISED,
        hat_values,
        is_likelihood,
        of_kind,
        row_fit,
        standardise,
    )

    if kind not in STANDARDISED:
        raise one_of("kind", kind, STANDARDISED)
    if isinstance(simulations, bool) or not isinstance(simulations, int) or simulations < 0:
        raise ArgumentError(f"simulations={simulations!r} must be a whole number from 0.")
    rows = row_fit(tree, "plot_diagnostics", family, link)
    full = is_likelihood(tree)
    plain = of_kind(rows, kind)
    values = standardise(rows, plain) if full else plain / np.sqrt(rows.a)
    count = simulations if full and not rows.family.is_quasi else 0
    ordered = half_normal(rows, values, kind, count, random_seed)
    numbers = tree["constant_data"].to_dataset()["obs_id"].values
    word = kind if kind == "deviance" else kind.capitalize()
    what = f"standardised {word} residual" if full else f"{word} residual / √φ"

    size = (9.5, 7.5) if full else (13.0, 4.2)
    figure = pyplot.figure(**({"figsize": size, "layout": "constrained"} | figure_kwargs))
    axes = figure.subplots(2, 2).ravel() if full else figure.subplots(1, 3)
    _scatter(axes[0], rows.eta, values, numbers)
    axes[0].axhline(0, color="gray", linewidth=0.8)
    axes[0].set(xlabel="linear predictor", ylabel=what, title="Residuals")
    _scatter(axes[1], rows.eta, np.sqrt(np.abs(values)), numbers)
    axes[1].set(xlabel="linear predictor", ylabel=f"√|{what}|", title="Spread")
    _half_normal(axes[2], ordered, numbers, what)
    if full:
        h = hat_values(rows)
        cook = rows.pearson**2 * h / (rows.found.beta.size * rows.a * (1 - h) ** 2)
        _stems(axes[3], np.where(np.isfinite(values), cook, np.nan), numbers)
    formula = tree.attrs.get("formula") or "fit"
    figure.suptitle(
        title
        or f"{formula} ({tree.attrs['family']}, {tree.attrs['link']}; {tree.attrs['estimator']})"
    )
    return figure


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, numbers: np.ndarray) -> None:
    """Points with a running mean, the three largest by number."""
    axes.plot(x, y, "o", color=PALETTE[0], markersize=4, alpha=0.6, markeredgewidth=0)
    known = np.flatnonzero(np.isfinite(y))
    order = known[np.argsort(x[known], kind="stable")]
    width = order.size // 5
    if order.size >= FEWEST:
        window = np.ones(width) / width
        means = [np.convolve(v[order], window, mode="valid") for v in (x, y)]
        axes.plot(*means, color=PALETTE[1], linewidth=1.8, label="running mean")
        axes.legend(frameon=False, loc="best")
    _number(axes, x, y, known[np.argsort(-np.abs(y[known]))[:3]], numbers)


def _half_normal(axes: Axes, ordered: Any, numbers: np.ndarray, what: str) -> None:
    """Sizes against half-normal scores, with the envelope where there is one."""
    if ordered.low is not None:
        label = f"range of {ordered.count} simulated fits"
        axes.fill_between(
            ordered.scores, ordered.low, ordered.high, color="#BBBBBB", alpha=0.6, label=label
        )
        axes.plot(ordered.scores, ordered.middle, color="gray", linewidth=1, label="their median")
    top = ordered.scores[-1]
    axes.plot([0, top], [0, top], color=PALETTE[1], linewidth=1, linestyle="--", label="normal")
    axes.plot(ordered.scores, ordered.sizes, "o", color=PALETTE[0], markersize=4, alpha=0.6,
              markeredgewidth=0)  # fmt: skip
    axes.legend(frameon=False, loc="upper left")
    axes.set(xlabel="half-normal score", ylabel=f"|{what}|", title="Half-normal plot")
    last = np.arange(ordered.scores.size)[-3:]
    _number(axes, ordered.scores, ordered.sizes, last, numbers[ordered.order])


def _stems(axes: Axes, cook: np.ndarray, numbers: np.ndarray) -> None:
    """Cook's distance of each row."""
    place = np.arange(cook.size)
    axes.vlines(place, 0, cook, color=PALETTE[0], linewidth=1.2)
    axes.set(xlabel="row", ylabel="Cook's distance", title="Influence")
    axes.set_ylim(bottom=0)
    known = np.flatnonzero(np.isfinite(cook))
    _number(axes, place, cook, known[np.argsort(-cook[known])[:3]], numbers)


def _number(
    axes: Axes, x: np.ndarray, y: np.ndarray, rows: np.ndarray, numbers: np.ndarray
) -> None:
    """Write the numbers of some rows beside their points, on the side that has room."""
    if not rows.size:
        return
    middle = 0.5 * (np.nanmin(x) + np.nanmax(x))
    for row in rows:
        right = x[row] > middle
        axes.annotate(
            str(numbers[row]), (x[row], y[row]), xytext=(-5 if right else 5, 0), fontsize=8,
            textcoords="offset points", ha="right" if right else "left", va="center",
        )  # fmt: skip
    axes.margins(y=0.08)
