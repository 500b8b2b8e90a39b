"""XᵀWX of a design of levels, from sums by level and by pairs of levels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from expfam_glm.kernels.coded import Coded


def gram(X: Coded, W: np.ndarray) -> np.ndarray:
    """XᵀWX, symmetric to the last bit."""
    parts = (_tally(X, rows, W[rows]) for rows in X.parts())
    tally = next(parts, None) or _tally(X, slice(0), W)
    for part in parts:
        for total, values in zip(tally, part, strict=True):
            total += values
    return _assembled(X, tally)


def _tally(X: Coded, rows: slice, W: np.ndarray) -> list[np.ndarray]:
    """Σ W and Σ W xxᵀ of the intercept and dense columns; then by levels, of terms and pairs.

    Of a term with slope s it is s W and s² W that are summed; of the dense columns x W.
    What the sums of a pair tell is left out.
    """
    margins = _margins(X)
    terms, D = [term.some(rows) for term in X.terms], X.dense[rows]
    scaled = np.ascontiguousarray((D * W[:, None]).T)
    found = [np.array(W.sum()), scaled.sum(axis=1), scaled @ D]
    for i, j in X.pairs:
        a, b = terms[i], terms[j]
        weights = b.weighted(a.weighted(W))
        counts = np.bincount(a.with_codes(b), weights, len(a.table) * len(b.table))
        found.append(counts.reshape(len(a.table), len(b.table)))
    for number, term in enumerate(terms):
        found.append(np.array([term.count(term.weighted(x)) for x in scaled]))
        if number not in margins:
            own = term.weighted(W)
            found += [term.count(own), term.count(term.weighted(own))]
    return found


def _assembled(X: Coded, tally: list[np.ndarray]) -> np.ndarray:
    """XᵀWX from its tally, made in the order intercept, dense columns, terms."""
    margins = _margins(X)
    parts = [np.arange(0) if X.constant is None else np.array([X.constant])]
    parts += [X.places, *(term.places for term in X.terms)]
    ends = np.cumsum([0, *map(len, parts)])
    one, dense, *own = [slice(*both) for both in pairwise(ends)]
    G = np.zeros((X.width, X.width))

    def put(first: slice, second: slice, block: np.ndarray) -> None:
        G[first, second], G[second, first] = block, block.T

    total, level, inner, *rest = tally
    put(dense, dense, 0.5 * (inner + inner.T))
    if X.constant is not None:
        G[0, 0] = total
        put(one, dense, level[None])
    pairs, rest = rest[: len(X.pairs)], rest[len(X.pairs) :]
    for (i, j), counts in zip(X.pairs, pairs, strict=True):
        a, b = X.terms[i], X.terms[j]
        put(own[i], own[j], a.columns(b.columns(counts).T).T)
    for number, term in enumerate(X.terms):
        mixed, *rest = rest
        if number in margins:
            pair, axis = margins[number]
            linear = square = pairs[pair].sum(axis=axis)
        else:
            linear, square, *rest = rest
        squares = term.columns(np.ascontiguousarray((square[:, None] * term.table).T))
        put(own[number], own[number], 0.5 * (squares + squares.T))
        if X.constant is not None:
            put(one, own[number], term.columns(linear)[None])
        if X.places.size:
            put(dense, own[number], term.columns(mixed))
    order = np.concatenate(parts)
    if np.array_equal(order, np.arange(X.width)):
        return G
    back = np.argsort(order)
    return G[np.ix_(back, back)]


def _margins(X: Coded) -> dict[int, tuple[int, int]]:
    """Terms whose sums are those of a pair: which pair, and the axis to sum over."""
    found = {}
    for number, (i, j) in enumerate(X.pairs):
        if X.terms[i].slope is None and X.terms[j].slope is None:
            found[i], found[j] = (number, 1), (number, 0)
    return found
