"""Plots of residuals and influence, read back from matplotlib's own objects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from scipy.special import ndtri

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, ResultError


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    """Figures are drawn off screen and closed."""
    before = matplotlib.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


SEIZURES = eg.GLM("seizures ~ lbase * treatment + age", eg.load_data("seizures"), family="poisson")


@cache
def seizures(road: str) -> xr.DataTree:
    return SEIZURES.fit() if road == "fit" else SEIZURES.gee(groups="patient")


def points(axes: Axes) -> np.ndarray:
    """The first line of markers of a panel."""
    (line,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    return np.asarray(line.get_xydata())


def test_the_panels_hold_residuals_and_influence() -> None:
    tree = seizures("fit")
    figure = eg.plot_diagnostics(tree, "deviance", simulations=3)
    residual, spread, half, cook = figure.axes
    r = eg.residuals(tree, standardised=True).values
    eta = eg.predict(tree, kind="link")["estimate"].values
    np.testing.assert_allclose(points(residual), np.column_stack([eta, r]))
    np.testing.assert_allclose(points(spread)[:, 1], np.sqrt(np.abs(r)))
    scores = ndtri((np.arange(1, 237) + 236 - 0.125) / (2 * 236 + 0.5))
    expected = np.column_stack([scores, np.sort(np.abs(r))])
    np.testing.assert_allclose(points(half), expected)
    labels = [text.get_text() for text in half.get_legend().get_texts()]
    assert labels == ["range of 3 simulated fits", "their median", "normal"]
    (stems,) = cook.collections
    heights = [segment[1, 1] for segment in stems.get_segments()]
    np.testing.assert_allclose(heights, eg.influence(tree)["cooks_distance"])
    assert {"192", "98", "28"} <= {text.get_text() for text in cook.texts}
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Residuals", "Spread", "Half-normal plot", "Influence"]
    assert residual.get_ylabel() == "standardised deviance residual"
    assert figure.get_suptitle() == (
        "seizures ~ lbase * treatment + age (poisson, log; maximum likelihood)"
    )


def test_other_roads_have_no_influence_and_no_envelope() -> None:
    tree = seizures("gee")
    figure = eg.plot_diagnostics(tree, "pearson", title="Seizures", figsize=(9, 3))
    assert [axes.get_title() for axes in figure.axes] == ["Residuals", "Spread", "Half-normal plot"]
    r = eg.residuals(tree, "pearson").values / np.sqrt(float(tree["fit"]["phi"]))
    np.testing.assert_allclose(points(figure.axes[0])[:, 1], r)
    assert figure.axes[0].get_ylabel() == "Pearson residual / √φ"
    assert figure.get_suptitle() == "Seizures" and not figure.axes[2].collections


def test_discrete_responses_have_quantile_residuals() -> None:
    figure = eg.plot_diagnostics(seizures("fit"), simulations=2, random_seed=3)
    r = eg.residuals(seizures("fit"), "quantile", random_seed=3).values
    np.testing.assert_allclose(points(figure.axes[0])[:, 1], r)
    assert figure.axes[0].get_ylabel() == "quantile residual"
    assert figure.axes[2].get_legend().get_texts()[0].get_text() == "range of 2 simulated fits"


def test_ties_are_not_labelled_on_top_of_each_other() -> None:
    data = {"y": [0, 1] * 10, "x": [0] * 10 + [1] * 10}
    tree = eg.GLM("y ~ x", data, family="binomial").fit()
    figure = eg.plot_diagnostics(tree, "deviance", simulations=0)
    assert not figure.axes[0].texts and not figure.axes[3].texts


def test_a_row_that_is_fitted_by_itself_is_left_out() -> None:
    data = {"y": [1.0, 2.0, 4.0, 3.0, 7.0], "g": ["a", "a", "a", "a", "b"]}
    tree = eg.GLM("y ~ g", data, family="gamma", link="log").fit()
    figure = eg.plot_diagnostics(tree, simulations=2)
    assert len(points(figure.axes[2])) == 4
    assert np.isnan(points(figure.axes[0])[4, 1])


def test_residuals_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ArgumentError, match="kind='response' is not known"):
        eg.plot_diagnostics(seizures("fit"), "response")
    with pytest.raises(ArgumentError, match="simulations=-1 must be a whole number"):
        eg.plot_diagnostics(seizures("fit"), simulations=-1)
    with pytest.raises(ResultError, match="plot_diagnostics takes a DataTree"):
        eg.plot_diagnostics(3)  # type: ignore[arg-type]
