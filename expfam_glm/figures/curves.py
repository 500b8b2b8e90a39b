"""Predicted curves of several models with their bands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.errors import one_of
from expfam_glm.figures.canvas import GRAY, Canvas, canvas, check_backend
from expfam_glm.results.curves import predicted_curves
from expfam_glm.results.text import percent
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

KINDS = ("mean", "link")
MOST = 3000  # points of data that are drawn
ASIDE = 0.08  # between models at one level


def plot_predictions(
    trees: Mapping[str, xr.DataTree] | xr.DataTree,
    variable: str,
    *,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
    kind: str = "mean",
    newdata: Any = None,
    ci_prob: float | None = None,
    title: str | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
    allow_code: bool = False,
    backend: str = "matplotlib",
    **figure_kwargs: Any,
) -> PlotCollection:
    """Draw predicted means over one variable, each model with its band.

    Parameters
    ----------
    trees : mapping of str to DataTree, or one DataTree
        What `fit`, `gee` or `sample` returned for models of one response, by name.
    variable : str
        A variable of the formula; curves over numbers, points over the levels of a factor.
    by : str, optional
        A factor of the formula, one panel a level.
    at : mapping, optional
        Values of the other variables; if not given, the mean of numbers and the most frequent
        level of factors.
    kind : {"mean", "link"}
        Scale of the predictions.
    newdata : data frame, optional
        The data that the models were fitted to, where the design does not hold the variables
        themselves (as with `log(x)`).
    ci_prob, family, link, allow_code
        As for `predict`.
    title : str, optional
        By default what the other variables are held at.
    backend : {"matplotlib", "bokeh", "plotly", "none"}
        A backend of arviz-plots.
    **figure_kwargs
        Passed to the backend's figure, such as `figsize`.

    Returns
    -------
    arviz_plots.PlotCollection
        Estimates and intervals of the mean, over the data where these are on its scale: not under
        an offset or exposure, which are left out (0 and 1).

    Raises
    ------
    ResultError
        If there are no trees, or their responses or links differ.
    ArgumentError, DataError
        For variables that are not in the formula, and as for `predict`.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> eg.plot_predictions({"MLE": model.fit()}, "temperature", backend="none").backend
    'none'
    """
    check_backend(backend)
    if kind not in KINDS:
        raise one_of("kind", kind, KINDS)
    named: Any = trees
    if isinstance(trees, xr.DataTree):
        named = {str(trees.attrs.get("estimator", "model")): trees}
    found = predicted_curves(
        named, variable, by=by, at=at, kind=kind, newdata=newdata, ci_prob=ci_prob, family=family,
        link=link, allow_code=allow_code,
    )  # fmt: skip
    levels = [str(level) for level in found["level"].values]
    names = [variable] if by is None else [f"{by}: {level}" for level in levels]
    models = [str(model) for model in found["model"].values]
    figure = canvas(names, models, backend, figure_kwargs, size=(3.8, 3.2))
    numeric = np.asarray(found["at"].values).dtype.kind in "fiu" and found.sizes["point"] > 20
    for name, level in zip(names, levels, strict=True):
        panel, one = figure.panel(name), found.sel(level=level)
        if "y" in found and numeric:
            _points(figure, panel, found, level if by is not None else None)
        for i, model in enumerate(models):
            (_curve if numeric else _ranges)(figure, panel, one.sel(model=model), model, i)
        if not numeric:
            ticks = [f"{v:g}" if isinstance(v, Real) else str(v) for v in found["at"].values]
            figure.draw.xticks(np.arange(len(ticks)), ticks, panel)
        figure.draw.title("" if by is None else name, panel)
        figure.draw.xlabel(variable, panel)
        figure.draw.ylabel(_label(found, kind), panel)
    _share_limits(figure, names, found if numeric else found.drop_vars("y", errors="ignore"))
    prob = percent(found.attrs["ci_prob"])
    held = ", ".join(f"{k} = {_text(v)}" for k, v in json.loads(found.attrs["held"]).items())
    return figure.finish(title or f"{prob}% bands" + (f" at {held}" if held else ""))


def _label(found: xr.Dataset, kind: str) -> str:
    """What is predicted."""
    share = " / trials" if found.attrs["of_trials"] else ""
    what = f"mean of {found.attrs['response']}{share}" if kind == "mean" else "linear predictor"
    neutral = found.attrs["neutral"]
    return what + (f" ({neutral} left out)" if neutral else "")


def _points(figure: Canvas, panel: Any, found: xr.Dataset, level: str | None) -> None:
    """The data of a level, thinned where they are many."""
    here = np.ones(found.sizes["obs_id"], bool) if level is None else found["group"] == level
    x, y = found["x"].values[here], found["y"].values[here]
    step = max(1, x.size // MOST)
    figure.draw.scatter(x[::step], y[::step], panel, color=GRAY, alpha=0.35, size=10)


def _curve(figure: Canvas, panel: Any, one: xr.Dataset, model: str, place: int) -> None:
    """A curve with its band; the dashes of later models let the first be seen."""
    x = np.asarray(one["at"].values, dtype=float)
    low, high = one["interval"].values.T
    color = figure.colors[model]
    alpha = 0.22 if len(figure.colors) < 3 else 0.12  # many bands are told apart by their edges
    figure.draw.fill_between_y(x, low, high, panel, color=color, alpha=alpha)
    for edge in (low, high):
        figure.draw.line(x, edge, panel, color=color, width=0.6, alpha=0.8)
    figure.draw.line(
        x, one["estimate"].values, panel, color=color, width=1.8, linestyle=f"C{min(place, 3)}"
    )


def _ranges(figure: Canvas, panel: Any, one: xr.Dataset, model: str, place: int) -> None:
    """Points with intervals at the levels of a factor, the models side by side."""
    color = figure.colors[model]
    x = np.arange(one.sizes["point"]) + ASIDE * (2 * place - len(figure.colors) + 1)
    for at, ends in zip(x, one["interval"].values, strict=True):
        figure.draw.line(np.full(2, at), ends, panel, color=color, width=1.6)
    figure.draw.scatter(x, one["estimate"].values, panel, color=color, size=26)


def _share_limits(figure: Canvas, names: list[str], found: xr.Dataset) -> None:
    """One scale for all panels, which the data do not stretch beyond reason."""
    low, high = float(found["interval"].min()), float(found["interval"].max())
    if "y" in found:
        bottom, top = np.quantile(found["y"].values, [0.0, 0.98])
        low, high = min(low, float(bottom)), max(high, float(top))
    pad = 0.05 * (high - low)
    for name in names:
        figure.draw.ylim((low - pad, high + pad), figure.panel(name))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
