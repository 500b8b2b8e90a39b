"""What each row says of each draw: log-likelihood and posterior predictive, by row kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from expfam_glm.bayes.effects import shift
from expfam_glm.data.response import Problem
from expfam_glm.kernels.row import row_kernel
from expfam_glm.numerics.random import draw_at

_ENTRIES = 2**18  # draws × rows at a time


def log_likelihood(
    problem: Problem,
    beta: np.ndarray,
    phi: np.ndarray | float,
    *,
    effects: Mapping[str, np.ndarray] | None = None,
    **shapes: np.ndarray,
) -> np.ndarray:
    """log f(y) of every draw and row.

    Parameters
    ----------
    problem : Problem
    beta : ndarray, shape (S, p)
        Draws of the coefficients.
    phi : ndarray, shape (S,), or float
        Draws of the dispersion, or the known one.
    effects : dict of ndarray, shape (S, G, q), optional
        Draws of the group effects, b_<g>, where the problem has some.
    **shapes : ndarray, shape (S,)
        Draws of the free shape parameters.

    Returns
    -------
    ndarray, shape (S, n)
        With frequency weights, of one of the observations that a row stands for.
    """
    family, link = problem.family, problem.link
    known = np.ndim(phi) == 0 and not shapes
    closed = family.closed_deviance is not None
    quantity = "loglik" if not known else "weighted_deviance" if closed else "kernel"
    kernel = row_kernel(family, link, (quantity,))
    base: np.ndarray | float = 0.0
    sign = 1.0
    if known:
        a = float(family.a(phi)) / (1.0 if problem.w is None else problem.w)
        base = (family.saturated if closed else family.base_measure)(problem.y, a)
        sign = -0.5 if closed else 1.0
    result = np.empty((beta.shape[0], problem.row_count))
    for rows, eta, r in _chunks(problem, beta, phi, effects):
        y = np.broadcast_to(problem.y, eta.shape).ravel()
        values = kernel(eta.ravel(), y, r, *_spread(shapes, rows, eta).values())[0]
        result[rows] = sign * np.broadcast_to(values, y.shape).reshape(eta.shape) + base
    return result


def predictive(
    problem: Problem,
    beta: np.ndarray,
    phi: np.ndarray | float,
    rng: np.random.Generator,
    *,
    effects: Mapping[str, np.ndarray] | None = None,
    **shapes: np.ndarray,
) -> np.ndarray:
    """One response for every draw and row, on the scale of the mean.

    Parameters
    ----------
    problem : Problem
    beta : ndarray, shape (S, p)
    phi : ndarray, shape (S,), or float
    rng : numpy.random.Generator
    effects : dict of ndarray, shape (S, G, q), optional
    **shapes : ndarray, shape (S,)

    Returns
    -------
    ndarray, shape (S, n)
        Of integers where y itself is one, and none is too large for them.
    """
    family = problem.family
    kernel = row_kernel(family, problem.link, ("mu", "theta"))
    whole = family.support.discrete and problem.w is None and np.all(family.a(phi) == 1)
    result = np.empty((beta.shape[0], problem.row_count))
    for rows, eta, r in _chunks(problem, beta, phi, effects):
        named = _spread(shapes, rows, eta)
        found = kernel(eta.ravel(), 0.0 * eta.ravel(), r, *named.values())
        mu, theta = (np.broadcast_to(v, eta.size) for v in found)
        y = draw_at(family, mu, theta, 1 / np.asarray(r), rng, (eta.size,), **named)
        result[rows] = y.reshape(eta.shape)
    return result.astype(np.int64) if whole and np.all(np.abs(result) < 2.0**63) else result


def _spread(
    shapes: Mapping[str, np.ndarray], rows: slice, eta: np.ndarray
) -> dict[str, np.ndarray]:
    """Shapes of some draws, flat to match η (s, n)."""
    return {
        name: np.broadcast_to(values[rows, None], eta.shape).ravel()
        for name, values in shapes.items()
    }


def _chunks(
    problem: Problem,
    beta: np.ndarray,
    phi: np.ndarray | float,
    effects: Mapping[str, np.ndarray] | None = None,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray | float]]:
    """Slices of draws with η (s, n), and r = w/a(φ) flat to match, or a number."""
    size = max(1, _ENTRIES // problem.row_count)
    for first in range(0, beta.shape[0], size):
        rows = slice(first, first + size)
        eta = beta[rows] @ problem.X.T
        if problem.offset is not None:
            eta += problem.offset
        if effects:
            eta += shift(problem, effects, rows)
        a = np.asarray(problem.family.a(np.asarray(phi)[rows] if np.ndim(phi) else phi))
        r: np.ndarray | float = float(1 / a) if a.ndim == 0 else 1 / a[:, None]
        if problem.w is not None or a.ndim:
            w = np.ones(problem.row_count) if problem.w is None else problem.w
            r = np.broadcast_to(w * r, eta.shape).ravel()
        yield rows, eta, r
