"""Products with designs of levels are those with the dense matrix that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from expfam_glm.kernels import coded as module
from expfam_glm.kernels.coded import Coded
from expfam_glm.kernels.sums import triangle, weighted_gram
from expfam_glm.kernels.term import Term
from tests.tolerances import ROUNDING

N = 500


def design(*, constant: bool = True, numbers: bool = True, slopes: bool = True) -> Coded:
    """An intercept between a factor of dummies, one of contrasts, one with a slope, and numbers."""
    rng = np.random.default_rng(3)
    places = list(rng.permutation(12))
    first = places.pop() if constant else None
    dense = rng.normal(size=(N, 3 if numbers else 0))
    own = np.array([places.pop() for _ in range(dense.shape[1])], np.intp)
    terms = []
    for levels, table, slope in (
        (4, np.eye(4)[:, 1:], None),
        (3, rng.normal(size=(3, 2)), None),
        (5, np.eye(5)[:, [4, 0, 2]], rng.normal(size=N) if slopes else None),
    ):
        where = np.array([places.pop() for _ in range(table.shape[1])])
        terms.append(Term.of(rng.integers(0, levels, N), table, slope, where))
    used = sorted([*own, *np.concatenate([t.places for t in terms]), *([first] * constant)])
    number = {place: k for k, place in enumerate(used)}
    terms = [t.only(np.arange(t.places.size), np.array([number[p] for p in t.places]))
             for t in terms]  # fmt: skip
    own = np.array([number[p] for p in own], np.intp)
    return Coded(N, len(used), number[first] if constant else None, dense, own, tuple(terms))


DESIGNS = [design(), design(constant=False), design(numbers=False), design(slopes=False)]


def close(found: np.ndarray, expected: np.ndarray) -> None:
    size = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING * size)


def by_hand(X: Coded) -> np.ndarray:
    """X column by column."""
    dense = np.empty(X.shape)
    if X.constant is not None:
        dense[:, X.constant] = 1
    dense[:, X.places] = X.dense
    for term in X.terms:
        slope = 1.0 if term.slope is None else term.slope
        for place, column in zip(term.places, term.table.T, strict=True):
            dense[:, place] = slope * np.array([column[code] for code in term.codes])
    return dense


@pytest.mark.parametrize("X", DESIGNS)
@pytest.mark.parametrize("part", [64, 1 << 15])
def test_products_are_those_of_the_dense_matrix(X, part, monkeypatch):
    monkeypatch.setattr(module, "_PART", part)
    monkeypatch.setattr(Coded, "_counts", 0)
    rng = np.random.default_rng(0)
    D, p = by_hand(X), X.width
    np.testing.assert_array_equal(X.array(), D)
    beta, several = rng.normal(size=p), rng.normal(size=(p, 3))
    u, W, signed = rng.normal(size=N), rng.random(N), rng.normal(size=N)
    close(X @ beta, D @ beta)
    close(X @ several, D @ several)
    close(u @ X, u @ D)
    close(np.stack([u, W]) @ X, np.stack([u, W]) @ D)
    for weights in (W, signed):
        G = weighted_gram(X, weights)
        close(G, D.T @ (D * weights[:, None]))
        assert np.array_equal(G, G.T)
    A = several @ several.T
    close(X.quadratic(A), np.einsum("ij,jk,ik->i", D, A, D))
    codes = rng.integers(0, 7, N)
    close(X.sums(u, codes), np.stack([u[codes == k] @ D[codes == k] for k in range(7)]))
    close(X.squares, np.sum(D**2, axis=0))
    close(X.largest(), np.abs(D).max(axis=0))


@pytest.mark.parametrize("X", DESIGNS)
def test_parts_are_those_of_the_dense_matrix(X):
    D = X.array()
    kept = np.arange(X.width) % 3 != 1
    rows = np.array([3, 3, 400, 7])
    for found, expected in (
        (X[5:9], D[5:9]), (X[rows], D[rows]), (X[:, kept], D[:, kept]),
        (X[D[:, 0] > 0], D[D[:, 0] > 0]), (X[5:9, kept], D[5:9, kept]), (X[:0], D[:0]),
    ):  # fmt: skip
        assert isinstance(found, Coded) and found.shape == expected.shape
        np.testing.assert_array_equal(found.array(), expected)
        close(weighted_gram(found, np.ones(len(found))), expected.T @ expected)
    np.testing.assert_array_equal(X[4], D[4])
    np.testing.assert_array_equal(X[:, 2], D[:, 2])
    np.testing.assert_array_equal(X[2:8, 3], D[2:8, 3])


def test_what_is_no_product_is_done_with_the_dense_matrix():
    X = DESIGNS[0]
    D, u = X.array(), np.arange(N, dtype=float)
    np.testing.assert_array_equal(np.abs(X), np.abs(D))
    np.testing.assert_array_equal(X * u[:, None], D * u[:, None])
    np.testing.assert_array_equal(u[:, None] * X, u[:, None] * D)
    np.testing.assert_array_equal(X / 3, D / 3)
    np.testing.assert_array_equal(X.T @ u, D.T @ u)
    np.testing.assert_array_equal(np.column_stack([X, u]), np.column_stack([D, u]))
    np.testing.assert_array_equal(triangle(X, u + 1, u), triangle(D, u + 1, u))


def test_keys_tell_rows_apart_as_the_dense_matrix_does():
    X = DESIGNS[3]
    (codes, numbers) = X.keys()
    factors = X[:, np.setdiff1d(np.arange(X.width), X.places)].array()
    table = np.column_stack([codes, factors])
    assert len(np.unique(table, axis=0)) == len(np.unique(codes))
    assert numbers is X.dense
