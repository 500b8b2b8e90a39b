"""Covariances of β̂: bread · meat · bread, with the corrections for few clusters.

With W and e of `expfam_glm.gee.equations`, M = (WᵀW)⁻¹ = Q Qᵀ, Z_k = (W_k Q)ᵀ and S_k = Z_k Z_kᵀ,
the residuals of cluster k enter β̂ by the slice s_k = Q Z_k e_k. The cluster's leverage H_kk is
similar to Z_kᵀZ_k, so that every function of it passes over to the small S_k: (I − H_kk)^−q turns
the slice into Q (I − S_k)^−q Z_k e_k. φ cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import ArgumentError, DataError, one_of
from expfam_glm.gee.equations import Equations, State
from expfam_glm.mle.linear import Factor

TYPES = (
    "robust",
    "naive",
    "mancl-derouen",
    "kauermann-carroll",
    "fay-graubard",
    "morel-bokossa-neerchal",
    "pan",
    "jackknife",
    "jackknife-one-step",
)
DF = ("z", "t", "satterthwaite")

_FAY_GRAUBARD_BOUND = 0.75
_MBN_D, _MBN_R = 2, 1.0  # the constants of Morel, Bokossa and Neerchal
_ALONE = 1e-9  # a leverage this near to one: the cluster alone determines some direction
_DOUBLES = 1 << 18  # of matrices (p, p) at once
_MOST_TIMES = 2000


def naive(bread: Factor, dispersion: float) -> np.ndarray:
    """B⁻¹ = φ (WᵀW)⁻¹, right if the working covariance is."""
    return bread.inverse() * dispersion


def robust(bread: Factor, scores: np.ndarray) -> np.ndarray:
    """B⁻¹ C B⁻¹ with C the sum of squares of the cluster scores (K, p); φ cancels."""
    slices = bread.solve(scores.T)
    return slices @ slices.T


# ---- filters: G_k (c, p, p) with slices s_k = G_kᵀ Z_k e_k, from Q and S_k ---------------------


def _unchanged(Q: np.ndarray, S: np.ndarray) -> np.ndarray:
    return np.broadcast_to(Q.T, S.shape)


def _mancl_derouen(Q: np.ndarray, S: np.ndarray) -> np.ndarray:
    """(I − S)⁻¹Qᵀ."""
    return np.linalg.solve(np.eye(S.shape[-1]) - S, np.broadcast_to(Q.T, S.shape))


def _kauermann_carroll(Q: np.ndarray, S: np.ndarray) -> np.ndarray:
    """(I − S)^(−½)Qᵀ, the principal root."""
    values, vectors = np.linalg.eigh(S)
    root = 1 / np.sqrt(1 - values)
    return (vectors * root[:, None, :]) @ (vectors.transpose(0, 2, 1) @ Q.T)


def _fay_graubard(Q: np.ndarray, S: np.ndarray) -> np.ndarray:
    """Scores times (1 − min(¾, q_jj))^(−½), q the diagonal of W_kᵀW_k M."""
    inverse = np.linalg.inv(Q)
    diagonal = np.einsum("ij,kil,jl->kj", inverse, S, Q, optimize=True)
    factor = 1 / np.sqrt(1 - np.minimum(_FAY_GRAUBARD_BOUND, diagonal))
    return inverse @ (factor[:, :, None] * (Q @ Q.T))


_FILTERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "robust": _unchanged,
    "mancl-derouen": _mancl_derouen,
    "kauermann-carroll": _kauermann_carroll,
    "fay-graubard": _fay_graubard,
    "jackknife-one-step": _mancl_derouen,
    "jackknife": _mancl_derouen,
}


class Slices(NamedTuple):
    """What each cluster adds to β̂, its residuals filtered."""

    slices: np.ndarray  # (K, p)
    df: np.ndarray  # (p,) Satterthwaite's degrees of freedom of each variance
    leverage: np.ndarray  # (K,) tr H_kk


def filtered(equations: Equations, state: State, kind: str) -> Slices:
    """Slices and degrees of freedom under one of the filters.

    Notes
    -----
    The variance of β̂_j is Σ_k s_kj². Were the working covariance right and y normal, the s_kj would
    have the covariance φ(δ_kl aᵀ_k a_k − hᵀ_k h_l) with g_k the column j of G_k, a_k = Z_kᵀ g_k and
    h_k = S_k g_k; ν_j = 2 E(·)²/Var(·) of that quadratic form.

    References
    ----------
    Bell and McCaffrey (2002), Survey Methodology 28, 169-181; Pustejovsky and Tipton (2018),
    Journal of Business and Economic Statistics 36, 672-683.
    """
    bread, clusters = state.bread, equations.structure.clusters
    p = state.beta.size
    Q = np.linalg.inv(bread.R) / bread.scale[:, None]
    root = equations.structure.root(state.parameter)
    slices, leverage = np.empty((clusters.count, p)), np.empty(clusters.count)
    trace, squares = np.zeros(p), np.zeros(p)
    cross = np.zeros((p, p, p))
    pieces = clusters.pieces(equations.most, equal=True, clusters=max(1, _DOUBLES // (p * p)))
    for piece in pieces:
        columns = equations.whitened(state.rows, root, piece)
        count = piece.sizes.shape[0]
        Z = (Q.T @ columns[:-1]).reshape(p, count, -1).transpose(1, 0, 2)
        S = Z @ Z.transpose(0, 2, 1)
        leverage[piece.clusters] = np.trace(S, axis1=1, axis2=2)
        if kind != "robust" and kind != "fay-graubard":
            _refuse_alone(equations, S, piece.clusters.start, kind)
        G = _FILTERS[kind](Q, S)
        v = Z @ columns[-1].reshape(count, -1, 1)
        slices[piece.clusters] = np.sum(G * v, axis=1)
        h = S @ G
        own, lost = np.sum(G * h, axis=1), np.sum(h * h, axis=1)  # |a_k|², |h_k|² of each j
        trace += np.sum(own - lost, axis=0)
        squares += np.sum(own * (own - 2 * lost), axis=0)
        turned = h.transpose(2, 1, 0)
        cross += turned @ turned.transpose(0, 2, 1)
    squares += np.sum(cross * cross, axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Slices(slices, trace**2 / squares, leverage)


def _refuse_alone(equations: Equations, S: np.ndarray, first: int, kind: str) -> None:
    """A cluster that alone determines a direction has no residual in it."""
    highest = np.linalg.eigvalsh(S)[:, -1]
    worst = int(np.argmax(highest))
    if highest[worst] > 1 - _ALONE:
        label = equations.structure.clusters.labels[first + worst]
        raise DataError(
            f"cluster {label!s} alone determines some combination of the coefficients (its "
            f"leverage there is one), so the {kind} covariance is not defined. Leave out the term "
            "that singles it out, or use cov='robust' or 'fay-graubard'."
        )


def morel_bokossa_neerchal(equations: Equations, state: State) -> np.ndarray:
    """c·robust + δ ξ·naive."""
    n, p = equations.X.shape
    K = equations.structure.clusters.count
    bread, dispersion = state.bread, state.dispersion
    scaled = robust(bread, state.scores)
    model = naive(bread, dispersion)
    c = (n - 1) / (n - p) * K / (K - 1)
    delta = p / (K - p) if K > (_MBN_D + 1) * p else 1 / _MBN_D
    slices = bread.solve(state.scores.T)
    xi = max(_MBN_R, float(np.sum(slices * state.scores.T)) / dispersion / p)
    return c * scaled + delta * xi * model


def pan(equations: Equations, state: State, occasions: np.ndarray) -> np.ndarray:
    """Residual products pooled over clusters at each pair of occasions (n,), in cluster order."""
    clusters = equations.structure.clusters
    times, p = int(occasions.max()) + 1, state.beta.size
    if times > _MOST_TIMES:
        raise ArgumentError(
            f"cov='pan' pools the residuals of clusters at the same times, but there are {times} "
            "distinct ones. Give planned occasions as time=, or use another covariance."
        )
    root = equations.structure.root(state.parameter)
    d, r = state.rows.d, state.rows.r
    total, count = np.zeros((times, times)), np.zeros((times, times))
    pieces = clusters.pieces(
        equations.most,
        equal=equations.structure.equal_sizes,
        clusters=max(1, _DOUBLES // (times * p)),
    )
    for piece in pieces:
        wide = np.zeros((2, piece.sizes.shape[0], times))
        at = (clusters.cluster[piece.rows] - piece.clusters.start, occasions[piece.rows])
        wide[0][at], wide[1][at] = r[piece.rows], 1.0
        if wide[1].sum() < piece.rows.stop - piece.rows.start:
            raise DataError(
                "cov='pan' needs distinct times within a cluster; correct time=, or leave it out "
                "to use the order of rows."
            )
        total += wide[0].T @ wide[0]
        count += wide[1].T @ wide[1]
    pooled = total / np.maximum(count, 1.0)
    X = equations.sorted[1]
    meat = np.zeros((p, p))
    for piece in pieces:
        solved = root.precision(X[:, piece.rows] * d[piece.rows], piece)
        wide = np.zeros((p, piece.sizes.shape[0], times))
        at = (clusters.cluster[piece.rows] - piece.clusters.start, occasions[piece.rows])
        wide[:, *at] = solved
        flat = (wide.reshape(-1, times) @ pooled).reshape(p, -1)
        meat += flat @ wide.reshape(p, -1).T
    half = state.bread.solve(meat)
    return state.bread.solve(half.T)


def jackknife(betas: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """(K − p)/K Σ (β̂_(k) − β̂)(β̂_(k) − β̂)ᵀ over fits without one cluster (K, p)."""
    K, p = betas.shape
    gaps = betas - beta
    return (K - p) / K * gaps.T @ gaps


class Covariances(NamedTuple):
    """Covariances by type, the chosen one first, and the degrees of freedom of its tests."""

    by_type: dict[str, np.ndarray]
    df: float | np.ndarray | None


def check(cov: str | Sequence[str], df: str) -> tuple[str, ...]:
    """The types that are asked for, or what is wrong with them."""
    listed = (cov,) if isinstance(cov, str) else tuple(cov)
    for name in listed:
        if name not in TYPES:
            raise one_of("cov", name, TYPES)
    if not listed or len(set(listed)) < len(listed):
        raise ArgumentError(f"cov={cov!r} must name one covariance, or several distinct ones.")
    if df not in DF:
        raise one_of("df", df, DF)
    if df == "satterthwaite" and listed[0] not in _FILTERS:
        raise ArgumentError(
            f"df='satterthwaite' needs a covariance that is a sum over clusters, "
            f"{', '.join(map(repr, _FILTERS))}; cov={listed[0]!r} is none. Use df='t' or 'z'."
        )
    return listed


def covariances(
    equations: Equations,
    state: State,
    cov: Sequence[str],
    df: str,
    occasions: np.ndarray,
    without: Callable[[], np.ndarray],
) -> Covariances:
    """All covariances that are asked for, then robust and naive.

    Parameters
    ----------
    equations : Equations
    state : State
    cov : sequence of str
        What `check` returned.
    df : {"z", "t", "satterthwaite"}
    occasions : ndarray of int (n,)
        Numbers of times, in the order of the clusters.
    without : callable
        () → ndarray (K, p), the fits without one cluster.
    """
    K, p = equations.structure.clusters.count, state.beta.size
    if K <= p and (df == "t" or any(name.startswith("jackknife") for name in cov)):
        raise ArgumentError(
            f"{K} clusters and {p} coefficients leave no degrees of freedom, K − p, for df='t' or "
            "the jackknife. Use df='z' and another covariance, or fewer terms."
        )
    found: dict[str, np.ndarray] = {}
    degrees: float | np.ndarray | None = float(K - p) if df == "t" else None
    for name in dict.fromkeys([*cov, "robust", "naive"]):
        slices = None
        if name in _FILTERS and name not in ("robust", "jackknife"):
            slices = filtered(equations, state, name)
        if name == "robust":
            found[name] = robust(state.bread, state.scores)
        elif name == "naive":
            found[name] = naive(state.bread, state.dispersion)
        elif name == "morel-bokossa-neerchal":
            found[name] = morel_bokossa_neerchal(equations, state)
        elif name == "pan":
            found[name] = pan(equations, state, occasions)
        elif name == "jackknife":
            found[name] = jackknife(without(), state.beta)
        elif slices is not None:
            scale = (K - p) / K if name == "jackknife-one-step" else 1.0
            found[name] = scale * slices.slices.T @ slices.slices
        if df == "satterthwaite" and name == cov[0]:
            slices = slices or filtered(equations, state, name)
            degrees = slices.df
    return Covariances(found, degrees)
