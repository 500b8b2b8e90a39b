"""Plots of residuals and influence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, one_of
from expfam_glm.figures.canvas import PALETTE, with_options
from expfam_glm.results.envelope import HalfNormal, half_normal
from expfam_glm.results.fitted import no_density
from expfam_glm.results.residuals import (
    STANDARDISED,
    hat_values,
    is_likelihood,
    of_kind,
    quantile,
    row_fit,
    standardise,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from expfam_glm.spec.family import Family
    from expfam_glm.spec.link import Link

KINDS = (*STANDARDISED, "quantile")
FEWEST = 20  # points for a running mean
LINE = 9  # points from one label to the next one at a tie
TIED = (0.05, 0.04)  # of the width and height: points nearer than this have labels in a pile


def plot_diagnostics(
    tree: xr.DataTree,
    kind: str | None = None,
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
    kind : {"deviance", "pearson", "anscombe", "quantile"}, optional
        Residuals to draw: standardised after a likelihood fit, else divided by √a(φ̂). "quantile",
        the default where responses are discrete and have a distribution, are randomised and normal
        if the model is right; "deviance" is the default elsewhere.
    simulations : int
        How many responses to simulate and fit for the envelope of the half-normal plot; after a
        likelihood fit of a family with a density. 0 leaves it out.
    random_seed : int
        Seed of the simulations and of the quantile residuals.
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
    >>> figure = eg.plot_diagnostics(mle, simulations=0)
    >>> len(figure.axes)
    4
    """
    from matplotlib import pyplot

    if kind is not None and kind not in KINDS:
        raise one_of("kind", kind, KINDS)
    if isinstance(simulations, bool) or not isinstance(simulations, int) or simulations < 0:
        raise ArgumentError(f"simulations={simulations!r} must be a whole number from 0.")
    rows = row_fit(tree, "plot_diagnostics", family, link)
    full = is_likelihood(tree)
    if kind is None:
        drawable = rows.family.support.discrete and not no_density(tree, rows.family)
        kind = "quantile" if drawable else "deviance"
    if kind == "quantile":
        values = quantile(rows, random_seed)
    else:
        plain = of_kind(rows, kind)
        values = standardise(rows, plain) if full else plain / np.sqrt(rows.a)
    count = simulations if full and not rows.family.is_quasi else 0
    ordered = half_normal(rows, values, kind, count, random_seed)
    numbers = tree["constant_data"].to_dataset()["obs_id"].values
    word = kind.capitalize() if kind in ("pearson", "anscombe") else kind
    what = f"standardised {word} residual" if full else f"{word} residual / √φ"
    if kind == "quantile":
        what = "quantile residual"

    size = (9.5, 7.5) if full else (13.0, 4.2)
    options = {"figsize": size, "layout": "constrained"} | figure_kwargs
    figure = with_options(lambda: pyplot.figure(**options), "matplotlib", figure_kwargs)
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
    _number(axes, x, y, _largest(np.abs(y), known), numbers)


def _half_normal(axes: Axes, ordered: HalfNormal, numbers: np.ndarray, what: str) -> None:
    """Sizes against half-normal scores, with the envelope where there is one."""
    if ordered.envelope is not None:
        low, middle, high = ordered.envelope
        label = f"range of {ordered.count} simulated fits"
        axes.fill_between(ordered.scores, low, high, color="#BBBBBB", alpha=0.6, label=label)
        axes.plot(ordered.scores, middle, color="gray", linewidth=1, label="their median")
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
    _number(axes, place, cook, _largest(cook, known), numbers)


def _largest(sizes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The rows of the three largest, without those that a fourth one equals."""
    order = known[np.argsort(-sizes[known], kind="stable")]
    return order[:3][sizes[order[:3]] > sizes[order[3]]] if order.size > 3 else order


def _number(
    axes: Axes, x: np.ndarray, y: np.ndarray, rows: np.ndarray, numbers: np.ndarray
) -> None:
    """Write the numbers of some rows beside their points, on the side that has room."""
    if not rows.size:
        return
    middle = 0.5 * (np.nanmin(x) + np.nanmax(x))
    width, height = np.nanmax(x) - np.nanmin(x), np.nanmax(y) - np.nanmin(y)
    for k, row in enumerate(rows):
        right = x[row] > middle
        before = rows[:k]
        tied = (np.abs(x[before] - x[row]) <= TIED[0] * width) & (
            np.abs(y[before] - y[row]) <= TIED[1] * height
        )
        drop = -LINE * int(tied.sum())
        axes.annotate(
            str(numbers[row]), (x[row], y[row]), xytext=(-5 if right else 5, drop), fontsize=8,
            textcoords="offset points", ha="right" if right else "left", va="center",
        )  # fmt: skip
    axes.margins(y=0.08)
