"""Predictions and effects as a table, and predictions for one row."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DataError
from expfam_glm.results.estimates_table import MOST

RINGS = eg.GLM(
    "damaged ~ temperature", eg.load_data("oring"), family="binomial", trials="rings"
).fit()


def test_predictions_are_a_table() -> None:
    launch = eg.predict(RINGS, {"temperature": [31, 60]}, ci_prob=0.95)
    text = str(eg.summary(launch)).splitlines()
    assert text[:3] == [
        "obs_id  estimate      se     95% interval",
        "0          0.818   0.240   [0.160, 0.991]",
        "1         0.1357  0.0445  [0.0646, 0.2614]",
    ] or [line.split() for line in text[:2]] == [
        ["obs_id", "estimate", "se", "95%", "interval"],
        ["0", "0.818", "0.240", "[0.160,", "0.991]"],
    ]
    assert "proportion of the trials" in text[4] and "<table" in eg.summary(launch).to_html()
    assert launch["estimate"].attrs["long_name"] == "mean, as a proportion of the trials"
    with pytest.raises(ArgumentError, match="their own intervals"):
        eg.summary(launch, ci_prob=0.9)


def test_effects_are_a_table_with_their_coordinates() -> None:
    table = eg.adjusted_predictions(RINGS, {"temperature": [31, 50]})
    lines = str(eg.summary(table)).splitlines()
    assert lines[0].split()[0] == "temperature" and lines[2].split()[0] == "50"
    effect = eg.marginal_effects(RINGS)
    assert "temperature" in str(eg.summary(effect))
    assert "coef" in str(eg.summary(eg.profile(RINGS)))


def test_long_tables_say_so() -> None:
    n = MOST + 1
    one = xr.Dataset(
        {
            "estimate": ("obs_id", np.ones(n)),
            "se": ("obs_id", np.ones(n)),
            "interval": (("obs_id", "ci_bound"), np.ones((n, 2))),
        },
        coords={"obs_id": np.arange(n)},
    )
    text = str(eg.summary(one))
    assert f"The first {MOST} of {n} rows" in text and len(text.splitlines()) == MOST + 3


def test_single_values_are_one_row() -> None:
    one, listed = (eg.predict(RINGS, {"temperature": t}) for t in (31, [31]))
    xr.testing.assert_identical(one, listed)
    quine = eg.GLM("days ~ sex + age", eg.load_data("quine"), family="poisson").fit()
    assert eg.predict(quine, {"sex": "M", "age": "F0"}).sizes["obs_id"] == 1
    with pytest.raises(DataError, match=r"write \['M'\]"):
        eg.predict(quine, {"sex": "M", "age": ["F0", "F1"]})


def test_intervals_of_new_responses_are_called_so() -> None:
    rings = eg.load_data("oring")
    model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    fit, new = model.fit(draws=50), {"temperature": [31.0], "rings": [6]}
    shown = str(eg.summary(eg.predict(fit, new, interval="new", random_seed=1)))
    assert "% interval, new" in shown
    assert shown.endswith("interval: a new response of the row; se: of the estimated mean")
    assert "new response" not in str(eg.summary(eg.predict(fit, new)))
