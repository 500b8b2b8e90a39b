"""Families and models as they are shown in notebooks."""

from __future__ import annotations

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.results.facts import of_family, of_model
from tests.declared import zero_truncated_poisson

FREE = eg.GLM("y ~ 1", {"y": [1, 2, 5]}, family="negative_binomial").family


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (eg.families.gamma, ["Family gamma", "built in", "dispersion φ           free"]),
        (eg.families.negative_binomial(alpha=0.5), ["negative_binomial, alpha = 0.5", "log"]),
        (eg.families.quasi_binomial, ["mean and variance, no density", "[0, 1]"]),
        (zero_truncated_poisson, ["declared, digest ", "integers in [1, inf)"]),
        (
            eg.GLM("y ~ 1", {"y": [1, 2, 5]}, family="negative_binomial").family,
            ["shape alpha", "free, in (0, inf)"],
        ),
    ],
)
def test_a_family_says_what_it_declares(family: eg.Family, said: list[str]) -> None:
    text, page = str(of_family(family)), family._repr_html_()
    for part in said:
        assert part in text
    assert "<table" in page and family.link.name in page


def test_a_model_says_what_it_is_made_of() -> None:
    data = {
        "y": [1.0, 2.0, np.nan, 3.0, 4.0],
        "a<b": [1, 2, 3, 4, 6],
        "f": [1, 2, 1, 0, 3],
        "t": [1.0, 1.0, 2.0, 2.0, 3.0],
    }
    model = eg.GLM("y ~ `a<b`", data, family="poisson", freq_weights="f", exposure="t",
                   missing="drop")  # fmt: skip
    text = str(of_model(model.problem))
    for part in (
        "GLM y ~ `a<b`",
        "y, from 1 to 4",
        "3, standing for 6 observations; 1 with missing",
        "1 without weight left out",
        "2: Intercept, a<b",
        "freq_weights, exposure",
        "log",
    ):
        assert part in text
    page = model._repr_html_()
    assert "a&lt;b" in page and "a<b" not in page


def test_many_coefficients_are_counted() -> None:
    model = eg.GLM.from_arrays(np.ones(30), np.eye(30)[:, :20], family="normal")
    assert "x11 and 8 more" in str(of_model(model.problem))
