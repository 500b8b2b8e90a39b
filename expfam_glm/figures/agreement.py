"""Estimates of several models against those of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.errors import ResultError
from expfam_glm.figures.canvas import canvas, check_table
from expfam_glm.results.text import percent

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

NAMED, FAR = 4, 0.1  # points with a name, and how far out they must be
APART = (0.55, 0.08)  # of the panel, between two names


def plot_agreement(
    table: xr.Dataset,
    *,
    title: str | None = None,
    backend: str = "matplotlib",
    **figure_kwargs: Any,
) -> PlotCollection:
    """Draw the estimates of each model against those of the reference, in its standard errors.

    Parameters
    ----------
    table : xarray.Dataset
        What `compare` returned.
    title : str, optional
        By default how a point is to be read.
    backend : {"matplotlib", "bokeh", "plotly", "none"}
        A backend of arviz-plots.
    **figure_kwargs
        Passed to the backend's figure, such as `figsize`.

    Returns
    -------
    arviz_plots.PlotCollection
        Left, estimates over estimates, both divided by the standard error of the reference, with
        the intervals of the model: on the line the models agree. Right, what differs: the pull
        over the ratio of the spreads, with the names of the coefficients that stand out.

    Raises
    ------
    ResultError
        If `table` is not a comparison of two models or more.
    ArgumentError
        If the backend is not known.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> table = eg.compare({"MLE": model.fit(), "GEE": model.gee("patient")})
    >>> eg.plot_agreement(table, backend="none").backend
    'none'
    """
    check_table(table, ["spread_ratio"], "plot_agreement", "compare")
    reference = str(table.attrs["reference"])
    models = [str(model) for model in table["model"].values if model != reference]
    if not models:
        raise ResultError("plot_agreement needs a second model; compare at least two.")
    figure = canvas(
        ["estimates", "what differs"], models, backend, figure_kwargs, size=(4.2, 3.8), across=2
    )
    draw = figure.draw
    left, right = (figure.panel(name) for name in ("estimates", "what differs"))
    base = table.sel(model=reference)
    unit = base["se"].values
    x = base["estimate"].values / unit
    ends: list[float] = []
    aside = 0.006 * np.nanmax(x) - 0.006 * np.nanmin(x)  # so that no model hides another
    for i, model in enumerate(models):
        one = table.sel(model=model)
        color = figure.colors[model]
        y = one["estimate"].values / unit
        place = x + aside * (2 * i - len(models) + 1)
        for at, interval in zip(place, one["interval"].values / unit[:, None], strict=True):
            if np.isfinite(interval).all() and np.isfinite(at):
                draw.line(np.full(2, at), interval, left, color=color, width=1.0, alpha=0.7)
                ends += [*interval, at]
        draw.scatter(place, y, left, color=color, size=18)
        draw.scatter(
            one["spread_ratio"].values, one["pull"].values, right, color=color, size=26, alpha=0.85
        )
    if not ends:
        raise ResultError("no coefficient is known to both the reference and another model.")
    low, high = min(ends), max(ends)
    pad = 0.04 * (high - low)
    draw.line([low - pad, high + pad], [low - pad, high + pad], left, color="gray", width=0.8,
              linestyle="C1")  # fmt: skip
    draw.hline(0, right, color="gray", width=0.8, linestyle="C1")
    draw.vline(1, right, color="gray", width=0.8, linestyle="C1")
    _frame_right(draw, right, table.sel(model=models))
    draw.xlabel(f"estimate of {reference} / its se", left)
    draw.ylabel(f"estimate and interval / se of {reference}", left)
    draw.xlabel(f"se / se of {reference}", right)
    draw.ylabel(f"difference from {reference} / its se", right)
    draw.title("on the line: agreement", left)
    draw.title("centre and spread", right)
    prob = percent(table.attrs["ci_prob"])
    return figure.finish(title or f"Against {reference}, with {prob}% intervals")


def _frame_right(draw: Any, panel: Any, others: xr.Dataset) -> None:
    """Limits that do not blow up what is small, and names beside the points farthest out."""
    stacked = others[["spread_ratio", "pull"]].stack(point=("coef", "model"))
    ratio, pull = stacked["spread_ratio"].values, stacked["pull"].values
    known = np.isfinite(ratio) & np.isfinite(pull) & (ratio > 0)
    ratio, pull, names = ratio[known], pull[known], stacked["coef"].values[known]
    high = max(0.5, 1.15 * np.abs(pull).max())
    left, right = min(0.8, 0.93 * ratio.min()), max(1.25, 1.07 * ratio.max())
    draw.ylim((-high, high), panel)
    draw.xlim((left, right), panel)
    placed: list[tuple[float, float]] = []
    for i in np.argsort(-np.hypot(np.log(ratio), pull)):
        x, y = (ratio[i] - left) / (right - left), (pull[i] + high) / (2 * high)
        if np.hypot(np.log(ratio[i]), pull[i]) < FAR:
            break
        if any(abs(x - u) < APART[0] and abs(y - v) < APART[1] for u, v in placed):
            continue
        placed.append((x, y))
        side = "right" if x > 0.5 else "left"
        draw.text(ratio[i], pull[i] + 0.02 * high, f" {names[i]} ", panel, size=8,
                  horizontal_align=side, vertical_align="bottom", color="#333333")  # fmt: skip
        if len(placed) == NAMED:
            break
