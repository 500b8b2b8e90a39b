"""Which densities count as nearly normal, and what is sampled by rotations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import arviz as az
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from expfam_glm import GLM
from expfam_glm.bayes import roads, trajectory
from expfam_glm.bayes.sample import sample
from expfam_glm.bayes.trajectory import acceptance, accepts_rotations, nearly_normal
from expfam_glm.data.response import Problem
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


def test_rotations_of_a_normal_density_are_all_accepted_and_others_by_their_energy() -> None:
    points = np.random.default_rng(3).normal(size=(50, 4))
    normal = independent(lambda u: (3.0 - 0.5 * u * u, -u))
    assert acceptance(normal, points, 2.2) == pytest.approx(1.0)
    narrow, wide = (
        acceptance(independent(lambda u, sd=sd: (-0.5 * (u / sd) ** 2, -u / sd**2)), points, 2.2)
        for sd in (1.1, 1.5)
    )
    assert wide < narrow < 1.0
    assert acceptance(independent(lambda u: (-np.inf if u else 0.0, 0.0)), points, 2.2) == 0.0


def test_a_tail_in_which_rotations_stick_is_found_on_its_axis() -> None:
    def heavy(u: np.ndarray) -> tuple[float, np.ndarray]:  # two of four successes on one axis
        value, slope = -0.5 * float(u[1:] @ u[1:]), -u
        slope[0] = 2 - 4 * expit(u[0])
        return value + 2 * u[0] - 4 * float(np.logaddexp(0, u[0])), slope

    points = np.random.default_rng(3).normal(size=(500, 5))
    assert acceptance(heavy, points, 2.2) > 0.9 and not accepts_rotations(heavy, 5, 2.2)
    assert not nearly_normal(heavy, 5)
    assert accepts_rotations(independent(log_gamma(3000.0)), 5, 2.2)


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


def large(n: int = 2000) -> Problem:
    """A logistic regression whose posterior is nearly normal."""
    rng = np.random.default_rng(8)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 4))])
    y = rng.random(n) < 1 / (1 + np.exp(-X @ np.array([0.3, 0.5, -0.4, 0.2, 0.0])))
    return GLM.from_arrays(y.astype(float), X, family="binomial").problem


@pytest.mark.slow
def test_one_rotation_is_a_draw_where_the_posterior_is_nearly_normal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []
    judged = trajectory.acceptance
    monkeypatch.setattr(
        trajectory, "acceptance", lambda *given: told.append(judged(*given)) or told[-1]
    )
    options = {"draws": 2000, "chains": 4, "random_seed": 5, "progressbar": False}
    single, leapt = (
        sample(large(), **options, **own) for own in ({}, {"exact_normal_trajectory": False})
    )
    stats = single["sample_stats"]
    assert int(stats["n_steps"].max()) == 1 and "maxdepth_reached" not in stats
    assert single.attrs["n_max_depth"] == 0
    # what was foreseen is what the sampler met
    assert float(stats["mean_tree_accept"].mean()) == pytest.approx(told[0], abs=0.03)
    one, other = (t["posterior"]["beta"].values for t in (single, leapt))
    sd = other.reshape(8000, -1).std(axis=0)
    # more than 4,000 effective draws of each: five standard errors of the difference
    np.testing.assert_array_less(np.abs(one.mean((0, 1)) - other.mean((0, 1))) / sd, 0.12)
    np.testing.assert_allclose(one.reshape(8000, -1).std(axis=0) / sd, 1.0, atol=0.1)
    for method, worth in (("bulk", 12000), ("sd", 1500), ("tail", 2500)):
        more = {"prob": (0.05, 0.95)} if method == "tail" else {}
        least = min(float(az.ess(one[..., j], method=method, **more)) for j in range(5))
        assert least > worth, method


class Asked(Exception):
    """Raised in place of sampling, with what the sampler was asked."""


@pytest.mark.parametrize(
    ("which", "given", "depth"),
    [
        (large, {}, 1),
        (large, {"maxdepth": 6}, 6),
        (large, {"target_accept": 0.9}, None),  # somebody who knows of trees keeps them
        (partial(problem, "binomial"), {}, None),
    ],
)
def test_a_tree_grows_where_rotations_are_refused_or_the_sampler_is_told_more(
    monkeypatch: pytest.MonkeyPatch,
    which: Callable[[], Problem],
    given: dict[str, Any],
    depth: int | None,
) -> None:
    def asked(compiled: object, applied: object, settings: dict[str, Any]) -> None:
        raise Asked(settings)

    monkeypatch.setattr(roads, "_run_nutpie", asked)
    with pytest.raises(Asked) as found:
        sample(which(), **given)
    assert found.value.args[0].get("maxdepth") == depth


def test_rotations_that_are_asked_for_keep_their_longest_step_on_corners_too() -> None:
    normal = independent(lambda u: (-0.5 * u * u, -u))
    asked = {"exact_normal_trajectory": True}
    assert trajectory.steps_of(normal, 2, asked, groups=False, corners=True) == trajectory.ROTATIONS
    assert trajectory.steps_of(normal, 2, {}, groups=False, corners=True) == {}
    assert trajectory.steps_of(normal, 2, {}, groups=False, corners=False)["maxdepth"] == 1
