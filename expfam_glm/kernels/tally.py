"""XᵀWX of a design of levels, from sums by level and by pairs of levels."""

from __future__ import annotations

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
    """XᵀWX from its tally."""
    margins = _margins(X)
    G = np.zeros((X.width, X.width))
    total, level, inner, *rest = tally
    G[np.ix_(X.places, X.places)] = inner
    if X.constant is not None:
        G[X.constant, X.constant] = total
        G[X.constant, X.places] = level
    pairs, rest = rest[: len(X.pairs)], rest[len(X.pairs) :]
    for (i, j), counts in zip(X.pairs, pairs, strict=True):
        a, b = X.terms[i], X.terms[j]
        G[np.ix_(a.places, b.places)] = a.columns(b.columns(counts).T).T
    for number, term in enumerate(X.terms):
        mixed, *rest = rest
        if number in margins:
            pair, axis = margins[number]
            linear = square = pairs[pair].sum(axis=axis)
        else:
            linear, square, *rest = rest
        own = np.ascontiguousarray((square[:, None] * term.table).T)
        G[np.ix_(term.places, term.places)] = term.columns(own)
        if X.constant is not None:
            G[X.constant, term.places] = term.columns(linear)
        if X.places.size:
            G[np.ix_(X.places, term.places)] = term.columns(mixed)
    return _symmetric(X, G)


def _symmetric(X: Coded, G: np.ndarray) -> np.ndarray:
    """G from the parts that come first in the order intercept, dense columns, terms."""
    own = np.empty(X.width, np.intp)
    parts = [] if X.constant is None else [np.array([X.constant])]
    parts += [X.places, *(term.places for term in X.terms)]
    for number, places in enumerate(parts):
        own[places] = number
    first = own[:, None] < own
    both = own[:, None] == own
    return np.where(first, G, np.where(both, 0.5 * (G + G.T), G.T))


def _margins(X: Coded) -> dict[int, tuple[int, int]]:
    """Terms whose sums are those of a pair: which pair, and the axis to sum over."""
    found = {}
    for number, (i, j) in enumerate(X.pairs):
        if X.terms[i].slope is None and X.terms[j].slope is None:
            found[i], found[j] = (number, 1), (number, 0)
    return found
