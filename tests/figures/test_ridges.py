"""Densities above intervals, read back from matplotlib's own objects."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from expfam_glm.figures.canvas import PALETTE
from expfam_glm.figures.ridges import HEIGHT
from expfam_glm.plots import plot_comparison
from expfam_glm.results.compare import compare
from tests.fabricated import LABELS, three_roads


@pytest.fixture(autouse=True)
def off_screen():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def test_densities_stand_on_the_intervals() -> None:
    table = compare(three_roads())
    collection = plot_comparison(table, densities=True)
    for label in LABELS:
        panel = collection.get_target("estimate", {"coef": label})
        one = table.sel(coef=label)
        top = float(one["density"].max())
        assert panel.get_title() == label
        assert len(panel.collections) == 2 * 3  # a density and a point of each model
        for row, model in enumerate(reversed(one["model"].values)):
            filled = panel.collections[2 * row].get_paths()[0].vertices
            own = one.sel(model=model)
            assert filled[:, 0].min() == pytest.approx(float(own["value"].min()))
            height = filled[:, 1].max() - row
            assert height == pytest.approx(HEIGHT * float(own["density"].max()) / top)
            color = PALETTE[2 - row]
            assert to_hex(panel.collections[2 * row].get_facecolor()[0]).upper() == color
            spans = [
                np.asarray(line.get_xdata())
                for line in panel.get_lines()
                if to_hex(line.get_color()).upper() == color
            ]
            np.testing.assert_allclose(spans, [own["interval"], own["inner_interval"]])


def test_the_asymptotic_distribution_stands_over_draws_alone() -> None:
    table = compare(three_roads())
    collection = plot_comparison(table, densities=True, coefs=["age"])
    panel = collection.get_target("estimate", {"coef": "age"})
    (curve,) = [line for line in panel.get_lines() if line.get_color() == "black"]
    mle = table.sel(model="MLE", coef="age")
    np.testing.assert_allclose(curve.get_xdata(), mle["value"])
    top = float(table["density"].sel(coef="age").max())
    np.testing.assert_allclose(curve.get_ydata(), HEIGHT * mle["density"] / top)  # the lowest row
    assert collection.get_viz("figure").get_suptitle().endswith("dashed: MLE")
