"""The forest of a comparison, read back from matplotlib's own objects; and plain ArviZ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import arviz as az
import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.figures.canvas import PALETTE
from expfam_glm.plots import plot_comparison, plot_profile
from expfam_glm.results.compare import compare
from expfam_glm.results.profile import profile
from expfam_glm.tree import likelihood_tree
from tests.fabricated import LABELS, aliased, made_up, made_up_gee, sampled, three_roads


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    """Figures are drawn off screen and closed."""
    before = matplotlib.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def lines_of(axes: plt.Axes) -> dict[str, list[np.ndarray]]:
    """The horizontal lines by colour: (x, width) of each, top to bottom."""
    found: dict[str, list[np.ndarray]] = {}
    for line in axes.get_lines():
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        if x.size == 2 and y[0] == y[-1] and line.get_linestyle() == "-":
            found.setdefault(to_hex(line.get_color()).upper(), []).append(
                np.array([-y[0], line.get_linewidth(), *x])
            )
    return {color: sorted(lines, key=tuple) for color, lines in found.items()}


def test_the_lines_are_the_exact_intervals() -> None:
    table = compare(three_roads())
    forest = plot_comparison(table).get_target("estimate", {"column": "forest"})
    found = lines_of(forest)
    assert list(found) == list(PALETTE[:3])
    for model, lines in enumerate(found.values()):
        thin, thick = lines[::2], lines[1::2]  # at one height the thin line comes first
        assert all(a[1] < b[1] and a[0] == b[0] for a, b in zip(thin, thick, strict=True))
        np.testing.assert_allclose([line[2:] for line in thin], table["interval"][model])
        np.testing.assert_allclose([line[2:] for line in thick], table["inner_interval"][model])


def test_scaled_intervals_are_in_standard_errors_of_the_reference() -> None:
    table = compare(three_roads())
    forest = plot_comparison(table, scaled=True).get_target("estimate", {"column": "forest"})
    first = next(iter(lines_of(forest).values()))[::2]
    one = table.isel(model=0)
    expected = one["interval"] / one["se"]
    np.testing.assert_allclose([line[2:] for line in first], expected)
    assert forest.get_xlabel() == "coefficient / standard error of MLE"
    with pytest.raises(ArgumentError, match="leave scaled= out"):
        plot_comparison(table, densities=True, scaled=True, backend="none")


def test_models_stand_apart_in_the_order_of_the_table() -> None:
    forest = plot_comparison(compare(three_roads())).get_target("estimate", {"column": "forest"})
    tops = [lines[0][0] for lines in lines_of(forest).values()]
    assert tops == sorted(tops) and len(set(tops)) == 3
    low, high = forest.get_ylim()
    assert all(low < -height < high for height in tops)


def test_legend_labels_title_and_zero() -> None:
    collection = plot_comparison(compare(three_roads(), ci_prob=0.95))
    figure = collection.get_viz("figure")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["MLE", "GEE", "Bayes"]
    assert [to_hex(line.get_color()).upper() for line in legend.get_lines()] == list(PALETTE[:3])
    forest = collection.get_target("estimate", {"column": "forest"})
    assert forest.get_xlabel() == "coefficient (link scale)"
    assert forest.get_title() == "50% (thick) and 95% (thin) intervals"
    assert any(np.all(np.asarray(line.get_xdata()) == 0) for line in forest.get_lines())
    labels = collection.get_target("estimate", {"column": "labels"})
    assert {text.get_text() for text in labels.texts} == set(LABELS)
    titled = plot_comparison(compare(three_roads()), title="Seizures")
    assert titled.get_target("estimate", {"column": "forest"}).get_title() == "Seizures"


@pytest.mark.parametrize("names", [LABELS, ("a", "b", "c", "d" * 60)])
def test_nothing_overlaps(names: tuple[str, ...]) -> None:
    trees = {
        "MLE": likelihood_tree(made_up(labels=names)),
        "a model with a long name": sampled(labels=names),
    }
    collection = plot_comparison(compare(trees))
    figure = collection.get_viz("figure")
    figure.canvas.draw()
    forest = collection.get_target("estimate", {"column": "forest"})
    labels = collection.get_target("estimate", {"column": "labels"})
    places = [text.get_window_extent() for text in labels.texts]
    places += [forest.get_window_extent(), forest.title.get_window_extent()]
    places += [figure.legends[0].get_window_extent()]
    for i, place in enumerate(places):
        assert not any(place.overlaps(other) for other in places[i + 1 :])
        assert figure.bbox.x0 <= place.x0 and place.x1 <= figure.bbox.x1


def test_chosen_coefficients_in_the_chosen_order() -> None:
    collection = plot_comparison(compare(three_roads()), coefs=[LABELS[2], "age"])
    texts = collection.get_target("estimate", {"column": "labels"}).texts
    heights = {text.get_text(): text.get_position()[1] for text in texts}
    assert list(heights) == [LABELS[2], "age"]
    assert heights[LABELS[2]] > heights["age"]


def test_what_a_model_lacks_is_left_out() -> None:
    trees = {"A": likelihood_tree(aliased(made_up(), 1)), "B": sampled(labels=("x", *LABELS[1:]))}
    forest = plot_comparison(compare(trees)).get_target("estimate", {"column": "forest"})
    counts = {
        color: sum(np.isfinite(line).all() for line in lines)
        for color, lines in lines_of(forest).items()
    }
    assert counts == {PALETTE[0]: 2 * 3, PALETTE[1]: 2 * 4}


def test_many_models_and_one_model() -> None:
    tree = likelihood_tree(made_up())
    collection = plot_comparison(compare({f"model {i}": tree for i in range(10)}))
    assert len(collection.get_viz("figure").legends[0].get_texts()) == 10
    plot_comparison(compare({"alone": tree}), coefs=["age"])


def test_it_is_written_to_a_file(tmp_path: Path) -> None:
    plot_comparison(compare(three_roads()), figsize=(5, 3)).savefig(tmp_path / "forest.png")
    assert (tmp_path / "forest.png").stat().st_size > 5000


def test_what_cannot_be_drawn_is_refused() -> None:
    table = compare(three_roads())
    with pytest.raises(ResultError, match="takes the table that compare returned, not this dict"):
        plot_comparison(three_roads())  # type: ignore[arg-type]
    with pytest.raises(ResultError, match="not this Dataset"):
        plot_comparison(xr.Dataset({"estimate": 1.0}))
    with pytest.raises(
        ResultError, match="'agee', which the comparison does not have; there are 'I"
    ):
        plot_comparison(table, coefs=["age", "agee"])
    with pytest.raises(ResultError, match="no coefficients"):
        plot_comparison(table, coefs=[])
    with pytest.raises(ArgumentError, match="'matplotlib', 'bokeh'"):
        plot_comparison(table, backend="ggplot")


def test_plain_arviz_shows_all_three_roads() -> None:
    trees = three_roads() | {"GEE": likelihood_tree(aliased(made_up_gee(), 1))}
    collection = az.plot_forest(trees, combined=True, backend="matplotlib")
    forest = collection.get_target("beta", {"column": "forest"})
    found = lines_of(forest)
    assert len(found) == 3
    drawn = [sum(np.isfinite(line).all() for line in lines) for lines in found.values()]
    assert drawn == [8, 6, 8]


def test_the_profile_is_drawn_beside_its_normal_approximation() -> None:
    model = eg.GLM("y ~ x", {"y": [1, 3, 4, 9], "x": [0, 1, 2, 3]}, family="poisson")
    found = profile(model.fit(), ci_prob=0.95)
    collection = plot_profile(found, coefs=["x"])
    panel = collection.get_target("root", {"coef": "x"})
    one = found.sel(coef="x")
    curves = [line for line in panel.get_lines() if len(line.get_xdata()) == one.sizes["point"]]
    straight, root = (np.asarray(line.get_ydata(), float) for line in curves)
    np.testing.assert_allclose(root, one["root"])
    np.testing.assert_allclose(straight, (one["value"] - one["estimate"]) / one["se"])
    upright = [
        line.get_xdata()[0] for line in panel.get_lines() if list(line.get_ydata()) == [0, 1]
    ]
    np.testing.assert_allclose(sorted(upright), one["interval"])
    with pytest.raises(ResultError, match="takes the table that profile returned"):
        plot_profile(found["root"])
    with pytest.raises(ArgumentError, match="backend"):
        plot_profile(found, backend="paper")
