"""Fits without residuals: when what is left of the posterior of φ is no distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

import expfam_glm as eg
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.model import check_proper
from expfam_glm.bayes.perfect import _perfect_rank as perfect_rank
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.priors import apply
from expfam_glm.errors import SamplingError, SamplingWarning

pytestmark = pytest.mark.slow  # every family's kernels are lowered

X = np.arange(10.0)
FAMILIES = ["normal", "gamma", "inverse_gaussian"]


def model(y: np.ndarray, family: str = "normal") -> eg.GLM:
    link = None if family == "normal" else "log"
    return eg.GLM("y ~ x", {"x": X[: y.size], "y": y}, family=family, link=link)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_improper_posterior_is_refused(family: str) -> None:
    own = model(np.full(10, 3.0), family)
    with pytest.raises(SamplingError, match=r"fit is perfect.*improper.*phi\^\(-4\)"):
        own.laplace()
    with pytest.raises(SamplingError, match=r"fit is perfect.*improper"):
        own.sample(progressbar=False)
    with pytest.raises(SamplingError, match=r"fit is perfect.*improper"):
        own.to_pymc()


def test_a_line_is_perfect_up_to_rounding() -> None:
    with pytest.raises(SamplingError, match="improper"):
        model(2 + 3 * X).sample(progressbar=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_as_many_rows_as_coefficients_leave_it_proper(family: str) -> None:
    own = model(np.array([1.0, 2.0]), family)
    with pytest.raises(SamplingError, match=r"fit is perfect.*no mode"):
        own.laplace()
    with pytest.warns(SamplingWarning, match=r"fit is perfect.*proper, but heaped up at 0"):
        check_proper(own.problem, apply(own.problem, "default"))


def test_a_row_too_many_makes_it_improper() -> None:
    """The integral of the density over log φ, β at its mode with its determinant, has no limit."""
    for n, finite in ((2, True), (3, False)):
        own = model(1.0 + X[:n]).problem
        density = LogPosterior(own, apply(own, "default"))

        def marginal(log_phi: float, p: LogPosterior = density) -> float:
            return float(np.exp(p(np.array([1.0, 1.0, log_phi]))[0] + log_phi))

        parts = [quad(marginal, low, low + 10)[0] for low in (-30.0, -40.0, -50.0)]
        assert (parts[2] < 0.02 * parts[0]) is finite
        assert finite or parts[2] == pytest.approx(parts[0], rel=1e-3)


def test_a_prior_that_keeps_away_from_zero() -> None:
    own = model(2 + 3 * X)
    prior = Prior("InverseGamma", alpha=3, beta=2)
    found = own.laplace(priors={"phi": prior}, random_seed=1)
    # the mode of log φ under φ^(−3 − n/2) e^(−2/φ), β at its exact fit: 2/(3 + n/2), less what
    # the flat part of β adds; the mean of log φ over the draws is at the mode
    centre = np.log(found["posterior"]["phi"].values).mean()
    assert centre == pytest.approx(np.log(2 / 8), abs=0.05)


def test_where_phi_is_no_number_there_is_no_density() -> None:
    own = model(2 + 3 * X).problem
    density = LogPosterior(own, apply(own, "default"))
    assert density(np.array([2.0, 3.0, -800.0]))[0] == -np.inf


def test_fits_with_residuals_are_left_alone() -> None:
    own = model(2 + 3 * X + 1e-6 * np.cos(X)).problem
    check_proper(own, apply(own, "default"))


def test_free_shapes_are_no_part_of_a_perfect_fit() -> None:
    rng = np.random.default_rng(0)
    y = rng.poisson(2.0, 40) * rng.gamma(2.0, 1.0, 40)
    for values, expected in ((y, None), (np.full(40, 3.0), 2)):
        data = {"x": rng.normal(size=40), "y": values}
        assert perfect_rank(eg.GLM("y ~ x", data, family="tweedie").problem) == expected
