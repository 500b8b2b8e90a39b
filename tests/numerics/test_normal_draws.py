"""Draws have the wanted mean and covariance exactly, whatever the rank."""

from __future__ import annotations

import numpy as np
import pytest

from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.kernels import threads
from expfam_glm.numerics.normal_draws import matched_normals, square_root

ROUNDING = 1e-12  # relative to the standard deviations: sums of n products, n below 1e4


@pytest.mark.parametrize(("n", "p"), [(4000, 1), (4000, 5), (1200, 310), (301, 300), (6, 5)])
def test_sample_moments_are_exact(n: int, p: int) -> None:
    z = matched_normals(np.full(p, 3.0), np.eye(p), n, 0)
    np.testing.assert_allclose(z.mean(axis=0), 3, atol=ROUNDING)
    np.testing.assert_allclose(np.cov(z.T).reshape(p, p), np.eye(p), atol=ROUNDING)


def test_draws_take_on_a_covariance_of_any_scale() -> None:
    scale = np.array([1e-8, 1.0, 1e6])
    V = np.array([[1.0, 0.5, -0.2], [0.5, 1.0, 0.3], [-0.2, 0.3, 1.0]]) * np.outer(scale, scale)
    z = matched_normals(np.zeros(3), square_root(V, "V"), 4000, 0)
    np.testing.assert_allclose(np.cov(z.T), V, rtol=ROUNDING)


def test_draws_are_normal() -> None:
    from scipy.stats import kstest

    z = matched_normals(np.zeros(3), np.eye(3), 4000, 0)
    assert all(kstest(column, "norm").pvalue > 0.01 for column in z.T)


def test_draws_do_not_depend_on_the_threads_that_make_them() -> None:
    centre, root = np.arange(300.0), np.diag(np.arange(1.0, 301.0))
    several = matched_normals(centre, root, 4000, 7)
    with threads.alone():
        np.testing.assert_array_equal(matched_normals(centre, root, 4000, 7), several)
    assert not np.allclose(matched_normals(centre, root, 4000, 8), several)


def test_one_draw_too_few_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 6 draws"):
        matched_normals(np.zeros(5), np.eye(5), 5, 0)


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
def test_square_root_of_any_rank_and_scale(rank: int) -> None:
    scale = np.array([1e-8, 1.0, 1e6, 3.0, 1e-3])
    factor = np.random.default_rng(0).normal(size=(5, rank))
    V = factor @ factor.T * np.outer(scale, scale)
    root = square_root(V, "V")
    np.testing.assert_allclose(
        root.T @ root / np.outer(scale, scale), factor @ factor.T, atol=1e-12
    )


@pytest.mark.parametrize("V", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [0.0, -0.1]]])
def test_an_indefinite_covariance_is_refused_by_name(V: list[list[float]]) -> None:
    with pytest.raises(ResultError, match="'pan' is not positive semi-definite"):
        square_root(np.array(V), "pan")
