"""Default priors: their scales by hand, and equivariance under changes of units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.bayes.scaling import WIDTH, Scales, weakly_informative
from expfam_glm.errors import DataError

RNG = np.random.default_rng(12)
N = 40
X1, X2 = RNG.normal(3, 2, N), RNG.normal(-1, 0.5, N)
POSITIVE = RNG.gamma(3, 2, N)
COUNTS = RNG.poisson(3, N) + 0.0
ONES = RNG.integers(0, 2, N) + 0.0


def scales(y: Any, family: Any, formula: str = "y ~ x1 + x2", **keywords: Any) -> Scales:
    data = {"y": y, "x1": X1, "x2": X2}
    data |= {k: v for k, v in keywords.items() if k not in ("link",)}
    named = {k: (v if k == "link" else k) for k, v in keywords.items()}
    return weakly_informative(eg.GLM(formula, data, family=family, **named).problem)


@pytest.mark.parametrize(
    ("family", "y", "link", "unit"),
    [
        ("poisson", COUNTS, "log", 1.0),
        ("gamma", POSITIVE, "log", 1.0),
        ("binomial", ONES, "logit", 1.0),
        ("normal", POSITIVE, "identity", POSITIVE.std()),
        ("poisson", COUNTS, "identity", COUNTS.mean()),
        ("poisson", COUNTS, "sqrt", np.sqrt(COUNTS.mean()) / 2),
        ("gamma", POSITIVE, "inverse", 1 / POSITIVE.mean()),
        ("inverse_gaussian", POSITIVE, "inverse_squared", 2 / POSITIVE.mean() ** 2),
        ("normal", POSITIVE, "log", 1.0),
    ],
)
def test_the_rule(family: str, y: np.ndarray, link: str, unit: float) -> None:
    found = scales(y, family, link=link)
    (centre, spread), *others = found.beta
    expected = WIDTH * unit / np.array([X1.std(), X2.std()])
    np.testing.assert_allclose(others, np.column_stack([[0, 0], expected]))
    g = getattr(eg.links, link)
    assert centre == pytest.approx(float(g(y.mean())))
    means = np.array([X1.mean(), X2.mean()])
    assert spread == pytest.approx(np.sqrt((WIDTH * unit) ** 2 + np.sum((means * expected) ** 2)))


def test_the_dispersion_is_on_the_scale_of_the_residuals() -> None:
    assert scales(POSITIVE, "normal").phi == pytest.approx(POSITIVE.var(ddof=1))
    cv = POSITIVE.std(ddof=1) / POSITIVE.mean()
    assert scales(POSITIVE, "gamma").phi == pytest.approx(cv**2)
    assert scales(np.ones(N), "normal").phi == 1.0


@pytest.mark.parametrize(("family", "link"), [("normal", "identity"), ("gamma", "inverse")])
def test_units_of_the_response_move_priors_with_the_coefficients(family: str, link: str) -> None:
    power = {"identity": 1, "inverse": -1}[link]
    small, large = scales(POSITIVE, family, link=link), scales(1000 * POSITIVE, family, link=link)
    factor = 1000.0**power
    np.testing.assert_allclose(np.array(large.beta), factor * np.array(small.beta), rtol=1e-10)


def test_an_offset_moves_the_level() -> None:
    exposure = RNG.uniform(10, 20, N)
    plain, shifted = scales(COUNTS, "poisson"), scales(COUNTS, "poisson", exposure=exposure)
    assert shifted.beta[0][0] == pytest.approx(plain.beta[0][0] - np.log(exposure).mean())


def test_without_an_intercept_the_covariates_carry_the_level() -> None:
    y = 100 + POSITIVE
    unit = np.hypot(y.std(), y.mean())
    found = scales(y, "normal", "y ~ x1 + x2 - 1")
    expected = WIDTH * unit / np.array([X1.std(), X2.std()])
    np.testing.assert_allclose([s for _, s in found.beta], expected)


def test_frequencies_count_as_rows() -> None:
    f = RNG.integers(1, 4, N) + 0.0
    stacked = {"y": np.repeat(COUNTS, f.astype(int)), "x1": np.repeat(X1, f.astype(int))}
    once = scales(COUNTS, "poisson", "y ~ x1", freq_weights=f)
    again = weakly_informative(eg.GLM("y ~ x1", stacked, family="poisson").problem)
    np.testing.assert_allclose(np.array(once.beta), np.array(again.beta))


@pytest.mark.parametrize("y", [np.zeros(N), np.ones(N)])
def test_a_mean_at_the_edge_is_moved_inside(y: np.ndarray) -> None:
    found = scales(y, "binomial")
    assert np.all(np.isfinite(np.array(found.beta)))
    assert abs(found.beta[0][0]) == pytest.approx(np.log((N + 0.25) / 0.25))


def test_zero_and_constant_columns_have_finite_scales() -> None:
    X = np.column_stack([np.full(N, 2.0), np.zeros(N), np.ones(N), X1])
    found = weakly_informative(eg.GLM.from_arrays(COUNTS, X, family="poisson").problem)
    assert np.all(np.isfinite(np.array(found.beta)))
    assert found.beta[0][0] == pytest.approx(np.log(COUNTS.mean()) / 2)
    assert found.beta[1] == (0.0, WIDTH)


def test_an_impossible_mean_is_refused() -> None:
    with pytest.raises(DataError, match="choose another link"):
        scales(-POSITIVE, "normal", link="log")
