"""Coverage by simulation: its numbers from what was found, its roads, refusals, table and plot.

The normal linear model is the reference: t intervals hold the truth with exactly their probability.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DataError, ResultError
from expfam_glm.results.coverage import Truth, coverage

FIVE = {"y": [1.0, 2.5, 2.0, 4.5, 4.0, 6.5], "x": [0.0, 1, 2, 3, 4, 5]}
MLE = {"MLE": "fit"}


@pytest.fixture(scope="module")
def line() -> eg.GLM:
    """A normal linear model of six rows."""
    return eg.GLM("y ~ x", FIVE, family="normal")


def simulated(model: eg.GLM, simulations: int) -> xr.Dataset:
    """A simulation of the line."""
    roads = {"t": "fit", "HC0": ("fit", {"cov": "HC0"})}
    return coverage(
        model, roads, simulations=simulations, ci_prob=0.8, phi=2.0, truth=[1.0, 0.5],
        progressbar=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(line: eg.GLM) -> xr.Dataset:
    """A few data sets."""
    return simulated(line, 12)


@pytest.mark.slow
def test_exact_intervals_cover_as_they_say(line: eg.GLM) -> None:
    found = simulated(line, 200)
    one = found.sel(road="t")
    away = (one["coverage"] - 0.8) / np.sqrt(0.8 * 0.2 / 200)
    assert float(abs(away).max()) < 3.5
    assert float((one["bias"] / one["bias_mcse"]).__abs__().max()) < 3.5
    x = np.array(FIVE["x"]) - 2.5
    sd = np.sqrt(2.0 / np.sum(x**2))
    # E(s) of 4 degrees of freedom, times both sides
    expected = 2 * stats.t.ppf(0.9, 4) * sd * stats.chi.mean(4) / 2
    width = one.sel(coef="x")
    assert abs(float(width["width"]) - expected) < 4 * float(width["width_mcse"])
    assert float(found["coverage"].sel(road="HC0").max()) < float(one["coverage"].min())


def test_the_numbers_are_those_of_what_was_found(found: xr.Dataset) -> None:
    low, high = (found["interval"].sel(ci_bound=end) for end in ("lower", "upper"))
    inside = (low <= found["truth"]) & (found["truth"] <= high)
    np.testing.assert_allclose(found["coverage"], inside.mean("simulation"))
    c = found["coverage"]
    np.testing.assert_allclose(found["coverage_mcse"], np.sqrt(c * (1 - c) / 12))
    np.testing.assert_allclose(found["width"], (high - low).mean("simulation"))
    estimate = found["estimate"]
    np.testing.assert_allclose(found["bias"], estimate.mean("simulation") - [1.0, 0.5])
    sd = estimate.std("simulation", ddof=1)
    np.testing.assert_allclose(found["bias_mcse"], sd / np.sqrt(12))
    np.testing.assert_allclose(found["error_ratio"], found["se"].mean("simulation") / sd)
    assert found.attrs["simulated_from"] == "normal" and found.attrs["ci_prob"] == 0.8


def test_a_data_set_depends_on_its_number_alone(line: eg.GLM, found: xr.Dataset) -> None:
    again = coverage(line, MLE, simulations=7, phi=2.0, truth={"x": 0.5, "Intercept": 1.0},
                     progressbar=False)  # fmt: skip
    np.testing.assert_array_equal(again["estimate"][0], found["estimate"][0, :7])
    other = coverage(line, MLE, simulations=7, phi=2.0, truth=[1.0, 0.5], random_seed=1,
                     progressbar=False)  # fmt: skip
    assert not np.isclose(again["estimate"], other["estimate"]).any()


@pytest.mark.slow
def test_responses_are_those_of_the_declared_model() -> None:
    rings = eg.load_data("oring")
    model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    seen: list[np.ndarray] = []

    def road(again: eg.GLM) -> xr.DataTree:
        seen.append(again.problem.y)
        return again.fit(penalty="firth", draws=10, chains=1)

    table = coverage(model, {"Firth": road}, simulations=150, progressbar=False)
    y = np.array(seen)
    mu = eg.predict(model.fit())["estimate"].values
    error = np.sqrt(mu * (1 - mu) / 6 / 150)
    assert np.abs((y.mean(axis=0) - mu) / error).max() < 4
    np.testing.assert_allclose(6 * y, np.round(6 * y), atol=1e-9)
    np.testing.assert_array_equal(table["truth"], model.fit()["fit"]["beta"])


@pytest.mark.slow
def test_a_misspecified_model(line: eg.GLM) -> None:
    counts = eg.GLM(
        "y ~ x", {"y": [3, 2, 5, 4, 8, 9, 7, 12], "x": np.arange(8.0)}, family="poisson"
    )
    roads = {"fisher": "fit", "HC3": ("fit", {"cov": "HC3"})}
    wide = coverage(counts, roads, simulate=eg.families.negative_binomial(1.0), simulations=60,
                    progressbar=False)  # fmt: skip
    assert wide.attrs["simulated_from"] == "negative_binomial"
    assert float(wide["error_ratio"].sel(road="fisher").max()) < 0.8
    gap = wide["coverage"].sel(road="HC3") - wide["coverage"].sel(road="fisher")
    assert float(gap.min()) > 0.05
    heavy = coverage(line, MLE, simulate=lambda rng, mu: mu + rng.standard_t(3, mu.size),
                     simulations=5, progressbar=False)  # fmt: skip
    assert heavy.attrs["simulated_from"] == "a function"


def test_failures_are_counted_and_left_out() -> None:
    model = eg.GLM("y ~ x", {"y": [0, 0, 1, 0, 1, 1, 1], "x": np.arange(7.0)}, family="binomial")
    table = coverage(model, {"MLE": "fit", "Firth": ("fit", {"penalty": "firth"})}, simulations=25,
                     truth=[-3.0, 1.0], progressbar=False)  # fmt: skip
    failures = json.loads(table.attrs["failures"])
    assert set(failures["MLE"]) <= {"SeparationError"} and failures["Firth"] == {}
    assert int(table["fits"][0]) == 25 - sum(failures["MLE"].values()) < 25
    gone = np.isnan(table["estimate"].sel(road="MLE", coef="x"))
    assert int(gone.sum()) == sum(failures["MLE"].values())
    text = str(eg.summary(table))
    assert f"MLE: {int(gone.sum())} of 25 data sets could not be fitted (SeparationError" in text


def test_refusals(line: eg.GLM) -> None:
    quiet = {"simulations": 3, "progressbar": False}
    with pytest.raises(ArgumentError, match="road='predict' is not known"):
        coverage(line, {"A": "predict"}, **quiet)
    for roads, message in (
        ("fit", "roads='fit' must map names"),
        ({"a": ("fit", "cov")}, r"roads\['a'\].* must be the name of a method"),
        ({"a": ("gee",)}, r"roads\['a'\].* must be the name of a method"),
        ({"a": "gee"}, r"roads\['a'\]: gee\(\) .* missing a required argument: 'groups'"),
        ({"a": ("fit", {"zz": 1})}, r"roads\['a'\]: fit\(\) .*unexpected keyword .*'zz'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            coverage(line, roads, **quiet)
    with pytest.raises(ArgumentError, match="simulate='normal' must be a Family"):
        coverage(line, MLE, simulate="normal", **quiet)
    with pytest.raises(ArgumentError, match="unknown: 'z'"):
        coverage(line, MLE, truth={"Intercept": 1.0, "x": 1.0, "z": 2.0}, **quiet)
    with pytest.raises(ArgumentError, match="missing: 'x'"):
        coverage(line, MLE, truth={"Intercept": 1.0}, **quiet)
    with pytest.raises(ArgumentError, match="must be 2 numbers"):
        coverage(line, MLE, truth=[1.0], **quiet)
    with pytest.raises(ArgumentError, match="simulations=0"):
        coverage(line, MLE, simulations=0)
    with pytest.raises(ArgumentError, match="freq_weights say that rows stand"):
        counted = eg.GLM("y ~ x", FIVE, family="normal", freq_weights=np.full(6, 2))
        coverage(counted, MLE, **quiet)
    with pytest.raises(DataError, match="outside the support"):
        poisson = eg.GLM("y ~ x", {"y": [1, 2, 3], "x": [0, 1, 2.0]}, family="poisson")
        coverage(poisson, MLE, simulate=lambda rng, mu: mu, **quiet)
    with pytest.raises(DataError, match="responses of shape"):
        coverage(line, MLE, simulate=lambda rng, mu: mu[:3], **quiet)
    with pytest.raises(ResultError, match="succeeded in 1 of 1"):
        coverage(line, MLE, simulations=1, progressbar=False)
    with pytest.raises(ArgumentError, match="fix its shape"):
        coverage(line, MLE, simulate=eg.families.negative_binomial(), **quiet)


def test_weights_scale_the_variance() -> None:
    model = eg.GLM("y ~ x", FIVE, family="normal", weights=np.array([1.0, 1, 1, 1, 1, 1e6]))
    seen: list[float] = []

    def road(again: eg.GLM) -> xr.DataTree:
        seen.append(again.problem.y[-1])
        return again.fit(draws=10, chains=1)

    coverage(model, {"A": road}, truth=[0.0, 1.0], phi=1.0, simulations=10, progressbar=False)
    assert np.ptp(seen) < 0.01 and np.mean(seen) == pytest.approx(5, abs=0.01)
    assert isinstance(Truth(np.zeros(2), np.zeros(6), 1.0, model.family).draw(
        np.random.default_rng(1)), np.ndarray)  # fmt: skip


def test_the_table_and_the_plot(found: xr.Dataset) -> None:
    plt.switch_backend("Agg")
    lines = str(eg.summary(found)).splitlines()
    assert lines[0] == "Coverage of 80% intervals in 12 simulated data sets"
    cells = lines[4].split()
    assert cells[:2] == ["Intercept", "t"]
    assert cells[2] == f"{100 * float(found['coverage'][0, 0]):.1f}%"
    collection = eg.plot_coverage(found)
    panel = collection.get_target("drawn", {"panel": "coverage"})
    for i, road in enumerate(("t", "HC0")):
        drawn = np.asarray(panel.collections[i].get_offsets())[:, 0]
        np.testing.assert_allclose(drawn, 100 * found["coverage"].sel(road=road))
    assert [t.get_text() for t in panel.get_yticklabels()] == ["Intercept", "x"]
    plt.close("all")
    with pytest.raises(ResultError, match="takes the table that coverage returned"):
        eg.plot_coverage(found["coverage"])
    with pytest.raises(ArgumentError, match="its own intervals"):
        eg.summary(found, ci_prob=0.9)


@pytest.mark.slow
def test_fresh_processes_find_the_same(line: eg.GLM) -> None:
    given = {"simulations": 6, "truth": [1.0, 0.5], "phi": 2.0}
    alone = coverage(line, MLE, progressbar=False, **given)
    xr.testing.assert_identical(coverage(line, MLE, workers=2, **given), alone)


@pytest.mark.slow
def test_every_road() -> None:
    model = eg.GLM("y ~ x", {"y": [3, 2, 5, 4, 8, 9, 7, 12], "x": np.arange(8.0)}, family="poisson")
    table = coverage(model, simulations=5, progressbar=False)
    assert table["road"].values.tolist() == ["MLE", "HC3", "Bayes"]
    assert np.isfinite(table["coverage"]).all()
    assert (
        float(abs(table["estimate"].sel(road="Bayes") - table["estimate"].sel(road="MLE")).max())
        < 0.5
    )
