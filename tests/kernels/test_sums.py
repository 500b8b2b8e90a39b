"""Gram products by roots of weights and whole are the same sums, held to extended precision."""

from __future__ import annotations

import numpy as np
import pytest

from expfam_glm.kernels import sums

ROUNDING = 1e-14  # relative to Σ |x W x|, of sums of a few thousand terms


@pytest.mark.parametrize("columns", [0, 1, 3, sums._FEW, sums._FEW + 1, 41])
@pytest.mark.parametrize("rows", [0, 1, 7, 2_000, 12_345])
@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_gram_product_is_the_sum_of_its_terms(columns, rows, signs, order):
    rng = np.random.default_rng(rows + columns)
    X = np.asarray(rng.normal(size=(rows, columns)), order=order)
    W = rng.normal(size=rows) if signs else rng.random(rows)
    found = sums.weighted_gram(X, W)
    some = rng.permutation(columns)[:4]  # extended precision is slow
    wide, part = X.astype(np.longdouble), X[:, some].astype(np.longdouble)
    expected = (part * W[:, None]).T @ wide
    size = (np.abs(part) * np.abs(W)[:, None]).T @ np.abs(wide)
    assert np.all(np.abs(found[some] - expected) <= ROUNDING * size)
    assert np.array_equal(found, found.T)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_number_is_the_weight_of_every_row(order):
    X = np.asarray(np.random.default_rng(0).normal(size=(500, 4)), order=order)
    for part in (X, X[100:450], X[:, 1:3]):
        found = sums.weighted_gram(part, 0.3)
        one = sums.weighted_gram(part, np.full(len(part), 0.3))
        np.testing.assert_allclose(found, one, rtol=1e-13, atol=1e-12)
        assert np.array_equal(found, found.T)


@pytest.mark.parametrize("order", ["C", "F"])
def test_products_of_slices_are_those_of_copies(order):
    rng = np.random.default_rng(1)
    X = np.asarray(rng.normal(size=(900, 6)), order=order)[100:700, 1:5]
    u, beta = rng.normal(size=600), rng.normal(size=4)
    out = np.empty(600)
    assert sums.product(X, beta, out) is out
    np.testing.assert_allclose(out, (X * beta).sum(axis=1), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(sums.over_rows(u, X), (X.T * u).sum(axis=1), atol=1e-12)
