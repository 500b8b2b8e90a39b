"""The estimating equations written out literally: loops over clusters, every V_k as a matrix.

Slow, and nothing here is shared with the package: means, variances and moments are typed in.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import sqrtm
from scipy.optimize import brentq

# mean of η, dμ/dη, V(μ)
MODELS: dict[tuple[str, str], tuple[Callable, Callable, Callable]] = {
    ("normal", "identity"): (lambda e: e, np.ones_like, np.ones_like),
    ("poisson", "log"): (np.exp, np.exp, lambda m: m),
    ("binomial", "logit"): (
        lambda e: 1 / (1 + np.exp(-e)),
        lambda e: np.exp(-e) / (1 + np.exp(-e)) ** 2,
        lambda m: m * (1 - m),
    ),
    ("gamma", "inverse"): (lambda e: 1 / e, lambda e: -1 / e**2, lambda m: m**2),
    ("gamma", "log"): (np.exp, np.exp, lambda m: m**2),
}


class Part(NamedTuple):
    """One cluster at the solution."""

    rows: np.ndarray
    D: np.ndarray
    V: np.ndarray
    S: np.ndarray  # y − μ
    A: np.ndarray  # V(μ)/w


class Dense(NamedTuple):
    """A solution."""

    beta: np.ndarray
    alpha: Any
    phi: float
    robust: np.ndarray
    naive: np.ndarray
    pearson: float
    parts: tuple[Part, ...]


def pairs_within(groups: np.ndarray) -> list[tuple[int, int]]:
    """All pairs of rows of one cluster."""
    return [
        pair
        for group in np.unique(groups)
        for pair in combinations(np.flatnonzero(groups == group).tolist(), 2)
    ]


def ar1_alpha(products: np.ndarray, distances: np.ndarray, low: float) -> float:
    """The least-squares root of Σ d α^(d−1) (product − α^d) in (low, 1)."""

    def equation(alpha: float) -> float:
        return float(np.sum(distances * alpha ** (distances - 1) * (products - alpha**distances)))

    def loss(alpha: float) -> float:
        return float(np.sum((products - alpha**distances) ** 2))

    grid = np.linspace(low, 1, 401)[1:-1]
    values = [equation(alpha) for alpha in grid]
    roots = [
        brentq(equation, a, b, xtol=1e-15)
        for a, b, u, v in zip(grid, grid[1:], values, values[1:], strict=False)
        if u > 0 > v
    ]
    return min(roots, key=loss)


def moment(
    name: str,
    r: np.ndarray,
    phi: float,
    groups: np.ndarray,
    time: np.ndarray,
    lost: int,
    key: Callable[[int, int], Any] | None = None,
) -> Any:
    """α from Pearson residuals."""
    pairs = pairs_within(groups)
    if name == "exchangeable":
        return sum(r[i] * r[j] for i, j in pairs) / phi / (len(pairs) - lost)
    if name == "ar1":
        distances = np.array([abs(time[i] - time[j]) for i, j in pairs], float)
        products = (
            np.array([r[i] * r[j] / phi for i, j in pairs]) * len(pairs) / (len(pairs) - lost)
        )
        low = -1.0 if np.all(distances == np.rint(distances)) else 0.0
        return ar1_alpha(products, distances, low)
    if key is not None:
        found: dict[Any, list[float]] = {}
        for i, j in pairs:
            if key(i, j) is not None:
                found.setdefault(key(i, j), []).append(r[i] * r[j] / phi)
        return {which: sum(values) / (len(values) - lost) for which, values in found.items()}
    return None


def matrix(
    name: str,
    alpha: Any,
    time: np.ndarray,
    rows: np.ndarray,
    key: Callable[[int, int], Any] | None = None,
) -> np.ndarray:
    """R of the rows of one cluster; for "fixed" alpha is a matrix over 0, 1, 2, …"""
    R = np.eye(len(rows))
    for i, j in combinations(range(len(rows)), 2):
        if key is not None:
            which = key(rows[i], rows[j])
            R[i, j] = R[j, i] = 0.0 if which is None else alpha[which]
            continue
        R[i, j] = R[j, i] = {
            "independence": lambda *_: 0.0,
            "exchangeable": lambda *_: alpha,
            "ar1": lambda s, t: alpha ** abs(s - t),
            "fixed": lambda s, t: alpha[int(s), int(t)],
        }[name](time[rows[i]], time[rows[j]])
    return R


def dense_gee(
    y: np.ndarray,
    X: np.ndarray,
    groups: np.ndarray,
    time: np.ndarray,
    model: tuple[str, str],
    name: str,
    *,
    start: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    ddof: str = "none",
    phi: float | None = None,
    fixed: np.ndarray | None = None,
    key: Callable[[int, int], Any] | None = None,
) -> Dense:
    """Solve the equations from a start near the solution; steps almost to rounding.

    `key` names the parameter that two rows of a cluster share, None for no correlation.
    """
    if name == "unstructured":
        key = lambda i, j: tuple(sorted((time[i], time[j])))  # noqa: E731
    mean, slope, variance = MODELS[model]
    n, p = X.shape
    w = np.ones(n) if w is None else w
    offset = np.zeros(n) if offset is None else offset
    beta, length = np.array(start, float), np.inf
    for _ in range(200):
        eta = X @ beta + offset
        mu = mean(eta)
        A = variance(mu) / w
        r = (y - mu) / np.sqrt(A)
        pearson = float(np.sum(r**2))
        spread = pearson / (n if ddof == "geepack" else n - p) if phi is None else phi
        alpha = moment(name, r, spread, groups, time, p if ddof == "p" else 0, key)
        parts = []
        B, C, U = np.zeros((p, p)), np.zeros((p, p)), np.zeros(p)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            D = X[rows] * slope(eta[rows])[:, None]
            R = matrix(name, fixed if name == "fixed" else alpha, time, rows, key)
            V = spread * np.diag(np.sqrt(A[rows])) @ R @ np.diag(np.sqrt(A[rows]))
            u = D.T @ np.linalg.inv(V) @ (y[rows] - mu[rows])
            U += u
            C += np.outer(u, u)
            B += D.T @ np.linalg.inv(V) @ D
            parts.append(Part(rows, D, V, y[rows] - mu[rows], A[rows]))
        naive = np.linalg.inv(B)
        robust = naive @ C @ naive
        if length < 2e-10:  # below, the rounding of alpha moves beta to and fro
            return Dense(beta, alpha, spread, robust, naive, pearson, tuple(parts))
        step = naive @ U
        length = float(np.max(np.abs(step) / np.sqrt(np.diag(robust))))
        beta = beta + step
    raise AssertionError(f"the literal equations did not converge: {length}")


# ---- small samples -------------------------------------------------------------------------------


def corrections(name: str, fit: Dense) -> list[np.ndarray]:
    """What stands between DᵀV⁻¹ and S for each cluster; for Fay-Graubard, before DᵀV⁻¹."""
    inverse = fit.naive
    result = []
    for _, D, V, S, _ in fit.parts:
        H = D @ inverse @ D.T @ np.linalg.inv(V)
        rest = np.eye(len(S)) - H
        if name == "mancl-derouen":
            result.append(np.linalg.inv(rest))
        elif name == "kauermann-carroll":
            result.append(np.linalg.inv(sqrtm(rest).real))
        elif name == "fay-graubard":
            Q = D.T @ np.linalg.inv(V) @ D @ inverse
            result.append(np.diag(1 / np.sqrt(1 - np.minimum(0.75, np.diag(Q)))))
        else:
            result.append(np.eye(len(S)))
    return result


def slice_matrices(name: str, fit: Dense) -> list[np.ndarray]:
    """The matrices that turn S_k into what cluster k adds to the estimate."""
    return [
        fit.naive @ (F @ D.T @ np.linalg.inv(V) if name == "fay-graubard"
                     else D.T @ np.linalg.inv(V) @ F)
        for F, (_, D, V, _, _) in zip(corrections(name, fit), fit.parts, strict=True)
    ]  # fmt: skip


def corrected(name: str, fit: Dense) -> np.ndarray:
    """A covariance that is a sum over clusters."""
    slices = [G @ part.S for G, part in zip(slice_matrices(name, fit), fit.parts, strict=True)]
    return np.sum([np.outer(s, s) for s in slices], axis=0)


def satterthwaite(name: str, fit: Dense) -> np.ndarray:
    """2 E²/Var of the quadratic form that estimates each variance, residuals normal."""
    n = sum(len(part.S) for part in fit.parts)
    order = np.concatenate([part.rows for part in fit.parts])
    omega = np.zeros((n, n))
    D = np.zeros((n, fit.beta.size))
    for part in fit.parts:
        omega[np.ix_(part.rows, part.rows)] = part.V
        D[part.rows] = part.D
    omega -= D @ fit.naive @ D.T
    df = []
    for j in range(fit.beta.size):
        form = np.zeros((n, n))
        for G, part in zip(slice_matrices(name, fit), fit.parts, strict=True):
            form[np.ix_(part.rows, part.rows)] = np.outer(G[j], G[j])
        product = (form @ omega)[np.ix_(order, order)]
        df.append(np.trace(product) ** 2 / np.trace(product @ product))
    return np.array(df)


def morel_bokossa_neerchal(fit: Dense) -> np.ndarray:
    """With the constants d = 2 and r = 1."""
    n, p, K = sum(len(part.S) for part in fit.parts), fit.beta.size, len(fit.parts)
    bread = np.linalg.inv(fit.naive)
    c = (n - 1) / (n - p) * K / (K - 1)
    delta = p / (K - p) if K > 3 * p else 0.5
    xi = max(1.0, float(np.trace(fit.naive @ bread @ fit.robust @ bread)) / p)
    meat = np.zeros((p, p))
    for _, D, V, S, _ in fit.parts:
        half = np.linalg.inv(V) @ D
        meat += half.T @ (c * np.outer(S, S) + delta * xi * V) @ half
    return fit.naive @ meat @ fit.naive


def pan(fit: Dense, time: np.ndarray) -> np.ndarray:
    """Residual products averaged over the clusters that have both times."""
    products: dict[tuple, list[float]] = {}
    for rows, _, _, S, A in fit.parts:
        r = S / np.sqrt(A)
        for i, j in product(range(len(rows)), repeat=2):
            products.setdefault((time[rows[i]], time[rows[j]]), []).append(r[i] * r[j])
    pooled = {key: np.mean(values) for key, values in products.items()}
    meat = np.zeros_like(fit.naive)
    for rows, D, V, _, A in fit.parts:
        R = np.array([[pooled[time[i], time[j]] for j in rows] for i in rows])
        half = np.linalg.inv(V) @ D
        meat += half.T @ (R * np.sqrt(np.outer(A, A))) @ half
    return fit.naive @ meat @ fit.naive
