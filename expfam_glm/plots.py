"""Plots of comparisons, thin on arviz-plots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import xarray as xr

from expfam_glm.errors import ArgumentError, ResultError, one_of
from expfam_glm.results.text import percent

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

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
    options: dict[str, Any] = {"width_ratios": [label_width, FOREST_WIDTH]} | size | figure_kwargs
    draw_forest = partial(
        arviz_plots.plot_forest,
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
        figure_kwargs=options,
        backend=cast(Any, backend),  # its annotation leaves two of them out
    )
    try:
        collection = draw_forest()
    except (AttributeError, TypeError) as error:
        if not figure_kwargs:
            raise
        raise ArgumentError(
            f"the figure of {backend!r} does not take one of {', '.join(figure_kwargs)}: {error}"
        ) from error
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
