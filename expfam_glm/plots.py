"""Plots of comparisons and profiles, thin on arviz-plots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import xarray as xr

from expfam_glm.errors import ArgumentError
from expfam_glm.figures.canvas import (
    GRAY,
    PALETTE,
    PER_LETTER,
    canvas,
    check_backend,
    check_table,
    chosen_coefs,
    figure_size,
    padded,
    with_options,
)
from expfam_glm.figures.ridges import ridges
from expfam_glm.results.text import percent

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

# What the tables hold that is drawn.
COMPARISON = ("estimate", "interval", "inner_interval", "value", "density")
PROFILE = ("root", "value", "interval", "estimate", "se")
FOREST_WIDTH = 6.0  # inches
# Small enough to leave short intervals visible: points² in matplotlib, else dots.
MARKER = {"matplotlib": 12, "bokeh": 4, "plotly": 4, "none": 4}


def plot_comparison(
    table: xr.Dataset,
    *,
    coefs: Sequence[str] | None = None,
    densities: bool = False,
    scaled: bool = False,
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
    densities : bool
        Whether to draw the distributions too, each coefficient in a panel of its own, and over each
        one of draws, dashed, the normal (or t) distribution of the first estimate that is not.
    scaled : bool
        Whether to divide each coefficient by its standard error in the reference of the comparison,
        so that those on small scales can be seen beside others. Not together with `densities`,
        which have scales of their own.
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
        If the backend is not known, or for densities that are to be scaled.

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
    check_backend(backend)
    import arviz_plots

    if scaled and densities:
        raise ArgumentError("densities have panels of their own; leave scaled= out.")
    check_table(table, COMPARISON, "plot_comparison", "compare")
    chosen = chosen_coefs(table[list(COMPARISON)], coefs, "plot_comparison", "the comparison")
    if scaled:
        chosen = chosen / table["se"].sel(model=table.attrs["reference"], drop=True)
    inner, outer = (percent(table.attrs[name]) for name in ("inner_prob", "ci_prob"))
    title = title or f"{inner}% (thick) and {outer}% (thin) intervals"
    if densities:
        return ridges(chosen, title, backend, figure_kwargs)
    draw = import_module(f"arviz_plots.backend.{backend}")
    label_width, legend_width = (
        PER_LETTER * max(len(str(name)) for name in chosen[dim].values) for dim in ("coef", "model")
    )
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
            "point_estimate": {"size": MARKER[backend]},
            "ticklabels": False,
        },
        color=[PALETTE[i % len(PALETTE)] for i in range(chosen.sizes["model"])],
        figure_kwargs={"width_ratios": [label_width, FOREST_WIDTH]}
        | figure_size(
            backend,
            label_width + FOREST_WIDTH + legend_width + 1,
            chosen.sizes["coef"] * (0.22 + 0.15 * chosen.sizes["model"]) + 1,
        )
        | figure_kwargs,
        backend=cast(Any, backend),  # its annotation leaves two of them out
    )
    collection = with_options(draw_forest, backend, figure_kwargs)
    forest = collection.get_target("estimate", {"column": "forest"})
    labels = collection.get_target("estimate", {"column": "labels"})
    draw.remove_axis(labels, axis="both")
    draw.xlim((-1, 0), labels)  # the labels end at 0, beside the forest
    y = collection.get_aes_as_dataset("y")["estimate"]
    draw.ylim((float(y.min()) - 0.5, float(y.max()) + 0.5), forest)
    draw.xlim(padded(chosen["interval"], chosen["inner_interval"], [0.0]), forest)
    draw.vline(0, forest, color="gray", width=0.8, linestyle="C1")
    unit = f"coefficient / standard error of {table.attrs['reference']}"
    draw.xlabel(unit if scaled else "coefficient (link scale)", forest)
    draw.title(title, forest)
    collection.add_legend("model")
    return collection


def plot_profile(
    profiles: xr.Dataset,
    *,
    coefs: Sequence[str] | None = None,
    backend: str = "matplotlib",
    **figure_kwargs: Any,
) -> PlotCollection:
    """Draw the profiles of coefficients, straight where the Wald interval is the profile's.

    Parameters
    ----------
    profiles : xarray.Dataset
        What `profile` returned.
    coefs : sequence of str, optional
        Coefficients to draw, in this order; all by default.
    backend : {"matplotlib", "bokeh", "plotly", "none"}
        A backend of arviz-plots.
    **figure_kwargs
        Passed to the backend's figure, such as `figsize`.

    Returns
    -------
    arviz_plots.PlotCollection
        One panel a coefficient: the signed root of the profile deviance (solid), that of the normal
        approximation (dashed), the level, and the ends of the interval.

    Raises
    ------
    ResultError
        If `profiles` is not what `profile` returned, or lacks a coefficient that is asked for.
    ArgumentError
        If the backend is not known.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> plot_profile(eg.profile(model.fit()), backend="none").backend
    'none'
    """
    check_table(profiles, PROFILE, "plot_profile", "profile")
    chosen = chosen_coefs(profiles, coefs, "plot_profile", "the profiles")
    names = [str(label) for label in chosen["coef"].values]
    series = ("profile", "normal approximation")
    figure = canvas(
        names, series, backend, figure_kwargs, colors=(PALETTE[0], GRAY), lines=("C0", "C1"),
        drawn=("root", "coef"),
    )  # fmt: skip
    draw = figure.draw
    level = float(chosen.attrs["level"])
    for label in names:
        panel = figure.panel(label)
        one = chosen.sel(coef=label)
        value, root = one["value"].values, one["root"].values
        straight = (value - float(one["estimate"])) / float(one["se"])
        draw.line(value, straight, panel, color=GRAY, width=0.9, linestyle="C1")
        draw.line(value, root, panel, color=PALETTE[0], width=1.6)
        for end, side in zip(one["interval"].values, (-level, level), strict=True):
            draw.hline(side, panel, color="gray", width=0.6)
            if abs(end) < float("inf"):
                draw.vline(end, panel, color=PALETTE[1], width=1.0)
        draw.title(label, panel)
        draw.xlabel("coefficient (link scale)", panel)
        draw.ylabel("signed root", panel)
        figure.few_ticks(panel)
    prob = percent(chosen.attrs["ci_prob"])
    return figure.finish(f"Profiles: {prob}% interval between the vertical lines")
