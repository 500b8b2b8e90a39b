"""What each cluster adds to β̂ with its residuals filtered by its leverage.

With W and e of `expfam_glm.gee.part`, M = (WᵀW)⁻¹ = Q Qᵀ, Z_k = (W_k Q)ᵀ and S_k = Z_k Z_kᵀ,
the residuals of cluster k enter β̂ by the slice s_k = Q Z_k e_k. The cluster's leverage H_kk is
similar to Z_kᵀZ_k, so that every function of it passes over to the small S_k: (I − H_kk)^−q turns
the slice into Q (I − S_k)^−q Z_k e_k. φ cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import DataError
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.part import Part
from expfam_glm.kernels.sums import join

_FAY_GRAUBARD_BOUND = 0.75
_ALONE = 1e-9  # a leverage this near to one: the cluster alone determines some direction
# Doubles of matrices (p, p) at once.
MATRICES = 1 << 18

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


FILTERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "robust": _unchanged,
    "mancl-derouen": _mancl_derouen,
    "kauermann-carroll": _kauermann_carroll,
    "fay-graubard": _fay_graubard,
    "jackknife-one-step": _mancl_derouen,
    "jackknife": _mancl_derouen,
}


class Slices(NamedTuple):
    """What each cluster adds to β̂, its residuals filtered.

    The slices of several parts are a triangle with the same product slicesᵀ slices.
    """

    slices: np.ndarray  # (K, p)
    leverage: np.ndarray  # (K,) tr H_kk; of one part only
    trace: np.ndarray  # (p,) this and the following make degrees of freedom
    squares: np.ndarray  # (p,)
    cross: np.ndarray  # (p, p, p)

    def __add__(self, other: object) -> Slices:
        if not isinstance(other, Slices):
            return NotImplemented
        return Slices(
            join(self.slices, other.slices), np.empty(0), self.trace + other.trace,
            self.squares + other.squares, self.cross + other.cross,
        )  # fmt: skip

    @property
    def df(self) -> np.ndarray:
        """(p,) Satterthwaite's degrees of freedom of each variance."""
        squares = self.squares + np.sum(self.cross * self.cross, axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.trace**2 / squares


class _Filtered(NamedTuple):
    """The matrices of some clusters."""

    clusters: slice
    S: np.ndarray  # (c, p, p)
    G: np.ndarray  # (c, p, p)
    v: np.ndarray  # (c, p, 1) Z_k e_k


def _pieces(part: Part, state: State, kind: str) -> Iterator[_Filtered]:
    """The clusters, as many at once as fit into memory."""
    bread, p, rows = state.bread, state.beta.size, part.at(state.beta)
    Q = bread.root
    root = part.structure.root(state.parameter)
    for piece in part.structure.clusters.pieces(
        part.most, equal=True, clusters=max(1, MATRICES // (p * p))
    ):
        columns = part.whitened(rows, root, piece)
        count = piece.sizes.shape[0]
        Z = (Q.T @ columns[:-1]).reshape(p, count, -1).transpose(1, 0, 2)
        S = Z @ Z.transpose(0, 2, 1)
        if kind != "robust" and kind != "fay-graubard":
            _refuse_alone(part, S, piece.clusters.start, kind)
        v = Z @ columns[-1].reshape(count, -1, 1)
        yield _Filtered(piece.clusters, S, FILTERS[kind](Q, S), v)


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
    return equations.total(partial(_of_part, state=state, kind=kind))


def _of_part(part: Part, state: State, kind: str) -> Slices:
    """The slices of the clusters that are here."""
    count, p = part.structure.clusters.count, state.beta.size
    slices, leverage = np.empty((count, p)), np.empty(count)
    trace, squares = np.zeros(p), np.zeros(p)
    cross = np.zeros((p, p, p))
    for some, S, G, v in _pieces(part, state, kind):
        leverage[some] = np.trace(S, axis1=1, axis2=2)
        slices[some] = np.sum(G * v, axis=1)
        h = S @ G
        own, lost = np.sum(G * h, axis=1), np.sum(h * h, axis=1)  # |a_k|², |h_k|² of each j
        trace += np.sum(own - lost, axis=0)
        squares += np.sum(own * (own - 2 * lost), axis=0)
        turned = h.transpose(2, 1, 0)
        cross += turned @ turned.transpose(0, 2, 1)
    return Slices(slices, leverage, trace, squares, cross)


def wishart_df(equations: Equations, state: State, kind: str, C: np.ndarray) -> float:
    """η of the Wishart distribution nearest to that of the variance of Cβ̂, C (q, p).

    Notes
    -----
    With contrasts standardised to E V̂ = I, η = q(q + 1)/Σ_st Var V̂_st, where Var V̂_st =
    Σ_kl (Ω^ss_kl Ω^tt_kl + Ω^st_kl Ω^ts_kl) and Ω^st_kl = δ_kl a_ksᵀ a_kt − h_ksᵀ h_lt as in
    `filtered`. For q = 1 it is Satterthwaite's ν.
    """
    q, p = C.shape
    count = equations.structure.clusters.count
    own, h = np.empty((count, q, q)), np.empty((count, p, q))
    for some, S, G, _ in _pieces(equations, state, kind):
        g = G @ C.T
        h[some] = S @ g
        own[some] = g.transpose(0, 2, 1) @ h[some]
    lost = h.transpose(0, 2, 1) @ h
    try:
        to_unit = np.linalg.inv(np.linalg.cholesky((own - lost).sum(axis=0)))
    except np.linalg.LinAlgError:  # clusters determine a contrast by themselves
        return np.nan
    h = h @ to_unit.T
    own, lost = (to_unit @ v @ to_unit.T for v in (own, lost))
    total = 0.0
    for s in range(q):
        for t in range(q):
            M = h[:, :, s].T @ h[:, :, t]
            each = own[:, s, s] * own[:, t, t] + own[:, s, t] ** 2
            each -= own[:, s, s] * lost[:, t, t] + own[:, t, t] * lost[:, s, s]
            each -= 2 * own[:, s, t] * lost[:, s, t]
            total += float(each.sum() + np.sum(M * M) + np.sum(M * M.T))
    return q * (q + 1) / total


def _refuse_alone(part: Part, S: np.ndarray, first: int, kind: str) -> None:
    """A cluster that alone determines a direction has no residual in it."""
    highest = np.linalg.eigvalsh(S)[:, -1]
    worst = int(np.argmax(highest))
    if highest[worst] > 1 - _ALONE:
        label = part.structure.clusters.labels[first + worst]
        raise DataError(
            f"cluster {label!s} alone determines some combination of the coefficients (its "
            f"leverage there is one), so the {kind} covariance is not defined. Leave out the term "
            "that singles it out, or use cov='robust' or 'fay-graubard'."
        )
