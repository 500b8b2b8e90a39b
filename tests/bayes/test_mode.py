"""Modes and curvatures of densities that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from expfam_glm.bayes.laplace import _mode
from expfam_glm.bayes.mode import at_mode, seek_mode
from expfam_glm.errors import SamplingError


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


def test_the_last_axis_moves_the_last_parameter_alone() -> None:
    covariance = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 0.5]])
    bend = np.linalg.inv(covariance)
    found = at_mode(lambda z: (-0.5 * float(z @ bend @ z), -bend @ z), np.ones(3), np.eye(3))
    assert found is not None
    np.testing.assert_allclose(found[1] @ found[1].T, covariance, atol=1e-8)
    np.testing.assert_array_equal(found[1][:2, 2], 0.0)


def test_no_mode_where_a_density_is_flat_or_bent_upwards() -> None:
    ridge = np.array([1.0, 0.0])
    assert at_mode(lambda z: (float(z @ ridge), ridge), np.zeros(2), np.eye(2)) is None
    assert at_mode(lambda z: (0.5 * float(z @ z), z), np.zeros(2), np.eye(2)) is None


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
