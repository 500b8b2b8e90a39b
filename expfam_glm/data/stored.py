"""The design as variables of a result tree: X itself, or the level of each row and what it says.

A coded design is kept as X_levels (obs_id, X_term), the level of each row in each of its terms,
and X_of_level (X_level, coef), what a level adds to the row of X; with X_slopes where a term is
multiplied by numbers, and the columns X_numeric, whose places among the coefficients are X_places.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

from expfam_glm.kernels.coded import Coded, Matrix

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "X": ("obs_id", "coef"),
    "X_levels": ("obs_id", "X_term"),
    "X_of_level": ("X_level", "coef"),
    "X_slopes": ("obs_id", "X_term"),
    "X_numeric": ("obs_id", "X_column"),
    "X_places": ("X_column",),
}
_ROWS = 1 << 12


def variables_of(X: Matrix) -> dict[str, np.ndarray]:
    """What a tree keeps of a design."""
    if not isinstance(X, Coded):
        return {"X": X}
    starts = np.cumsum([0, *(len(term.table) for term in X.terms)])
    levels = np.empty((len(X.terms), X.rows), np.int32).T  # a column lies together
    added = np.zeros((starts[-1], X.width))
    numeric, places, constant = X.dense, X.places, X.constant
    for number, term in enumerate(X.terms):
        np.add(term.codes, starts[number], out=levels[:, number], casting="same_kind")
        own = slice(starts[number], starts[number + 1])
        added[own, term.places] = term.table
        if term.slope is None and constant is not None:
            added[own, constant], constant = 1.0, None
    if constant is not None:
        numeric = np.column_stack([np.ones(X.rows), numeric])
        places = np.concatenate([[constant], places])
    found = {"X_levels": levels, "X_of_level": added}
    if any(term.slope is not None for term in X.terms):
        ones = np.ones(X.rows)
        slopes = [ones if term.slope is None else term.slope for term in X.terms]
        found["X_slopes"] = np.stack(slopes, axis=1)
    return found | ({"X_numeric": numeric, "X_places": places} if places.size else {})


def is_stored(names: Container[object]) -> bool:
    """Whether the design is among the variables."""
    return "X" in names or "X_levels" in names


def design_of(stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """X (n, p) from what a tree keeps of it."""
    if "X" in stored:
        return stored["X"]
    levels, added = stored["X_levels"], stored["X_of_level"]
    X = np.empty((len(levels), added.shape[1]))
    for start in range(0, len(levels), _ROWS):
        rows = slice(start, start + _ROWS)
        parts = added[levels[rows]]  # (rows, terms, p)
        if "X_slopes" in stored:
            parts = parts * stored["X_slopes"][rows, :, None]
        X[rows] = parts.sum(axis=1)
        if "X_numeric" in stored:
            X[rows, stored["X_places"]] += stored["X_numeric"][rows]
    return X
