"""Coverage, width and bias of the roads in a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.figures.canvas import PER_LETTER, canvas, check_table, padded
from expfam_glm.results.text import percent

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

ASIDE = 0.13  # between roads, of the distance between coefficients
TWO_SIDED = 1.96  # Monte-Carlo errors on each side
PANELS = ("coverage", "width", "bias")


def plot_coverage(
    table: xr.Dataset,
    *,
    title: str | None = None,
    backend: str = "matplotlib",
    **figure_kwargs: Any,
) -> PlotCollection:
    """Draw how often intervals held the truth, how wide they were, and how far off the estimates.

    Parameters
    ----------
    table : xarray.Dataset
        What `coverage` returned.
    title : str, optional
        By default the number of data sets, the model, and what they were simulated from.
    backend : {"matplotlib", "bokeh", "plotly", "none"}
        A backend of arviz-plots.
    **figure_kwargs
        Passed to the backend's figure, such as `figsize`.

    Returns
    -------
    arviz_plots.PlotCollection
        Three panels with a line for each coefficient: coverage with the nominal one, widths over
        that of the first road, and bias in standard deviations of the estimates; bars are 1.96
        Monte-Carlo standard errors on each side.

    Raises
    ------
    ResultError
        If `table` is not what `coverage` returned.
    ArgumentError
        If the backend is not known.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> found = eg.coverage(model, {"MLE": "fit"}, simulations=20, progressbar=False)
    >>> eg.plot_coverage(found, backend="none").backend
    'none'
    """
    check_table(table, ["coverage_mcse"], "plot_coverage", "coverage")
    coefs = [str(label) for label in table["coef"].values]
    roads = [str(road) for road in table["road"].values]
    height = 1.4 + len(coefs) * (0.25 + 0.17 * len(roads))
    labels = PER_LETTER * max(map(len, coefs))
    figure = canvas(
        PANELS, roads, backend, figure_kwargs, size=(2.9 + labels / 3, height), across=3
    )
    prob = float(table.attrs["ci_prob"])
    sd = table["bias_mcse"] * np.sqrt(table["fits"])
    first = table["width"].isel(road=0)
    drawn = {
        "coverage": (100 * table["coverage"], 100 * table["coverage_mcse"]),
        "width": (table["width"] / first, table["width_mcse"] / first),
        "bias": (table["bias"] / sd, table["bias_mcse"] / sd),
    }
    meant = {"coverage": 100 * prob, "width": 1.0, "bias": 0.0}
    said = {
        "coverage": f"coverage of {percent(prob)}% intervals, %",
        "width": f"width / width of {roads[0]}",
        "bias": "bias / sd of the estimates",
    }
    y = np.arange(len(coefs))[::-1]
    for name, (value, error) in drawn.items():
        panel, half = figure.panel(name), TWO_SIDED * error
        for i, road in enumerate(roads):
            color = figure.colors[road]
            at = y - ASIDE * (2 * i - len(roads) + 1) / 2
            centre, reaches = (part.sel(road=road).values for part in (value, half))
            for place, x, reach in zip(at, centre, reaches, strict=True):
                figure.draw.line([x - reach, x + reach], [place, place], panel, color=color,
                                 width=1.4)  # fmt: skip
            figure.draw.scatter(centre, at, panel, color=color, size=24)
        # after the data: plotly draws no line into an empty panel
        figure.draw.vline(meant[name], panel, color="gray", width=0.9, linestyle="C1")
        figure.draw.yticks(y, coefs if name == PANELS[0] else [""] * len(coefs), panel)
        figure.draw.xlim(padded(value - half, value + half, [meant[name]]), panel)
        figure.draw.ylim((-0.6, len(coefs) - 0.4), panel)
        figure.draw.xlabel(said[name], panel)
        figure.draw.title(name, panel)
        figure.few_ticks(panel)
    attrs = table.attrs
    return figure.finish(
        title
        or f"{attrs['simulations']} data sets from {attrs['simulated_from']}; model "
        f"{attrs['model']}"
    )
