"""Panels with a legend on any backend of arviz-plots, in colours that everybody tells apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from textwrap import wrap
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, ResultError, one_of

if TYPE_CHECKING:
    from arviz_plots import PlotCollection
    from numpy.typing import ArrayLike

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
GRAY = "#8C8C8C"

BACKENDS = ("matplotlib", "bokeh", "plotly", "none")
LINES = ("C0", "C1", "C2", "C3")  # the backends' own: solid, dashed, dotted, dash-dotted
PER_LETTER = 0.075  # inches
TITLE_LETTER = 0.11  # inches
MARGIN = 0.05  # of the range of values, beside it
ACROSS = 3  # panels side by side


@dataclass(frozen=True)
class Canvas:
    """Panels of one figure: what draws on them, and the colour of each series."""

    collection: PlotCollection
    draw: Any  # the functions of the backend
    colors: dict[str, str]
    drawn: tuple[str, str]  # the variable and the dimension of the panels in the collection
    width: float  # that a title in the middle has beside the legend, inches

    def panel(self, name: str) -> Any:
        """The panel of that name."""
        return self.collection.get_target(self.drawn[0], {self.drawn[1]: name})

    def few_ticks(self, panel: Any) -> None:
        """So few ticks along x that their numbers do not touch; plotly sees to that itself."""
        if self.collection.backend == "matplotlib":
            panel.locator_params(axis="x", nbins=5)

    def finish(self, title: str | None = None) -> PlotCollection:
        """Add the legend, where there is more than one series, and the title."""
        if len(self.colors) > 1:
            self.collection.add_legend("series", title="")
        if title:
            lines = wrap(title, max(16, int(self.width / TITLE_LETTER)))
            self.draw.set_figure_title(self.collection.get_viz("figure"), "\n".join(lines))
        return self.collection


def padded(*values: ArrayLike) -> tuple[float, float]:
    """The range of the finite values with a margin: plotly draws intervals up to the frame."""
    every = np.concatenate([np.ravel(v) for v in values])
    every = every[np.isfinite(every)]
    low, high = (every.min(), every.max()) if every.size else (0.0, 0.0)
    margin = MARGIN * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def check_backend(backend: str) -> None:
    """Refuse an unknown backend, or one whose package is missing."""
    if backend not in BACKENDS:
        raise one_of("backend", backend, BACKENDS)
    try:
        import_module(f"arviz_plots.backend.{backend}")
    except ImportError as error:
        raise ArgumentError(
            f"backend={backend!r} needs a package that cannot be imported ({error}); install it "
            f"with python -m pip install 'arviz-plots[{backend}]', or use 'matplotlib'."
        ) from error


def check_table(table: Any, needed: Sequence[str], function: str, source: str) -> None:
    """Refuse what is not the table of `source` with all its variables."""
    if not isinstance(table, xr.Dataset) or any(name not in table for name in needed):
        raise ResultError(
            f"{function} takes the table that {source} returned, not this {type(table).__name__}; "
            f"write {function}({source}(...))."
        )


def canvas(
    panels: Sequence[str],
    series: Sequence[str],
    backend: str,
    figure_kwargs: dict[str, Any],
    *,
    size: tuple[float, float] = (3.1, 2.7),
    across: int = ACROSS,
    colors: Sequence[str] = PALETTE,
    lines: Sequence[str] = (),
    drawn: tuple[str, str] = ("drawn", "panel"),
) -> Canvas:
    """Empty panels in rows of so many.

    Parameters
    ----------
    panels, series : sequence of str
        Names of the panels, and of what the legend tells apart.
    backend : str
    figure_kwargs : dict
        Of the user's, over the figure's own.
    size : (float, float)
        Of one panel, inches.
    colors, lines : sequence of str
        Of the series, in turn.
    drawn : (str, str)
        What panels are called in the collection, as in `get_target("drawn", {"panel": name})`.
    """
    check_backend(backend)
    from arviz_plots import PlotCollection

    across = min(len(panels), across)
    down = -(-len(panels) // across)
    legend = PER_LETTER * max(map(len, series)) + 0.8 if len(series) > 1 else 0.2
    chosen = [colors[i % len(colors)] for i in range(len(series))]
    names = xr.Dataset(
        {drawn[0]: ((drawn[1], "series"), np.zeros((len(panels), len(series))))},
        coords={drawn[1]: list(panels), "series": list(series)},
    )
    aesthetics: dict[str, Any] = {"color": ["series"]}
    values: dict[str, Any] = {"color": chosen}
    if lines:
        aesthetics["linestyle"], values["linestyle"] = ["series"], list(lines)
    options = figure_size(backend, across * size[0] + legend, down * size[1] + 0.4)

    def draw_panels() -> PlotCollection:
        return PlotCollection.wrap(
            names,
            cols=[drawn[1]],
            col_wrap=across,
            aes=aesthetics,
            backend=cast(Any, backend),
            figure_kwargs=options | figure_kwargs,
            **values,
        )

    draw = import_module(f"arviz_plots.backend.{backend}")
    return Canvas(
        with_options(draw_panels, backend, figure_kwargs),
        draw,
        dict(zip(map(str, series), chosen, strict=True)),
        drawn,
        across * size[0] - legend,
    )


def figure_size(backend: str, width: float, height: float) -> dict[str, Any]:
    """The size of a figure in inches as options of its backend."""
    if backend == "matplotlib":
        return {"figsize": (width, height), "layout": "constrained"}
    return {"figsize": (100 * width, 100 * height), "figsize_units": "dots"}


def with_options[T](work: Callable[[], T], backend: str, figure_kwargs: dict[str, Any]) -> T:
    """What some drawing returns; options that the figure does not take are named."""
    try:
        return work()
    except (AttributeError, TypeError) as error:
        if not figure_kwargs:
            raise
        raise ArgumentError(
            f"the figure of {backend!r} does not take one of {', '.join(figure_kwargs)}: {error}"
        ) from error


def chosen_coefs(
    data: xr.Dataset, coefs: Sequence[str] | None, function: str, what: str
) -> xr.Dataset:
    """The part of a dataset with the coefficients asked for, all by default."""
    known = [str(label) for label in data["coef"].values]
    unknown = [str(coef) for coef in coefs or () if coef not in known]
    if unknown:
        verb = "do" if what.endswith("s") else "does"
        raise ResultError(
            f"coefs names {', '.join(map(repr, unknown))}, which {what} {verb} not have; "
            f"there are {', '.join(map(repr, known))}."
        )
    chosen = known if coefs is None else list(coefs)
    if not chosen:
        raise ResultError(f"{function} was given no coefficients to draw; name one in coefs.")
    return data.sel(coef=chosen)
