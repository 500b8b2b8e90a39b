"""The working correlation of estimating equations as a heat map."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.errors import ResultError
from expfam_glm.figures.canvas import PALETTE, Canvas, canvas

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

WRITTEN = 10  # times up to which every correlation is written into its cell
KEY = 41  # shades of the key
KEY_TEXT = 0.32  # inches


def plot_working_correlation(
    tree: xr.DataTree,
    *,
    title: str | None = None,
    backend: str = "matplotlib",
    **figure_kwargs: Any,
) -> PlotCollection:
    """Draw the working correlation of a fit by estimating equations.

    Parameters
    ----------
    tree : DataTree
        What `gee` returned, also when read back from a file.
    title : str, optional
        By default the name of the structure and the clusters.
    backend : {"matplotlib", "bokeh", "plotly", "none"}
        A backend of arviz-plots.
    **figure_kwargs
        Passed to the backend's figure, such as `figsize`.

    Returns
    -------
    arviz_plots.PlotCollection
        One cell a pair of times (of rows of the largest cluster where times have no meaning): white
        is no correlation, orange a positive and blue a negative one, the same shade for the same
        number in every plot.

    Raises
    ------
    ResultError
        If the tree has no working correlation.
    ArgumentError
        If the backend is not known.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase + age", seizures, family="poisson")
    >>> gee = model.gee("patient", "ar1", time="visit")
    >>> eg.plot_working_correlation(gee, backend="none").backend
    'none'
    """
    if not isinstance(tree, xr.DataTree) or "fit" not in tree.children:
        raise ResultError("plot_working_correlation takes what gee() returned.")
    fit = tree["fit"].to_dataset()
    if "working_correlation" not in fit:
        raise ResultError(
            "the tree has no working correlation: it is "
            f"{tree.attrs.get('kind', 'not of gee()')!r}."
        )
    R = fit["working_correlation"]
    labels = [str(label) for label in R[R.dims[0]].values]
    k = len(labels)
    side = min(max(0.55 * k, 2.6), 7.0)
    figure = canvas(
        ["correlation"], ["correlation"], backend, figure_kwargs, size=(side + 1.6, side + 0.8)
    )
    panel, draw = figure.panel("correlation"), figure.draw
    _cells(figure, panel, R.values)
    end = _key(figure, panel, k)
    shown = range(0, k, -(-k // 12))
    draw.xticks([i + 0.5 for i in shown], [labels[i] for i in shown], panel)
    draw.yticks([k - i - 0.5 for i in shown], [labels[i] for i in shown], panel)
    draw.xlim((0, end + KEY_TEXT * k / side), panel)
    draw.ylim((0, k), panel)
    what = str(R.dims[0]) if "time" in str(R.dims[0]) else "row of the cluster"
    draw.xlabel(what, panel)
    draw.ylabel(what, panel)
    groups = tree.attrs.get("groups")
    return figure.finish(
        title
        or f"Working correlation: {tree.attrs.get('correlation', '')}"
        + (f", clusters by {groups}" if groups else "")
    )


def shade(r: float) -> str:
    """White at zero, the palette's orange towards 1, its blue towards −1."""
    end = PALETTE[1] if r > 0 else PALETTE[0]
    full = np.array([int(end[i : i + 2], 16) for i in (1, 3, 5)])
    mixed = 255 + (full - 255) * min(abs(r), 1.0)
    return "#" + "".join(f"{round(float(c)):02x}" for c in mixed)


def _cells(figure: Canvas, panel: Any, R: np.ndarray) -> None:
    """The matrix from top to bottom, equal neighbours in one piece."""
    k = len(R)
    for i, row in enumerate(R):
        top = float(k - i)
        starts = [0, *(np.flatnonzero(np.abs(np.diff(row)) > 1e-12) + 1), k]
        for a, b in pairwise(starts):
            figure.draw.fill_between_y(
                [a, b], [top - 1, top - 1], [top, top], panel, color=shade(row[a]), alpha=1.0
            )
        if k <= WRITTEN:
            for j, r in enumerate(row):
                color = "white" if abs(r) > 0.75 else "black"
                figure.draw.text(j + 0.5, top - 0.5, f"{r:.2f}", panel, size=9, color=color)


def _key(figure: Canvas, panel: Any, k: int) -> float:
    """A column of shades from −1 to 1 beside the matrix; where its numbers begin."""
    left, width = 1.06 * k, max(0.05 * k, 0.15)
    edges = np.linspace(-1, 1, KEY + 1)
    for low, high in pairwise(edges):
        bottom, top = (k * (0.5 + 0.45 * end) for end in (low, high))
        figure.draw.fill_between_y(
            [left, left + width], [bottom, bottom], [top, top], panel,
            color=shade(0.5 * (low + high)), alpha=1.0,
        )  # fmt: skip
    for r in (-1, 0, 1):
        figure.draw.text(left + 1.3 * width, k * (0.5 + 0.45 * r), f"{r:d}", panel, size=9,
                         color="black", horizontal_align="left")  # fmt: skip
    return left + 1.3 * width
