"""Gram products by tiles, by roots and whole are the same sums, held against extended precision."""

from __future__ import annotations

import numpy as np
import pytest

from expfam_glm.kernels import sums

ROUNDING = 1e-14  # relative to Σ |x W x|, of sums of a few thousand terms


@pytest.mark.parametrize("columns", [0, 1, 3, sums._NARROW, sums._NARROW + 1])
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
