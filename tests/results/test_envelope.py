"""The envelope of the half-normal plot: wide enough for the right model, and for no other."""

from __future__ import annotations

import numpy as np
from scipy.stats import halfnorm

import expfam_glm as eg
from expfam_glm.results.envelope import HalfNormal, half_normal
from expfam_glm.results.residuals import row_fit


def half_normal_of(y: np.ndarray, x: np.ndarray, simulations: int = 19) -> HalfNormal:
    tree = eg.GLM("y ~ x", {"y": y, "x": x}, family="poisson").fit()
    residual = eg.residuals(tree, standardised=True).values
    return half_normal(row_fit(tree, "", None, None), residual, "deviance", simulations, 3)


def outside(found: HalfNormal) -> float:
    """The share of residuals beyond the envelope."""
    assert found.envelope is not None
    low, _, high = found.envelope
    return float(np.mean((found.sizes < low) | (found.sizes > high)))


def test_the_right_model_lies_inside_and_the_wrong_one_does_not() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=150)
    mean = np.exp(0.5 + 0.5 * x)
    right = half_normal_of(rng.poisson(mean), x)
    wrong = half_normal_of(rng.poisson(mean * rng.gamma(1, size=150)), x)
    assert right.count == wrong.count == 19
    assert outside(right) < 0.2 < 0.5 < outside(wrong)


def test_scores_are_near_those_of_the_half_normal_distribution() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=150)
    found = half_normal_of(rng.poisson(np.exp(x)), x, simulations=0)
    assert found.count == 0 and found.envelope is None
    exact = halfnorm.ppf((np.arange(1, 151) - 0.375) / 150.25)
    np.testing.assert_allclose(found.scores, exact, atol=0.02)  # Blom's plotting positions
    assert np.all(np.diff(found.sizes) >= 0)
    assert np.array_equal(np.sort(found.order), np.arange(150))


def test_simulations_of_a_seed_are_the_same() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=40)
    y = rng.poisson(np.exp(x))
    one, two = half_normal_of(y, x, 3), half_normal_of(y, x, 3)
    np.testing.assert_array_equal(one.envelope, two.envelope)
