"""Distributions and intervals of every model, one panel a coefficient."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.figures.canvas import Canvas, canvas

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

HEIGHT = 0.8  # of the highest density, of the distance between two models
ASYMPTOTIC = "C1"  # line of the asymptotic distribution


def ridges(
    table: xr.Dataset, title: str, backend: str, figure_kwargs: dict[str, Any]
) -> PlotCollection:
    """Draw densities of one area above thick and thin intervals.

    Over each density from draws stands, dashed, that of the first model without draws: the normal
    (or t) distribution of its estimate.

    Parameters
    ----------
    table : xarray.Dataset
        A comparison, restricted to what is drawn.
    title : str
    backend : str
    figure_kwargs : dict
    """
    names = [str(label) for label in table["coef"].values]
    models = [str(model) for model in table["model"].values]
    figure = canvas(
        names, models, backend, figure_kwargs, size=(3.4, 1.0 + 0.5 * len(models)),
        drawn=("estimate", "coef"),
    )  # fmt: skip
    sampled = json.loads(str(table.attrs.get("sampled", "[]")))
    asymptotic = next((model for model in models if model not in sampled), None)
    for label in names:
        one = table.sel(coef=label)
        panel = figure.panel(label)
        top = float(np.nanmax(one["density"].values, initial=0.0)) or 1.0
        for row, model in enumerate(reversed(models)):
            _density(figure, panel, one.sel(model=model), model, row, HEIGHT / top)
            _interval(figure, panel, one.sel(model=model), model, row)
            if model in sampled and asymptotic is not None:
                normal = one.sel(model=asymptotic)
                figure.draw.line(
                    normal["value"].values, row + HEIGHT / top * normal["density"].values, panel,
                    color="black", width=1.0, linestyle=ASYMPTOTIC,
                )  # fmt: skip
        figure.draw.ylim((-0.35, len(models) - 1 + HEIGHT + 0.15), panel)
        figure.draw.yticks([], [], panel)
        figure.draw.title(label, panel)
        figure.draw.xlabel("coefficient (link scale)", panel)
        figure.few_ticks(panel)
    if sampled and asymptotic is not None:
        title += f"; dashed: {asymptotic}"
    return figure.finish(title)


def _interval(figure: Canvas, panel: Any, one: xr.Dataset, model: str, row: int) -> None:
    """The thin and the thick interval with the estimate."""
    color = figure.colors[model]
    for name, width in (("interval", 1.2), ("inner_interval", 3.5)):
        ends = one[name].values
        if np.isfinite(ends).all():
            figure.draw.line(ends, np.full(2, float(row)), panel, color=color, width=width)
    if np.isfinite(one["estimate"]):
        figure.draw.scatter(
            [float(one["estimate"])], [float(row)], panel, facecolor="white", edgecolor=color,
            size=24, width=1.2,
        )  # fmt: skip


def _density(
    figure: Canvas, panel: Any, one: xr.Dataset, model: str, row: int, scale: float
) -> None:
    """A density that stands on its row."""
    x, density = one["value"].values, one["density"].values
    if np.isfinite(density).all():
        base = np.full(x.size, float(row))
        figure.draw.fill_between_y(
            x, base, base + scale * density, panel, color=figure.colors[model], alpha=0.3
        )
