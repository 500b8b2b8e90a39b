"""Modes and curvatures of densities that are known, and which of them count as nearly normal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from expfam_glm.bayes.laplace import _mode
from expfam_glm.bayes.mode import at_mode, nearly_normal, seek_mode
from expfam_glm.bayes.sample import sample
from expfam_glm.errors import SamplingError
from tests.problems import problem

type Density = Callable[[np.ndarray], tuple[float, np.ndarray]]


def independent(one: Callable[[float], tuple[float, float]]) -> Density:
    """The same univariate density in every coordinate."""

    def density(u: np.ndarray) -> tuple[float, np.ndarray]:
        values, slopes = zip(*(one(float(v)) for v in u), strict=True)
        return float(sum(values)), np.array(slopes)

    return density


def log_gamma(shape: float) -> Callable[[float], tuple[float, float]]:
    """log of a gamma variable, in units of its standard deviation about its mode."""
    sd = 1 / np.sqrt(shape)

    def one(u: float) -> tuple[float, float]:
        v = np.log(shape) + sd * u
        return float(stats.loggamma.logpdf(v, shape)), float(sd * (shape - np.exp(v)))

    return one


def test_mode_and_curvature_of_a_log_gamma_variable() -> None:
    shape = 7.0

    def density(z: np.ndarray) -> tuple[float, np.ndarray]:
        return float(stats.loggamma.logpdf(z, shape).sum()), shape - np.exp(z)

    found = at_mode(density, np.array([3.0, 0.5]), np.diag([0.1, 2.0]))
    assert found is not None
    centre, root = found
    np.testing.assert_allclose(centre, np.log(shape), rtol=1e-9)
    np.testing.assert_allclose(root @ root.T, np.eye(2) / shape, atol=1e-7)
    # not the variance, which the curvature only approaches
    assert abs(1 / shape - polygamma(1, shape)) > 1e-3


def test_no_mode_where_a_density_is_flat_or_bent_upwards() -> None:
    ridge = np.array([1.0, 0.0])
    assert at_mode(lambda z: (float(z @ ridge), ridge), np.zeros(2), np.eye(2)) is None
    assert at_mode(lambda z: (0.5 * float(z @ z), z), np.zeros(2), np.eye(2)) is None


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (lambda u: (-0.5 * u * u, -u), True),
        (lambda u: (5.0 - 0.5 * u * u, -u), True),  # without its constant
        (log_gamma(200.0), True),
        (log_gamma(2.0), False),
        (lambda u: (float(stats.t.logpdf(u, 2)), -3 * u / (2 + u * u)), False),
        (lambda u: (-0.5 * (u / 3) ** 2, -u / 9), False),  # three times as wide
        (lambda u: (-0.5 * u * u if u < 2 else -np.inf, -u), False),  # an edge
    ],
)
def test_what_is_nearly_normal(one: Callable[[float], tuple[float, float]], verdict: bool) -> None:
    assert nearly_normal(independent(one), 3) is verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "gamma", "binomial"])
def test_rotations_and_leapfrog_steps_sample_the_same_posterior(name: str) -> None:
    options = {"draws": 2000, "chains": 4, "random_seed": 3, "progressbar": False}
    trees = [
        sample(problem(name), **options, exact_normal_trajectory=turns) for turns in (True, False)
    ]
    turned, leapt = (tree["posterior"]["beta"].values.reshape(8000, -1) for tree in trees)
    steps = [float(tree["sample_stats"]["n_steps"].mean()) for tree in trees]
    assert steps[0] < 3.2 < steps[1] + 1.0
    sd = leapt.std(axis=0)
    # more than 1,500 effective draws of each: five standard errors of the difference
    np.testing.assert_array_less(np.abs(turned.mean(axis=0) - leapt.mean(axis=0)) / sd, 0.18)
    np.testing.assert_allclose(turned.std(axis=0) / sd, 1.0, atol=0.12)


def test_where_a_search_ended_is_told() -> None:
    ridge = np.array([1.0, 0.0])
    flat = seek_mode(lambda z: (float(z @ ridge), ridge), np.zeros(2), np.eye(2))
    assert flat.root is None and flat.found is None
    far = seek_mode(lambda z: (0.0 if z.any() else 1.0, -z - 3.0), np.zeros(2), np.eye(2))
    assert far.step == pytest.approx(3 * np.sqrt(2)) and far.root is not None and far.found is None
    with pytest.raises(
        SamplingError, match=r"search for the mode .* failed: its last step is 4.24"
    ):
        _mode(far)
    with pytest.raises(SamplingError, match="does not bend down"):
        _mode(flat)
