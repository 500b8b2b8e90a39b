"""The plots of agreement, updating, predictions and correlations, read back from matplotlib."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DataError, ResultError
from expfam_glm.figures.correlation import shade
from expfam_glm.results.updating import prior_to_posterior
from expfam_glm.tree import likelihood_tree
from tests.fabricated import made_up, made_up_gee, sampled, three_roads

LINE = {"y": [1.0, 2.5, 2.0, 4.5, 4.0, 6.5], "x": [0.0, 1, 2, 3, 4, 5]}


@pytest.fixture(autouse=True)
def off_screen():
    before = matplotlib.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture(scope="module")
def rings() -> eg.GLM:
    """Binomial responses with a weak tendency, on which a prior shows."""
    return eg.GLM("damaged ~ temperature", eg.load_data("oring"), family="binomial", trials="rings")


@pytest.fixture(scope="module")
def near(rings: eg.GLM) -> xr.DataTree:
    """Its posterior under a narrow prior of the slope and a flat one of the intercept."""
    priors = {"Intercept": "flat", "temperature": eg.Prior("Normal", mu=0.0, sigma=0.03)}
    return rings.laplace(priors=priors, random_seed=1, draws=500)


@pytest.mark.slow
def test_prior_likelihood_and_posterior_are_the_exact_curves() -> None:
    # normal of known dispersion: all three are normal
    unit = eg.Family("unit_normal", b=lambda t: t**2 / 2, support=eg.Real, phi=1.0,
                     c=lambda y, a: -(y**2) / 2 - 0.5 * np.log(2 * np.pi))  # fmt: skip
    model = eg.GLM("y ~ x", LINE, family=unit)
    priors = {"Intercept": "flat", "x": eg.Prior("Normal", mu=0.0, sigma=0.2)}
    tree = model.laplace(priors=priors, random_seed=1, draws=2000)
    updated = prior_to_posterior(tree, model.fit(), None, unit, None)
    one = updated.sel(coef="x")
    np.testing.assert_allclose(one["prior"], stats.norm(0, 0.2).pdf(one["value"]), rtol=1e-10)
    slope = stats.linregress(LINE["x"], LINE["y"]).slope
    information = np.sum((np.array(LINE["x"]) - 2.5) ** 2)
    likelihood = stats.norm(slope, information**-0.5).pdf(one["value"])
    np.testing.assert_allclose(one["likelihood"], likelihood, atol=2e-3 * likelihood.max())
    precision = information + 0.2**-2
    posterior = stats.norm(slope * information / precision, precision**-0.5).pdf(one["value"])
    # a kernel estimate of 8000 draws
    np.testing.assert_allclose(one["posterior"], posterior, atol=0.05 * posterior.max())
    assert np.isnan(updated["prior"].sel(coef="Intercept")).all()


def test_the_likelihood_is_the_profile(rings: eg.GLM, near: xr.DataTree) -> None:
    one = prior_to_posterior(near, rings.fit(), ["temperature"], None, None).sel(coef="temperature")
    profile = eg.profile(rings.fit(), ci_prob=0.95).sel(coef="temperature")
    at = np.interp(profile["value"], one["value"], one["likelihood"])
    expected = np.exp(-0.5 * profile["root"].values ** 2) * at.max()
    np.testing.assert_allclose(at, expected, atol=2e-3 * at.max())
    prior = stats.norm(0, 0.03).pdf(one["value"])
    np.testing.assert_allclose(one["prior"], prior, rtol=1e-10)


def test_the_panels_of_prior_and_posterior(rings: eg.GLM, near: xr.DataTree) -> None:
    collection = eg.plot_prior_posterior(near, rings.fit(), coefs=["temperature"])
    panel = collection.get_target("drawn", {"panel": "temperature"})
    assert [line.get_linestyle() for line in panel.get_lines()] == [":", "--", "-"]
    assert panel.get_xlabel() == "prior Normal(0, 0.03)" and panel.get_title() == "temperature"
    (legend,) = collection.get_viz("figure").legends
    assert [t.get_text() for t in legend.get_texts()] == ["prior", "likelihood", "posterior"]


def test_without_a_likelihood_the_estimate_stands_for_it(rings: eg.GLM, near: xr.DataTree) -> None:
    gee = rings.gee(np.arange(23) // 2)
    found = prior_to_posterior(near, gee, ["temperature"], None, None)
    assert found.attrs["likelihood"] == "GEE estimate"
    one = found.sel(coef="temperature")
    law = stats.norm(*(float(gee["fit"][n].sel(coef="temperature")) for n in ("beta", "se")))
    expected = law.pdf(one["value"])
    np.testing.assert_allclose(one["likelihood"], expected, atol=1e-3 * expected.max())
    alone = prior_to_posterior(near, None, None, None, None)
    assert not alone["likelihood"].notnull().any()
    assert np.isnan(alone["prior"].sel(coef="Intercept")).all()  # flat


def test_updating_refuses(rings: eg.GLM, near: xr.DataTree) -> None:
    with pytest.raises(ResultError, match="tree with draws of a posterior"):
        eg.plot_prior_posterior(rings.fit())
    with pytest.raises(ArgumentError, match="'z' is not among"):
        eg.plot_prior_posterior(near, coefs=["z"])
    with pytest.raises(ResultError, match="likelihood= takes"):
        eg.plot_prior_posterior(near, near)


def test_agreement_is_in_standard_errors_of_the_reference() -> None:
    table = eg.compare(three_roads())
    collection = eg.plot_agreement(table)
    left, right = (
        collection.get_target("drawn", {"panel": name}) for name in ("estimates", "what differs")
    )
    base = table.sel(model="MLE")
    for i, model in enumerate(("GEE", "Bayes")):
        one = table.sel(model=model)
        drawn = left.collections[i].get_offsets()
        np.testing.assert_allclose(drawn[:, 1], one["estimate"] / base["se"])
        points = right.collections[i].get_offsets()
        np.testing.assert_allclose(points, np.column_stack([one["spread_ratio"], one["pull"]]))
    with pytest.raises(ResultError, match="second model"):
        eg.plot_agreement(eg.compare({"A": sampled()}))
    with pytest.raises(ResultError, match="takes the table"):
        eg.plot_agreement(three_roads())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trial() -> dict[str, xr.DataTree]:
    """Two fits of the seizure trial."""
    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    return {"MLE": model.fit(), "GEE": model.gee("patient")}


def test_curves_are_predictions_at_typical_values(trial: dict[str, xr.DataTree]) -> None:
    collection = eg.plot_predictions(trial, "lbase", by="treatment", ci_prob=0.9)
    seizures = eg.load_data("seizures")
    panel = collection.get_target("drawn", {"panel": "treatment: progabide"})
    curves = [line for line in panel.get_lines() if line.get_linewidth() > 1.5]
    for line, tree in zip(curves, trial.values(), strict=True):
        x = np.asarray(line.get_xdata())
        rows = {
            "lbase": x, "treatment": ["progabide"] * x.size,
            "age": np.full(x.size, seizures["age"].mean()),
        }  # fmt: skip
        np.testing.assert_allclose(line.get_ydata(), eg.predict(tree, rows)["estimate"])
    assert [x.min(), x.max()] == [seizures["lbase"].min(), seizures["lbase"].max()]
    points = panel.collections[0].get_offsets()
    assert len(points) == (seizures["treatment"] == "progabide").sum()
    assert panel.get_ylabel() == "mean of seizures"
    assert collection.get_viz("figure").get_suptitle() == "90% bands at age = 28.34"


def test_levels_of_a_factor_are_points(trial: dict[str, xr.DataTree]) -> None:
    collection = eg.plot_predictions(trial, "treatment", at={"lbase": 1.0}, kind="link")
    panel = collection.get_target("drawn", {"panel": "treatment"})
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["placebo", "progabide"]
    assert panel.get_ylabel() == "linear predictor"
    age = eg.load_data("seizures")["age"].mean()
    rows = {"lbase": [1.0, 1.0], "treatment": ["placebo", "progabide"], "age": [age, age]}
    expected = eg.predict(trial["MLE"], rows, kind="link")
    np.testing.assert_allclose(panel.collections[0].get_offsets()[:, 1], expected["estimate"])


def test_an_exposure_is_left_out_and_named() -> None:
    doctors = eg.load_data("doctors")
    tree = eg.GLM("deaths ~ age", doctors, family="poisson", exposure="person_years").fit()
    panel = eg.plot_predictions({"MLE": tree}, "age").get_target("drawn", {"panel": "age"})
    assert panel.get_ylabel() == "mean of deaths (exposure left out)"
    assert not [c for c in panel.collections if len(c.get_offsets()) == len(doctors)]


def test_predictions_refuse(trial: dict[str, xr.DataTree]) -> None:
    with pytest.raises(ArgumentError, match="'weight', which is not on the right side"):
        eg.plot_predictions(trial, "weight")
    with pytest.raises(ArgumentError, match="by='age' holds numbers"):
        eg.plot_predictions(trial, "lbase", by="age")
    with pytest.raises(ArgumentError, match="at= holds 'lbase'"):
        eg.plot_predictions(trial, "lbase", at={"lbase": 1})
    with pytest.raises(DataError, match="'placebo2' is not one of its levels"):
        eg.plot_predictions(trial, "lbase", at={"treatment": "placebo2"})
    with pytest.raises(ArgumentError, match="kind='draws'"):
        eg.plot_predictions(trial, "lbase", kind="draws")


def test_the_heat_map_shows_the_matrix() -> None:
    R = np.array([[1.0, 0.5, -0.25], [0.5, 1.0, 0.5], [-0.25, 0.5, 1.0]])
    names = ["t1", "t2", "t3"]
    tree = likelihood_tree(made_up_gee(
        fit={"phi": ((), 1.0), "working_correlation": (("time", "time2"), R)},
        fit_coords={"time": names, "time2": names}))  # fmt: skip
    panel = eg.plot_working_correlation(tree).get_target("drawn", {"panel": "correlation"})
    written = {tuple(t.get_position()): t.get_text() for t in panel.texts}
    for i in range(3):
        for j in range(3):
            assert written[(j + 0.5, 3 - i - 0.5)] == f"{R[i, j]:.2f}"
    assert [t.get_text() for t in panel.get_xticklabels()] == names
    assert [t.get_text() for t in panel.get_yticklabels()] == names
    with pytest.raises(ResultError, match="no working correlation"):
        eg.plot_working_correlation(likelihood_tree(made_up()))


def test_shades_are_signed_and_monotone() -> None:
    assert shade(0.0) == "#ffffff" and shade(1.0) == "#d55e00" and shade(-1.0) == "#0072b2"
    darkness = [765 - sum(int(shade(r)[i : i + 2], 16) for i in (1, 3, 5)) for r in (0, 0.3, 0.8)]
    assert darkness == sorted(darkness)


@pytest.mark.parametrize("function", ["plot_comparison", "plot_agreement"])
def test_options_and_backends_are_checked(function: str) -> None:
    table = eg.compare(three_roads())
    with pytest.raises(ArgumentError, match="'matplotlib', 'bokeh'"):
        getattr(eg, function)(table, backend="ggplot")
    with pytest.raises(ArgumentError, match="does not take one of colour"):
        getattr(eg, function)(table, colour="red")


def test_a_backend_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz_plots.backend.bokeh", None)
    with pytest.raises(ArgumentError, match=r"pip install 'arviz-plots\[bokeh\]'"):
        eg.plot_agreement(eg.compare(three_roads()), backend="bokeh")


def test_one_tree_needs_no_name_and_proportions_are_called_so() -> None:
    rings = eg.load_data("oring")
    tree = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings").fit(draws=10)
    collection = eg.plot_predictions(tree, "temperature")
    panel = collection.get_target("drawn", {"panel": "temperature"})
    assert panel.get_ylabel() == "mean of damaged / trials"
