"""Prior, likelihood and posterior of each coefficient in one panel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.figures.canvas import GRAY, PALETTE, canvas
from expfam_glm.results.updating import prior_to_posterior
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

if TYPE_CHECKING:
    from arviz_plots import PlotCollection


def plot_prior_posterior(
    tree: xr.DataTree,
    likelihood: xr.DataTree | None = None,
    *,
    coefs: Sequence[str] | None = None,
    title: str | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
    backend: str = "matplotlib",
    **figure_kwargs: Any,
) -> PlotCollection:
    """Draw how the data turn the prior of each coefficient into its posterior.

    Parameters
    ----------
    tree : DataTree
        What `sample` or `laplace` returned, also when read back from a file.
    likelihood : DataTree, optional
        What `fit` returned for the same model: its profile likelihood is drawn too, of area one.
        Where there is no likelihood (`gee`, penalties) the distribution of the estimate stands for
        it.
    coefs : sequence of str, optional
        Coefficients to draw, in this order; all by default.
    title : str, optional
        By default the formula, family and link.
    family, link : Family, Link, optional
        The declaration, where they are not built in and a likelihood is drawn.
    backend : {"matplotlib", "bokeh", "plotly", "none"}
        A backend of arviz-plots.
    **figure_kwargs
        Passed to the backend's figure, such as `figsize`.

    Returns
    -------
    arviz_plots.PlotCollection
        One panel a coefficient, the prior written below it. A flat prior has no curve, and neither
        have priors of all coefficients together.

    Raises
    ------
    ResultError
        If there are no draws of a posterior, or the likelihood is not of a fit.
    ArgumentError
        For unknown coefficients or backends.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> near = model.laplace(random_seed=1, priors=eg.Prior("Normal", mu=0, sigma=1))
    >>> eg.plot_prior_posterior(near, model.fit(), backend="none").backend
    'none'
    """
    found = prior_to_posterior(tree, likelihood, coefs, family, link)
    words = json.loads(found.attrs["priors"])
    called = {"prior": "prior", "likelihood": found.attrs["likelihood"], "posterior": "posterior"}
    styles = {
        "prior": (GRAY, "C2"), "likelihood": (PALETTE[1], "C1"), "posterior": (PALETTE[0], "C0"),
    }  # fmt: skip
    drawn = [name for name in styles if found[name].notnull().any()]
    names = [str(label) for label in found["coef"].values]
    figure = canvas(
        names,
        [called[name] for name in drawn],
        backend,
        figure_kwargs,
        colors=[styles[name][0] for name in drawn],
        lines=[styles[name][1] for name in drawn],
    )
    draw = figure.draw
    for label in names:
        panel, one = figure.panel(label), found.sel(coef=label)
        x = one["value"].values
        for name in drawn:
            y = one[name].values
            if np.isnan(y).any():
                continue
            color, line = styles[name]
            if name == "posterior":
                draw.fill_between_y(x, np.zeros(x.size), y, panel, color=color, alpha=0.2)
            draw.line(x, y, panel, color=color, width=1.6, linestyle=line)
        draw.title(label, panel)
        draw.xlabel(f"prior {words[label]}", panel)
        draw.ylim((0, None), panel)
        draw.yticks([], [], panel)
        figure.few_ticks(panel)
    attrs = tree.attrs
    return figure.finish(
        title or f"{attrs.get('formula') or 'coefficients'} ({attrs['family']}, {attrs['link']})"
    )
